"""The language model from the command line: fit, evaluate, generate."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from grus import installed
from grus.cli import main

SIZES = ["--hidden-size", "16", "--embedding-size", "8", "--batch-size", "4", "--window", "20"]
SMALL = [*SIZES, "--learning-rate", "0.02", "--threads", "1"]
WITHOUT_TORCH = "import sys\nsys.modules['torch'] = None\nfrom grus.cli import main\nsys.exit(main(sys.argv[1:]))"
WORDS = ["Kraniche", "ziehen", "im", "Herbst", "nach", "Süden", "und", "kehren", "im", "März", "zurück", ".\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two texts and a model trained on them."""
    folder = tmp_path_factory.mktemp("language")
    rng = np.random.default_rng(0)
    for name in ("one.txt", "two.txt"):
        (folder / name).write_text(" ".join(rng.choice(WORDS, 600)), encoding="utf-8")
    arguments = ["language", "fit", str(folder / "one.txt"), str(folder / "two.txt"), *SMALL, "--steps", "40"]
    more = ["--history", str(folder / "history.json"), "--metrics", str(folder / "metrics.jsonl")]
    assert main([*arguments, "-o", str(folder / "model.safetensors"), "--quiet", *more]) == 0
    return folder


def grus(*arguments: object, code: str = WITHOUT_TORCH) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, encoding="utf-8"
    )


def test_fit_leaves_what_it_was_asked_for(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names >= {"one.txt", "two.txt", "model.safetensors", "history.json", "metrics.jsonl"}
    assert not [name for name in names if "checkpoint" in name]
    rows = json.loads((folder / "history.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [line["step"] for line in lines] == list(range(2, 41, 2))
    assert all(row["loss"] == line["loss"] for row, line in zip(rows, lines, strict=True))


def test_fit_tells_what_it_held_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "told.safetensors"
    assert main(["language", "fit", str(folder / "one.txt"), "-o", str(target), *SMALL, "--steps", "5"]) == 0
    first, second, *table = capsys.readouterr().out.splitlines()
    size = r": [\d,]+ weights, \d+ characters, trained on [\d,]+ characters in \d+ s"
    assert re.fullmatch(re.escape(str(target)) + size, first)
    assert re.fullmatch(r"the \d+ characters held out at the end:", second)
    assert table[0].split() == ["model", "bits/character", "bits/token", "perplexity", "characters", "tokens"]
    assert [line.split()[0] for line in table[1:]] == ["GRU", "8-gram", "xz"]


def test_evaluate_without_torch(folder: Path) -> None:
    report, train = folder / "report.json", folder / "one.txt"
    done = grus(
        "language", "evaluate", folder / "model.safetensors", folder / "two.txt", "--train", train, "-o", report
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(report.read_text())["rows"]
    assert [row["model"] for row in rows] == ["GRU", "8-gram (Kneser-Ney)", "xz"]
    assert f"{rows[0]['bits/character']:.3f}" in done.stdout
    assert 0 < rows[0]["bits/character"] < 5


def test_generate_without_torch(folder: Path) -> None:
    command = ("language", "generate", folder / "model.safetensors", "--prompt", "Süden und ", "--length", 40)
    first, again, other = (grus(*command, "--seed", seed) for seed in (1, 1, 2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("Süden und ")
    assert len(first.stdout) == 10 + 40 + 1
    assert first.stdout == again.stdout != other.stdout


def test_generate_as_python_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from grus.tasks.language import LanguageModel

    options = ["--temperature", "0.7", "--top-k", "9", "--top-p", "0.9", "--seed", "5", "--stop", "z", "--length", "30"]
    assert main(["language", "generate", str(folder / "model.safetensors"), *options]) == 0
    model = LanguageModel.load(folder / "model.safetensors")
    expected = "".join(model.generate("", 30, temperature=0.7, top_k=9, top_p=0.9, seed=5, stop="z"))
    assert capsys.readouterr().out == expected + "\n"


def test_generate_shows_each_character_as_it_comes(folder: Path) -> None:
    model, endless = folder / "model.safetensors", str(10**9)
    process = subprocess.Popen(
        [sys.executable, "-m", "grus", "language", "generate", model, "--length", endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a shell that runs the tests in the background leaves the signal ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert len(process.stdout.read(20)) == 20  # it has not ended, and never will
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"grus: interrupted\n")


def test_generate_tells_of_characters_it_has_never_seen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder / "model.safetensors")
    assert main(["language", "generate", model, "--prompt", "Ω und Kraniche Ω", "--length", "3"]) == 0
    out, errors = capsys.readouterr()
    assert errors == "note: the model has never seen 'Ω', and reads it as an unknown character\n"
    assert out.startswith("Ω und Kraniche Ω")


def test_fit_needs_torch_and_says_so(folder: Path) -> None:
    target = folder / "none.safetensors"
    done = grus("language", "fit", folder / "one.txt", "-o", target, *SMALL)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"grus: error: training needs PyTorch: {installed.command('train')}\n"
    assert not target.exists()


def test_interrupt_and_resume(
    folder: Path, capsys: pytest.CaptureFixture[str], interrupted: Callable[[Sequence[str], Path], Path]
) -> None:
    target, unbroken = folder / "broken.safetensors", folder / "unbroken.safetensors"
    long = ["language", "fit", str(folder / "one.txt"), *SMALL, "--steps", "500", "--validation", "0"]
    checkpoint = interrupted([*long, "-o", str(target)], target)
    assert main([*long, "-o", str(target), "--quiet"]) == 2
    assert "go on with --resume, or delete the file" in capsys.readouterr().err
    assert main([*long, "-o", str(target), "--quiet", "--resume"]) == 0
    assert main([*long, "-o", str(unbroken), "--quiet"]) == 0
    assert target.read_bytes() == unbroken.read_bytes()
    assert not checkpoint.exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("fit none.txt -o m.safetensors", "none.txt: No such file"),
        ("fit empty.txt -o m.safetensors", "'empty.txt' is empty, expected a text"),
        ("fit latin.txt -o m.safetensors", "latin.txt is not UTF-8 text (byte 0xfc at offset 2"),
        ("fit latin.txt -o m.safetensors --encoding klingon", "encoding is 'klingon'"),
        ("fit short.txt -o m.safetensors", "the text has 183 tokens to train on, but 32 streams with a window of 100"),
        ("fit short.txt -o m.safetensors --held-out 1", "--held-out is 1.0"),
        ("fit short.txt -o m.safetensors --epochs 3 --steps 9", "not allowed with argument"),
        ("fit short.txt -o m.txt", "a model is a .safetensors file, not .txt"),
        ("fit short.txt -o short.txt", "is also an input"),
        ("fit short.txt -o m.safetensors --history m.safetensors", "--history and --output are the same file"),
        ("fit short.txt -o m.safetensors --metrics m.safetensors.checkpoint", "--metrics and the checkpoint"),
        ("fit short.txt -o m.safetensors --resume", "there is no checkpoint 'm.safetensors.checkpoint'"),
        ("fit short.txt -o m.safetensors --dropout 1", "--dropout is 1.0"),
        ("fit short.txt -o m.safetensors --tokens words", "argument --tokens: invalid choice: 'words'"),
        ("evaluate other.safetensors short.txt", "is no language model, its file has no task"),
        ("evaluate short.txt short.txt", "'short.txt' is not a model file"),
        ("evaluate none.safetensors short.txt", "no model file 'none.safetensors'"),
        ("evaluate other.safetensors empty.txt", "'empty.txt' is empty"),
        ("evaluate other.safetensors short.txt -o r.txt", "cannot write '.txt', expected .json"),
        ("generate other.safetensors", "is no language model, its file has no task"),
        ("generate other.safetensors --length 0", "'0' is not an integer of at least 1"),
    ],
)
def test_bad_input(failing: Callable[[str], str], tmp_path: Path, command: str, words: str) -> None:
    from grus.model import Model
    from grus.spec import Linear, Spec

    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes("grün".encode("latin-1"))
    (tmp_path / "short.txt").write_text("a short text " * 15 + "the end.")
    arrays = {"0.weight": np.zeros((1, 1), np.float32), "0.bias": np.zeros(1, np.float32)}
    Model(Spec((Linear(1, 1),)), arrays).save(tmp_path / "other.safetensors")
    assert words in failing(f"language {command}")


def test_bad_options_of_generate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, words in (
        ("--temperature=-1", "temperature is -1"),
        ("--top-p=0", "--top-p is 0"),
        ("--seed=-1", "seed"),
    ):
        assert main(["language", "generate", str(folder / "model.safetensors"), option]) == 2
        out, errors = capsys.readouterr()
        assert (out, errors.count("\n")) == ("", 1)
        assert words in errors


def test_a_text_of_another_day_is_not_resumed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from grus.training.interrupt import Interrupt

    target, data = tmp_path / "model.safetensors", tmp_path / "text.txt"
    data.write_bytes((folder / "one.txt").read_bytes())
    command = ["language", "fit", str(data), "-o", str(target), *SMALL, "--steps", "5", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "__enter__", lambda self: setattr(self, "requested", True) or self)
        assert main(command) == 130
    assert capsys.readouterr().err.startswith("grus: stopped at step 0 of 5 (training)")
    data.write_bytes((folder / "two.txt").read_bytes())
    assert main([*command, "--resume"]) == 2
    assert "the data are not the same" in capsys.readouterr().err


def test_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, target = tmp_path / "names.txt", tmp_path / "names.safetensors"
    names.write_text("Anna\nBen\n\nClara\n" * 60)
    command = ["language", "fit", str(names), "--lines", "-o", str(target), *SMALL, "--steps", "150"]
    assert main(command) == 0
    out, errors = capsys.readouterr()
    assert "note: 60 of 240 texts are empty and left out\n" in errors
    assert "texts held out:" in out
    assert main(["language", "generate", str(target), "--prompt", "Cl", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "Clara\n"
    assert main(["language", "evaluate", str(target), str(names), "--train", str(names)]) == 0
    assert "note: the end of each of the 180 texts counts as a character" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "text"),
    [(r"a\nb", "a\nb"), (r"\t\r", "\t\r"), (r"C:\\new", r"C:\new"), (r"\d \\\\", r"\d \\"), ("\\", "\\")],
)
def test_escapes(given: str, text: str) -> None:
    from grus.cli.shared import escaped

    assert escaped(given) == text


def test_line_ends_and_several_stops(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from grus.tasks.language import LanguageModel

    model = str(folder / "model.safetensors")
    command = ["language", "generate", model, "--prompt", r".\nKr", "--stop", r"\n", "--stop", "z", "--seed", "5"]
    assert main([*command, "--length", "60"]) == 0
    expected = "".join(LanguageModel.load(model).generate(".\nKr", 60, seed=5, stop=["\n", "z"]))
    assert capsys.readouterr().out == f".\nKr{expected}\n"


def test_a_prompt_that_begins_with_a_hyphen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder / "model.safetensors")
    assert main(["language", "generate", model, "--prompt", "-x"]) == 2
    assert "one that begins with a hyphen is given as --prompt=-…" in capsys.readouterr().err
    assert main(["language", "generate", model, "--prompt=-x", "--length", "1"]) == 0
