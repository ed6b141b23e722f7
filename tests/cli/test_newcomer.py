"""What a person tries first: the command alone, predictions on the terminal and from a pipe, a folder with a test."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

from grus.cli import main
from grus.tasks.classify import Classifier, Trainer
from grus.training import progress

SMALL = ["--hidden-size", "4", "--epochs", "2"]
TEXTS = {"good": ["a fine film", "fine and good", "so good"], "bad\nnews": ["a dull film", "dull and poor", "so poor"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    rows = [f'"{text}","{label}"' for label, texts in TEXTS.items() for text in texts * 8]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    assert main(["classify", "fit", str(folder / "texts.csv"), "-o", str(folder / "m.safetensors"), *SMALL]) == 0
    return folder / "m.safetensors"


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_the_command_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: grus ") and "forecast" in shown.out and not shown.err


def test_the_end_of_a_training_says_what_was_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)  # a line a step
    rows = [f"{text},{label[:3]}" for label, texts in TEXTS.items() for text in texts * 8]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    command = ["classify", "fit", str(tmp_path / "texts.csv"), *SMALL, "-o"]
    assert main([*command, str(tmp_path / "m.safetensors")]) == 0
    shown = capsys.readouterr().err
    assert "training: the best was step " in shown
    assert re.search(r"loss [\d.]+, validation [\d.]+, accuracy (1|0)\.\d{4}, ", shown), "what people ask for first"
    assert main([*command, str(tmp_path / "n.safetensors"), "--validation", "0"]) == 0
    assert "training: the best" not in capsys.readouterr().err


def test_several_texts_and_a_line_for_each(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "predict", str(model), "--text", "so good", "--text", "so poor", "--text", "film"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and set(lines) <= {"good", "bad\\nnews"}


def test_lines_from_a_pipe(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "so good\n\na film, or two; so poor\n"
    pipe(monkeypatch, lines)
    assert main(["classify", "predict", str(model), "-"]) == 0
    piped = capsys.readouterr()
    assert len(piped.out.splitlines()) == 2
    assert "note: standard input: 1 of 3 lines are empty, and left out" in piped.err
    texts = ["--text", "so good", "--text", "a film, or two; so poor"]
    assert main(["classify", "predict", str(model), *texts]) == 0
    assert capsys.readouterr().out == piped.out
    command = [sys.executable, "-m", "grus", "classify", "predict", str(model)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == piped.out


def test_a_table_from_a_pipe_stays_one(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, "text,other\nso good,1\nso poor,2\n")
    assert main(["classify", "predict", str(model), "-"]) == 0
    assert len(capsys.readouterr().out.split()) == 2


def test_a_table_with_ids_is_shown_as_one(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.csv").write_text("unique_id,text\nx7,so good\n")
    assert main(["classify", "predict", str(model), str(tmp_path / "more.csv")]) == 0
    assert capsys.readouterr().out.startswith("unique_id,label\nx7,")


def test_forecasts_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{s},{t},{np.sin(t) + 3:.4f}" for s in "ab" for t in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")
    model = str(tmp_path / "m.safetensors")
    fit = ["forecast", "fit", str(tmp_path / "t.csv"), "--horizon", "3", "--steps", "3", "--hidden-size", "4"]
    assert main([*fit, "--members", "1", "-o", model]) == 0
    capsys.readouterr()
    assert main(["forecast", "predict", model, str(tmp_path / "t.csv")]) == 0
    shown = capsys.readouterr().out
    assert main(["forecast", "predict", model, str(tmp_path / "t.csv"), "-o", str(tmp_path / "f.csv")]) == 0
    assert shown == (tmp_path / "f.csv").read_text() and len(shown.splitlines()) == 7


def test_a_folder_of_train_and_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, times in (("train", 8), ("test", 2)):
        for name, label in (("pos", "good"), ("neg", "bad\nnews"), ("unsup", "good")):
            folder = tmp_path / "reviews" / part / name
            if part == "train" or name != "unsup":
                folder.mkdir(parents=True)
                for i, text in enumerate(TEXTS[label] * times):
                    (folder / f"{i}.txt").write_text(text)
    command = ["classify", "fit", str(tmp_path / "reviews"), "-o", str(tmp_path / "m.safetensors"), *SMALL]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "trained on 48 sequences" in shown.out and "(2 classes" in shown.out and "accuracy" in shown.out
    assert "its folder train is trained on, and its folder test" in shown.err and "unsup is left out" in shown.err
    given = [str(tmp_path / "m.safetensors"), str(tmp_path / "reviews")]
    assert main(["classify", "evaluate", *given, "--train", given[1]]) == 0
    shown = capsys.readouterr()
    assert "reviews: its folder test is read" in shown.err and "reviews: its folder train is read" in shown.err
    assert "most frequent class" in shown.out
    assert main(["classify", "evaluate", given[0], str(tmp_path / "reviews" / "test")]) == 0
    alone = capsys.readouterr().out.splitlines()[1]
    assert alone.split() == shown.out.splitlines()[1].split()  # the row of the GRU: the same texts


def test_random_state_is_the_seed() -> None:
    trainer = Trainer(epochs=1)
    assert Classifier(random_state=np.int64(7), trainer=trainer).settings.trainer == Trainer(epochs=1, seed=7)
    assert Classifier(trainer=trainer).settings.trainer == trainer
    with pytest.raises(ValueError, match="random_state is 'x', expected an integer"):
        _ = Classifier(random_state="x").settings  # type: ignore[arg-type]


def test_a_terminal_of_40_columns(model: Path) -> None:
    """A table goes down where it has no room across."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
    command = [sys.executable, "-m", "grus", "classify", "evaluate", str(model), str(model.parent / "texts.csv")]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    assert subprocess.run(command, stdout=terminal, stderr=subprocess.DEVNULL, env=environment).returncode == 0
    os.close(terminal)
    lines = os.read(screen, 1 << 16).decode().splitlines()
    os.close(screen)
    table = list(takewhile(lambda line: not line.startswith("note: "), lines))
    assert max(map(len, table)) <= 40
    assert table[0] == "GRU" and re.fullmatch(r"  accuracy +[\d.]+", table[1]), table[:3]


def test_help_is_folded_and_its_examples_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit):
        main(["classify", "predict", "--help"])
    shown = capsys.readouterr().out
    assert "\nThe output has the columns unique_id\n(where the data has none" in shown
    assert '\n  grus classify predict model.safetensors --text "A film to remember." --text "Dull."\n' in shown
