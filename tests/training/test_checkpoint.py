"""The journal file: what is refused, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grus.errors import InputError
from grus.training.checkpoint import Journal, Result, Running

IDENTITY = {"settings.hidden_size": 8, "settings.quantiles": (0.1, 0.9), "data": "abc", "task": "language"}


def write(path: Path) -> Journal:
    journal = Journal.open(path, IDENTITY)
    row = {"step": 3, "loss": 0.1, "validation": None}
    journal.finish("first", Result({"0.weight": np.ones((2, 3), np.float32)}, 3, 0.25, [row]))
    journal.update(Running("second", 2, {"network/0.weight": np.arange(3.0)}, {"loss_sum": 0.1 + 0.2}))
    return journal


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c"
    written = write(path)
    read = Journal.open(path, IDENTITY, resume=True)
    first = read.finished["first"]
    assert np.array_equal(first.arrays["0.weight"], np.ones((2, 3)))
    assert (first.step, first.score, first.curve) == (3, 0.25, written.finished["first"].curve)
    assert read.running is not None
    assert (read.running.name, read.running.step) == ("second", 2)
    assert read.running.numbers == {"loss_sum": 0.1 + 0.2}
    assert np.array_equal(read.running.arrays["network/0.weight"], np.arange(3.0))


def test_an_unfinished_fit_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "c")
    with pytest.raises(InputError, match="left of an unfinished fit: resume, or delete it"):
        Journal.open(tmp_path / "c", IDENTITY)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no checkpoint"):
        Journal.open(tmp_path / "c", IDENTITY, resume=True)
    with pytest.raises(InputError, match="checkpoint is None"):
        Journal.open(None, IDENTITY, resume=True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"settings.hidden_size": 9}, "settings.hidden_size was 8, is 9"),
        ({"data": "abd"}, "the data are not the same"),
        ({"task": "classify"}, "it is of grus language fit, not of grus classify fit"),
        ({"settings.seed": 1}, "settings.seed was None, is 1"),
    ],
)
def test_another_fit_is_refused(tmp_path: Path, changed: dict[str, object], words: str) -> None:
    write(tmp_path / "c")
    with pytest.raises(InputError, match=words):
        Journal.open(tmp_path / "c", IDENTITY | changed, resume=True)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "c"
    write(path)
    data = path.read_bytes()
    for length in (0, 7, 100, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="not a checkpoint of Grus, or is damaged"):
            Journal.open(path, IDENTITY, resume=True)
    for metadata in (None, {"grus.checkpoint": "[]"}, {"grus.checkpoint": "{"}, {"grus.checkpoint": '{"format": 2}'}):
        save_file({"a": np.ones(1)}, path, metadata=metadata)
        with pytest.raises(InputError, match="not a checkpoint of Grus, or is damaged"):
            Journal.open(path, IDENTITY, resume=True)
    save_file({"a": np.ones(1)}, path, metadata={"grus.checkpoint": '{"format": 99}'})
    with pytest.raises(InputError, match="has the format 99, expected 2"):
        Journal.open(path, IDENTITY, resume=True)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    journal = write(path)
    data = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        journal.write()
    assert path.read_bytes() == data
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_no_path_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal.open(None, IDENTITY)
    journal.interval = 0.0
    assert not journal.due
    journal.finish("first", Result({}, 1, None, []))
    assert list(tmp_path.iterdir()) == []
