"""What was measured during a fit, as JSON lines: a row a measurement, in step with the checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

from grus.errors import InputError
from grus.files import sync, write_whole
from grus.training import distributed

__all__ = ["Metrics"]

SHOWN = ("loss", "validation", "learning_rate")  # in TensorBoard


class Metrics:
    """A file of measurements: a JSON object a line, with its "training", "step" and what was measured.

    path: the file, or None for TensorBoard alone. tensorboard: a folder for event files of the same numbers, a run
    for each training. Of several processes the first writes.

    Raises InputError where the file cannot be, holds something else, or TensorBoard is not installed.
    """

    def __init__(self, path: str | os.PathLike[str] | None, tensorboard: str | os.PathLike[str] | None = None) -> None:
        first = distributed.current().first
        self.path = Path(path) if path is not None and first else None
        self.tensorboard = Path(tensorboard) if tensorboard is not None and first else None
        self._writer: Any = None
        if self.path is not None:
            if not self.path.parent.is_dir() or self.path.is_dir():
                raise InputError(f"metrics is {os.fspath(self.path)!r}, expected a file in a folder that exists")
            self._rows()
        if self.tensorboard is not None:
            _summary_writer()

    def begin(self, training: str, step: int, finished: Container[str]) -> None:
        """A training begins, or goes on after ``step`` updates: of all else only rows of ``finished`` ones are kept."""
        if self.path is not None:
            kept = [
                row
                for row in self._rows()
                if row["training"] in finished or (row["training"] == training and row["step"] <= step)
            ]
            write_whole(self.path, b"".join(map(_line, kept)))
        if self.tensorboard is not None:
            folder = self.tensorboard / training.replace(os.sep, "-")
            self._writer = _summary_writer()(os.fspath(folder), purge_step=step + 1)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row: it is on the disk before any checkpoint of a later step."""
        if self.path is not None:
            with open(self.path, "ab") as file:
                file.write(_line(row))
                file.flush()
                sync(file.fileno())
        if self._writer is not None:
            for name in SHOWN:
                if name in row:
                    self._writer.add_scalar(name, row[name], row["step"])
            self._writer.flush()

    def end(self) -> None:
        """The training has ended, in whatever way."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _rows(self) -> list[dict[str, Any]]:
        """The rows of the file; a last one that a killed process left half-written does not count."""
        if self.path is None or not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if type(row["training"]) is not str or type(row["step"]) is not int:
                    raise TypeError
                rows.append(row)
            except (ValueError, TypeError, KeyError):
                if number < len(lines):
                    raise InputError(
                        f"metrics is {os.fspath(self.path)!r}, whose line {number} is no measurement: give a new file"
                    ) from None
        return rows


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("TensorBoard is not installed: pip install tensorboard") from None
    return SummaryWriter
