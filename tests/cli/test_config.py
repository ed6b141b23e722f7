"""Settings from a YAML file and back: ``--config`` and ``--save-config`` on any argparse parser."""

from __future__ import annotations

import argparse
import math
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from grus import installed
from grus.cli import config, main, parser, shared
from grus.errors import InputError


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def made() -> Parser:
    """A top parser with a verb that has one option of every kind, and a verb without ``--config``."""
    top = Parser("tool")
    verbs = top.add_subparsers(required=True, parser_class=Parser)
    verb = verbs.add_parser("fit")
    verb.set_defaults(run="ran")
    verb.add_argument("data", type=Path, nargs="+")
    verb.add_argument("-o", "--output", type=Path, required=True)
    verb.add_argument("--hidden-size", type=shared.positive, default=64, help="units (default: %(default)s)")
    verb.add_argument("--rate", type=float, default="0.5")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--start", help="a date")
    verb.add_argument("--scale", choices=("auto", "log"), default="auto")
    verb.add_argument("--levels", type=shared.floats, default=(0.1, 0.9))
    verb.add_argument("--names", type=shared.names, default=())
    verb.add_argument("--sizes", type=int, nargs="*", default=[1])
    verb.add_argument("--tag", action="append")
    verb.add_argument("-v", "--verbose", action="count", default=0)
    verb.add_argument("--quiet", action="store_true")
    verb.add_argument("--no-pool", dest="pool", action="store_false")
    verb.add_argument("--bias", action=argparse.BooleanOptionalAction, default=True)
    verb.add_argument("--resume", action="store_true")
    either = verb.add_mutually_exclusive_group()
    either.add_argument("--words", type=int)
    either.add_argument("--letters", type=int)
    config.add(verb)
    verbs.add_parser("info").add_argument("file")
    return top


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., argparse.Namespace]:
    """Parse a command line of ``fit`` beside a settings file of the given text."""
    monkeypatch.chdir(tmp_path)

    def call(text: str | bytes, *arguments: str) -> argparse.Namespace:
        Path("s.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return config.apply(made(), ["fit", "--config", "s.yaml", *arguments])

    return call


def values(options: argparse.Namespace) -> dict[str, object]:
    left_out = {"config", "save_config", "settings", "settings_of", "flags", "places"}
    return {name: value for name, value in vars(options).items() if name not in left_out}


ALL = """\
data: [a.csv, b.csv]
output: m.safetensors
hidden_size: 32
rate: 1e-3
seed: -4
start: 2020-01-31
scale: log
levels: [0.2, 0.5]
names: price, day
sizes: [3, 4]
tag: [x, "y"]
verbose: 2
quiet: yes
no-pool: true
bias: false
words: 7
"""


def test_every_kind_of_option_comes_from_the_file(parse: Callable[..., argparse.Namespace]) -> None:
    assert values(parse(ALL)) == {
        "run": "ran",
        "data": [Path("a.csv"), Path("b.csv")],
        "output": Path("m.safetensors"),
        "hidden_size": 32,
        "rate": 0.001,
        "seed": -4,
        "start": "2020-01-31",
        "scale": "log",
        "levels": (0.2, 0.5),
        "names": ("price", "day"),
        "sizes": [3, 4],
        "tag": ["x", "y"],
        "verbose": 2,
        "quiet": True,
        "pool": False,
        "bias": False,
        "resume": False,
        "words": 7,
        "letters": None,
    }


def test_flags_go_before_the_file_and_the_file_before_the_defaults(parse: Callable[..., argparse.Namespace]) -> None:
    flags = ["c.csv", "--hidden-size", "8", "--tag", "z", "-v", "--bias", "--letters", "5", "--seed", "0"]
    options = parse(ALL, *flags)
    assert (options.data, options.hidden_size, options.tag, options.verbose) == ([Path("c.csv")], 8, ["z"], 1)
    assert (options.bias, options.letters, options.words, options.seed) == (True, 5, None, 0)
    assert (options.scale, options.rate) == ("log", 0.001)
    without = parse("output: o", "d.csv")
    assert (without.hidden_size, without.rate, without.sizes, without.tag) == (64, 0.5, [1], None)
    assert values(parse("", "d.csv", "-o", "o")) == values(without) | {"output": Path("o")}


def test_as_argparse_alone_without_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("fit a -o m", "fit a b -o m --rate 2 --tag q --tag r -vv --no-bias --sizes 1 2 --quiet --no-pool"):
        assert values(config.apply(made(), line.split())) == values(made().parse_args(line.split()))
    monkeypatch.setattr(sys, "argv", ["tool", "info", "x"])
    assert values(config.apply(made())) == {"file": "x"}
    for line in (
        "fit a",
        "fit -o m",
        "fit",
        "fit a -o m --words 1 --letters 2",
        "fit a -o m --seed x",
        "fit a -o m --x",
    ):
        with pytest.raises(InputError) as plain:
            made().parse_args(line.split())
        with pytest.raises(InputError) as ours:
            config.apply(made(), line.split())
        assert str(ours.value) == str(plain.value)
    with pytest.raises(SystemExit):
        config.apply(made(), ["fit", "--help"])
    shown = capsys.readouterr().out
    assert "units (default: 64)" in shown and "--save-config FILE" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nhiden-size: 3", "s.yaml, line 2: unknown setting 'hiden-size', did you mean 'hidden-size'?"),
        ("Hidden_Size: 3", "s.yaml, line 1: unknown setting 'Hidden_Size', did you mean 'hidden-size'?"),
        ("qqq: 3", "s.yaml, line 1: unknown setting 'qqq', expected some of data, output, hidden-size, rate"),
        ("config: t.yaml", "unknown setting 'config'"),
        ("hidden-size: many", "line 1: hidden-size is wrong: 'many' is not an integer of at least 1"),
        ("\nhidden_size: -1", "line 2: hidden_size is wrong: '-1' is not an integer"),
        ("hidden-size: [1, 2]", "hidden-size is wrong: '1,2' is not an integer"),
        ("rate: fast", "rate is 'fast', expected a number"),
        ("seed: 1.5", "seed is '1.5', expected an integer"),
        ("seed: [1]", "seed has a list, expected one value"),
        ("seed: {a: 1}", "seed is a mapping, expected a value or a list of values"),
        ("seed:", "seed has no value"),
        ("sizes: [1, [2]]", "sizes has a list, expected one value"),
        ("scale: lag", "scale is 'lag', expected auto or log"),
        ("quiet: 1", "quiet is '1', expected true or false"),
        ("levels: [a]", "levels is wrong: 'a' is not a list of numbers"),
        ("seed: 1\nseed: 2", "line 2: seed was set before in this file"),
        ("hidden-size: 1\nhidden_size: 2", "line 2: hidden_size was set before"),
        ("words: 1\nletters: 2", "argument --letters: not allowed with argument --words"),
        ("- seed", "s.yaml holds no settings, expected lines such as hidden-size: 64"),
        ("64", "s.yaml holds no settings"),
        ("seed: 1\n  rate: 2", "s.yaml, line 2: not YAML: mapping values are not allowed here"),
        ("[a]: 1", "line 1: expected the name of an option"),
        ("seed: !!python/object/apply:os.system [exit]", "seed is a list, expected a value"),
        ("start: !!python/name:os.system x", "start is 'x', expected a value"),
        ("seed: 1\n---\nseed: 2", "not YAML: but found another document"),
        (b"seed: \xff", "s.yaml is not text in UTF-8"),
        (b"seed: \x00", "s.yaml: not YAML"),
        ("[" * 1500, "s.yaml: too deep"),
        ("#" * (1 << 20) + "\n", "s.yaml is larger than 1048576 bytes"),
    ],
)
def test_bad_files(parse: Callable[..., argparse.Namespace], text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, "d.csv", "-o", "m")
    assert message in str(error.value)


def test_what_is_required_and_nowhere(parse: Callable[..., argparse.Namespace]) -> None:
    with pytest.raises(InputError, match="the following arguments are required: -o/--output"):
        parse("data: [a]")
    with pytest.raises(FileNotFoundError):
        config.apply(made(), ["fit", "a", "-o", "m", "--config", "none.yaml"])


def test_without_pyyaml(parse: Callable[..., argparse.Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r"needs PyYAML: " + re.escape(installed.command("train"))):
        parse("seed: 1", "a", "-o", "m")


LINES = [
    "a.csv -o m",
    "a.csv --output m --hidden-size 3 --rate 1e-5 --seed -1 --start no --scale log --levels 0.5 --names a,b",
    "a.csv b.csv -o m --rate inf --sizes --tag 1 --tag x:y -vvv --quiet --no-pool --no-bias --letters 3",
    "a.csv -o m --start 2020-01-01 --sizes 3 4",
]


@pytest.mark.parametrize("line", LINES)
def test_saved_settings_read_back_to_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    first = config.apply(made(), ["fit", *line.split(), "--save-config", "s.yaml", "--resume"])
    with config.saving(first):
        assert not Path("s.yaml").exists()
    text = Path("s.yaml").read_text()
    assert text.startswith("# tool fit --config FILE\ndata:")
    assert stat.S_IMODE(os.stat("s.yaml").st_mode) == 0o666 & ~current_mask()
    assert set(yaml.safe_load(text)) == {
        *("data", "output", "hidden-size", "rate", "seed", "start", "scale", "levels", "names", "sizes", "tag"),
        *("verbose", "quiet", "no-pool", "bias", "words", "letters"),
    }
    again = config.apply(made(), ["fit", "--config", "s.yaml", "--save-config", "t.yaml"])
    assert values(again) == values(first) | {"resume": False}
    with config.saving(again):
        pass
    assert Path("t.yaml").read_text() == text


def current_mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_bad_input_saves_nothing_and_an_interrupted_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = config.apply(made(), ["fit", "a", "-o", "m", "--save-config", "s.yaml"])
    with pytest.raises(InputError), config.saving(options):
        raise InputError("no such data")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("RANK", "1")
    with config.saving(options):
        pass
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(KeyboardInterrupt), config.saving(options):
        raise KeyboardInterrupt
    assert Path("s.yaml").exists()
    with config.saving(config.apply(made(), ["info", "x"])):  # a command without the options
        pass


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a -o m --save-config none/s.yaml", "--save-config 'none/s.yaml': there is no folder"),
        ("a -o s.yaml --save-config s.yaml", "--save-config 's.yaml' is another file of this command too"),
        ("a -o m --config c.yaml --save-config c.yaml", "--save-config 'c.yaml' is also an input"),
        ("a c.yaml -o m --save-config c.yaml", "--save-config 'c.yaml' is another file of this command too"),
    ],
)
def test_where_settings_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("seed: 1")
    with pytest.raises(InputError) as error:
        config.apply(made(), ["fit", *line.split()])
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize(
    "line",
    [
        "forecast fit sales.csv --horizon 18 -o m --past a,b --quantiles 0.1,0.5 --learning-rate 1e-2 --history h.json",
        "classify fit a.csv -o m --channels u,v --pooling mean --balanced --test b.csv --seed 3",
        "language fit a.txt b.txt -o m --no-tied --steps 7 --dropout 0.2 --precision bfloat16",
    ],
)
def test_the_options_of_every_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    first = config.apply(parser(), [*line.split(), "--save-config", "s.yaml"])
    with config.saving(first):
        pass
    verb = line.split()[:2]
    assert values(config.apply(parser(), [*verb, "--config", "s.yaml"])) == values(first)
    assert values(config.apply(parser(), line.split())) == values(first)
    rows = Path("s.yaml").read_text().splitlines(keepends=True)
    Path("s.yaml").write_text("".join(row for row in rows if not row.startswith("data:")))
    again = config.apply(parser(), [*verb, "other", "--seed", "9", "--config", "s.yaml"])
    assert (again.seed, str(again.data if isinstance(again.data, Path) else again.data[0])) == (9, "other")
    assert again.learning_rate == first.learning_rate


def test_a_run_from_its_saved_settings_gives_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"a,{2000 + i // 12}-{i % 12 + 1:02d}-01,{100 + 10 * math.sin(i)}" for i in range(48)]
    Path("data.csv").write_text("\n".join(["unique_id,ds,y", *rows]))
    flags = "--horizon 3 --hidden-size 4 --steps 6 --seed 5 --threads 1 --quiet"
    line = f"forecast fit data.csv -o m.safetensors {flags} --save-config s.yaml"
    assert main(line.split()) == 0
    model = Path("m.safetensors").read_bytes()
    Path("m.safetensors").unlink()
    assert main(["forecast", "fit", "--config", "s.yaml"]) == 0
    assert Path("m.safetensors").read_bytes() == model
    assert {path.name for path in tmp_path.iterdir()} == {"data.csv", "m.safetensors", "s.yaml"}


def test_one_line_for_a_bad_file(failing: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("horizon: 3\nhiden_size: 4\n")
    (tmp_path / "ok.yaml").write_text("horizon: 3\noutput: m.safetensors\n")
    said = "s.yaml, line 2: unknown setting 'hiden_size', did you mean 'hidden-size'?"
    assert said in failing("forecast fit d.csv -o m.safetensors --config s.yaml")
    assert "none.yaml: No such file" in failing("forecast fit d.csv -o m.safetensors --config none.yaml")
    assert "required: DATA" in failing("forecast fit --config ok.yaml")
    assert "d.csv" in failing("forecast fit d.csv --config ok.yaml --save-config new.yaml")
