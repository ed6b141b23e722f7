"""docs/models.md: its commands and its code are run, its table is what was measured."""

from __future__ import annotations

import io
import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from interop.trained import random_model

from grus.cli import main
from grus.interop import torch as from_torch
from grus.spec import GRU

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "h5py"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile("\n".join(blocks), "docs/models.md", "exec"), {})
    assert {
        "model.safetensors",
        "model.onnx",
        "net",
        "net8",
        "small.safetensors",
        "gru.keras",
        "reader.onnx",
        "reader",
    } <= {p.name for p in tmp_path.iterdir()}


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    monkeypatch.chdir(tmp_path)
    from_torch.save_file(random_model(GRU(3, 4, 2)), "weights.safetensors", "encoder.gru")
    np.savetxt("steps.csv", np.ones((5, 3)), delimiter=",")
    commands = re.findall(r"^    grus (.*)$", PAGE, re.MULTILINE)
    commands += [c.removeprefix("grus ") for c in re.findall(r"`(grus export [^`]*--calibrate[^`]*)`", PAGE)]
    assert len(commands) == 8
    for command in commands:
        arguments, _, given = command.partition(" < ")
        if given:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(given).read_bytes())))
        assert main(arguments.split()) == 0, capsys.readouterr().err


def test_the_table() -> None:
    kept = json.loads((ROOT / "benchmarks" / "results" / "streams.json").read_text())
    for row in kept["rows"]:
        error = f"{row['largest error']:.2g}" if "largest error" in row else "–"
        assert f"| {row['backend']} | {error} | {row.get('verdict', '–')} |" in PAGE
