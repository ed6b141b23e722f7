"""docs/language.md: its code and its commands are run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from grus.cli import main

PAGE = (Path(__file__).parents[3] / "docs" / "language.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("plays.txt", "unseen.txt"):
        (tmp_path / name).write_text(("To be, " + text) * 3, encoding="utf-8")
    return tmp_path


def test_the_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks), "docs/language.md", "exec"), names)
    assert "8-gram" in capsys.readouterr().out
    assert names["logits"].shape == (1, names["model"].model_.spec.output_size)


def test_the_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"^    grus (language .*)$", PAGE, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["fit", "evaluate", "generate"]
    for command in commands:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)]
        quick = ["--steps", "3", "--hidden-size", "16", "--batch-size", "8"] if "fit" in words else []
        assert main([*words, *quick]) == 0, capsys.readouterr().err


def test_every_option_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    options = set()
    for verb in ("fit", "evaluate", "generate"):
        with pytest.raises(SystemExit):
            main(["language", verb, "--help"])
        options |= set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    assert set(re.findall(r"`(--[\w-]+)", PAGE)) <= options
