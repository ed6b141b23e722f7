"""docs/training.md: its code, its commands and its settings file are run or parsed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import grus
from grus.cli import config, parser

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def _one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_example_learns_to_add(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(compile(code, "docs/training.md", "exec"), {})
    assert re.fullmatch(r"squared error 0\.0\d+ after \d+ steps\n", capsys.readouterr().out)
    x = np.random.default_rng(2).random((10, 50, 2), np.float32)
    x[:, :, 1] = np.arange(10)[:, None] % 5 == 3  # the fourth and the ninth
    y, _ = grus.Session(grus.load("adding.safetensors")).run(x, last=True)
    assert np.square(y[:, 0] - x[3, :, 0] - x[8, :, 0]).mean() < 0.05  # always to say 1 gives 1/6
    (row,) = blocks("json")
    for line in (tmp_path / "adding.jsonl").read_text().splitlines():
        assert list(json.loads(line)) == list(json.loads(row))
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(json.loads(row))


def test_the_commands_parse(tmp_path: Path) -> None:
    (settings,) = blocks("yaml")
    (tmp_path / "settings.yaml").write_text(settings)
    text = PAGE.replace("\\\n", " ")
    commands = re.findall(r"^    (?:\S+=\S+ )?(torchrun|grus) (.*)$", text, re.MULTILINE)
    assert len(commands) == 4
    for program, arguments in commands:
        words = shlex.split(arguments)
        if program == "torchrun":
            words = words[words.index("-m") + 2 :]
        options = config.apply(parser(), words)
        assert options.output == Path("model.safetensors")
    assert (options.hidden_size, options.layers, options.dropout, options.seed) == (128, 2, 0.4, 2)
