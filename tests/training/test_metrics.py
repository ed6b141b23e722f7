"""The file of measurements is in step with the checkpoint, and harms no other file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from toy import OPTIMISATION, fit

from grus.errors import InputError
from grus.training.interrupt import Interrupt, Interrupted
from grus.training.metrics import Metrics
from grus.training.schedule import learning_rate


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_a_measurement(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    fit(None, metrics=Metrics(path))
    rows = rows_of(path)
    steps = [7, 14, 21, 28, 30]
    assert [(row["training"], row["step"]) for row in rows] == [(f"member {m}", s) for m in (0, 1) for s in steps]
    for row in rows:
        assert list(row) == ["training", "step", "loss", "validation", "learning_rate", "seconds"]
        assert row["learning_rate"] == learning_rate(OPTIMISATION, int(str(row["step"])) - 1)
    seconds = [float(str(row["seconds"])) for row in rows[:5]]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_what_was_measured_after_the_checkpoint_is_measured_again(tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "metrics.jsonl", tmp_path / "checkpoint"
    fit(None, metrics=Metrics(path))
    whole = rows_of(path)

    def stop(interrupt: Interrupt, member: int, step: int) -> None:
        interrupt.requested = (member, step) == (1, 10)

    with pytest.raises(Interrupted):
        fit(checkpoint, each_step=stop, metrics=Metrics(path))
    assert len(rows_of(path)) == 6  # of an earlier fit in the same file nothing is left
    with open(path, "a") as file:
        file.write(json.dumps({"training": "member 1", "step": 14, "loss": 99.0}) + '\n{"training": "memb')
    fit(checkpoint, resume=True, metrics=Metrics(path))
    assert [row | {"seconds": 0} for row in rows_of(path)] == [row | {"seconds": 0} for row in whole]
    seconds = [float(str(row["seconds"])) for row in rows_of(path)]
    assert seconds[5:] == sorted(seconds[5:])  # they go on where the first half ended


@pytest.mark.parametrize("content", ["a diary\n", '[1]\n{"training": "a", "step": 1}\n', '{"step": 1}\n', "\n\n"])
def test_another_file_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes"
    path.write_text(content)
    with pytest.raises(InputError, match="whose line 1 is no measurement: give a new file"):
        Metrics(path)
    assert path.read_text() == content


def test_a_file_needs_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "metrics.jsonl"):
        with pytest.raises(InputError, match="expected a file in a folder that exists"):
            Metrics(path)


def test_tensorboard_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="TensorBoard is not installed: pip install tensorboard"):
        Metrics(None, tmp_path)


def test_tensorboard_shows_the_same_numbers(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError)
    path = tmp_path / "metrics.jsonl"
    fit(None, metrics=Metrics(path, tmp_path / "events"))
    for training in ("member 0", "member 1"):
        events = reader.EventAccumulator(str(tmp_path / "events" / training)).Reload()
        for name in ("loss", "validation", "learning_rate"):
            shown = [(event.step, event.value) for event in events.Scalars(name)]
            rows = [row for row in rows_of(path) if row["training"] == training]
            assert [step for step, _ in shown] == [row["step"] for row in rows]
            assert [value for _, value in shown] == pytest.approx([row[name] for row in rows], rel=1e-6)
