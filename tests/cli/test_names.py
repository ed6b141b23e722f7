"""Messages of the library in the words of the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from grus.cli import config, names, parser
from grus.errors import InputError

ROWS = "".join(f"a {label} film {i},{label}\n" for i in range(20) for label in ("good", "bad"))
CLASSIFY = "classify fit r.csv -o m.safetensors"
LANGUAGE = "language fit r.csv -o m.safetensors"


@pytest.fixture
def said(failing: Callable[[str], str], tmp_path: Path) -> Callable[..., str]:
    """The message of a command that fails beside r.csv, and s.yaml where its text is given."""

    def call(command: str, settings: str = "") -> str:
        (tmp_path / "r.csv").write_text("text,label\n" + ROWS)
        (tmp_path / "s.yaml").write_text(settings)
        return failing(command + " --config s.yaml" * bool(settings)).removeprefix("grus: error: ").rstrip("\n")

    return call


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"{CLASSIFY} --dropout 2", "--dropout is 2.0, expected a number from 0 to below 1"),
        (f"{CLASSIFY} --accumulate 64", "--accumulate is 64, expected at most --batch-size, 32"),
        (f"{CLASSIFY} --label-smoothing -1", "--label-smoothing is -1.0, expected a number of at least 0"),
        (f"{CLASSIFY} --refit --validation 0", "--refit is given, but --validation is 0: nothing is held back"),
        (f"{CLASSIFY} --tokens characters --case", "--case is given, but --tokens is 'characters', which always"),
        (f"{CLASSIFY} --tokens characters --case", ": leave --case out"),
        (f"{CLASSIFY} --tokens characters --least-count 3", ": leave --least-count out"),
        ("classify fit r.csv -o -", "--output '-': nothing is written to standard output, expected the name of a file"),
        ("forecast fit r.csv --horizon 3 -o m --past y", "--past names the column 'y', expected covariates only"),
        (f"{LANGUAGE} --dropout 1", "--dropout is 1.0, expected a number from 0 to below 1"),
        (f"{LANGUAGE} --weight-drop 1", "--weight-drop is 1.0, expected a number from 0 to below 1"),
        (f"{LANGUAGE} --held-out 1", "--held-out is 1.0, expected a number from 0 to below 1"),
        (f"{CLASSIFY} --labels step", "--labels is 'step', but r.csv has a label a sequence: leave --labels out"),
        (f"{CLASSIFY} --channels a,b", "--channels names 'a', but r.csv holds texts: leave --channels out"),
        (f"{CLASSIFY} --device cuda", "--device is 'cuda', but this machine has no GPU that PyTorch can use: take"),
        (f"{LANGUAGE} --encoding none", "--encoding is 'none', expected the name of one"),
    ],
)
def test_options_are_told_as_they_are_written(said: Callable[..., str], command: str, message: str) -> None:
    assert message in said(command)


def test_the_place_of_a_setting_is_told(said: Callable[..., str]) -> None:
    settings = "seed: 1\nlearning_rate: 0\nvalidation: 0\n"
    assert said(CLASSIFY, settings) == "s.yaml, line 2: --learning-rate is 0.0, expected a number above 0"
    assert said(f"{CLASSIFY} --learning-rate -1", settings).startswith("--learning-rate is -1.0")


def test_an_encoding_that_is_wrong(failing: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("text,label\nfüße,a\n".encode("latin-1"))
    assert failing(CLASSIFY).endswith("save it in UTF-8, or give its encoding, such as --encoding 'latin-1'\n")
    assert failing("forecast fit r.csv --horizon 3 -o m").endswith("invalid start byte): save it in UTF-8\n")


def test_from_standard_input(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "grus",
        *["classify", "fit", "-", "-o", "m.safetensors", "--quiet", "--epochs", "1", "--forward"],
    ]
    subprocess.run(command, input="text,label\n" + ROWS, text=True, check=True, cwd=tmp_path)
    command = [sys.executable, "-m", "grus", *["classify", "predict", "m.safetensors", "-", "-o", "p.csv"]]
    done = subprocess.run(
        command, input="text\na good film\n", text=True, check=True, cwd=tmp_path, capture_output=True
    )
    assert done.stdout == "p.csv: 1 sequence, 1 row\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("season.csv, line 3: season is 'winter'"), None),  # a column, and no option is meant
        (InputError("held_out.txt is not text", "encoding"), None),
        (InputError("past season/held_out x.txt: encoding='held_out'", "held_out"), None),
        (InputError("Name the right one with --time-col (time_col= in Python)"), None),
        (InputError("'window' is 'window is'; the window of a batch_sizes", "window", "batch_size"), None),
        (
            InputError("window is 3, expected the window of window=5", "window"),
            "--window is 3, expected the window of --window 5",
        ),
        (
            InputError("choose window= from 3, window=, 4 for batch_size", "window", "batch_size"),
            "choose --window from 3, --window, 4 for --batch-size",
        ),
        (InputError("GRU.hidden_size is 9", "hidden_size"), None),
    ],
)
def test_what_is_told(error: InputError, message: str | None) -> None:
    options = config.apply(parser(), ["forecast", "fit", "a.csv", "--horizon", "3", "-o", "m", "--window", "3"])
    assert names.told(error, options) == (message or str(error))
    assert names.told(error, None) == str(error)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "classify fit r.csv -o m --hiden-size 3",
            "unrecognized arguments: --hiden-size 3, did you mean --hidden-size?",
        ),
        ("forecast fit r.csv --horizon 3 -o m --x", "unrecognized arguments: --x (see grus forecast fit --help)"),
        ("info m --threads 3", "unrecognized arguments: --threads 3 (see grus info --help)"),
        ("info m r", "unrecognized arguments: r (see grus info --help)"),
    ],
)
def test_what_is_left_over_is_told_by_the_verb(said: Callable[..., str], command: str, message: str) -> None:
    assert said(command).startswith(message)
