"""Hostile files are refused with a message, within a second, in bounded memory, by every loader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS, MEGABYTES = 1.0, 512


@pytest.mark.alone
def test_every_hostile_file_is_refused(tmp_path: Path) -> None:
    for package in ("onnx", "h5py"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    command = [sys.executable, str(Path(__file__).with_name("hostile.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) >= 40
    wrong = [
        row
        for row in rows
        if not (row[4].startswith("InputError: ") and row[1] in row[4] and len(row[4]) < 2100)
        or row[2] > SECONDS
        or row[3] > MEGABYTES
    ]
    assert not wrong
    assert not (tmp_path / "hurt").exists()


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    import os

    import grus
    from grus.interop import keras, onnx, torch

    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for load in (grus.load, torch.load_file, keras.load_file, onnx.load_file):
        for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", Path("/dev/zero")):
            with pytest.raises(FileNotFoundError):
                load(path)


def test_what_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    from hostile import model

    from grus import InputError, Model, Spec
    from grus.spec import GRU, Forecast

    small = model(GRU(2, 3))
    for ends, words in (
        (tuple((str(i), "2001") for i in range(200_000)), "items and 3 objects, expected at most"),
        ((("x" * 9_000_000, "2001"),), "the arrays' names take"),
    ):
        task = Forecast(horizon=1, window=1, quantiles=(0.5,), frequency="D", season=1, trained_until=ends)
        with pytest.raises(InputError, match=words):
            Model(Spec((GRU(2, 3),), task), dict(small.arrays)).save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
