"""A journal of trainings in one file: what is finished, and the exact state of what is not.

A fit is a chain of named trainings (the members of an ensemble, a search, a refit). The journal keeps the weights of
every finished one and all that the running one needs to go on to the same bits. It is one .safetensors file with
JSON in its metadata, written whole or not at all; nothing in it is ever executed. Of several processes the first
reads and writes the file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.files import write_whole
from grus.training import distributed

__all__ = ["Journal", "Running", "Result"]

FORMAT = 2
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Result:
    """A finished training.

    arrays: the weights to keep, by name. step: how many updates they had. score: their validation metric, None
    without validation. curve: what was measured on the way, rows of step, loss and validation.
    """

    arrays: Arrays
    step: int
    score: float | None
    curve: list[dict[str, Any]]


@dataclass
class Running:
    """The running training: its name, the updates done, its arrays, and numbers that go to JSON."""

    name: str
    step: int
    arrays: Arrays
    numbers: dict[str, Any]


@dataclass
class Journal:
    """The journal of one fit.

    path: the file, or None to keep nothing on disk.
    identity: what makes two fits the same, by name ("settings.hidden_size", "data", …), as JSON values.
    interval: seconds between two periodic writes.
    writer: whether this process is the one that writes the file.
    """

    path: Path | None
    identity: dict[str, Any]
    interval: float = 20.0
    finished: dict[str, Result] = field(default_factory=dict)
    running: Running | None = None
    written: float = field(default_factory=time.monotonic)
    writer: bool = True

    @property
    def due(self) -> bool:
        return self.path is not None and self.writer and time.monotonic() - self.written >= self.interval

    def update(self, running: Running) -> None:
        self.running = running
        self.write()

    def finish(self, name: str, result: Result) -> None:
        self.finished[name] = result
        self.running = None
        self.write()

    def write(self) -> None:
        """Write the file, if there is one. Raises OSError where that fails; the old file then stands."""
        if self.path is None or not self.writer:
            return
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {}
        head: dict[str, Any] = {"format": FORMAT, "identity": self.identity, "finished": {}, "running": None}
        for name, result in self.finished.items():
            arrays |= {f"finished/{name}/{key}": array for key, array in result.arrays.items()}
            head["finished"][name] = {"step": result.step, "score": result.score, "curve": result.curve}
        if self.running is not None:
            arrays |= {f"running/{key}": array for key, array in self.running.arrays.items()}
            head["running"] = {"name": self.running.name, "step": self.running.step, "numbers": self.running.numbers}
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        write_whole(self.path, save(contiguous, metadata={"grus.checkpoint": json.dumps(head, allow_nan=False)}))
        self.written = time.monotonic()

    @staticmethod
    def open(path: str | os.PathLike[str] | None, identity: dict[str, Any], *, resume: bool = False) -> Journal:
        """A new journal, or with ``resume`` the one in the file. Of several processes all must ask.

        Raises InputError when a file is there and ``resume`` is not asked for, is not there although it is, is no
        checkpoint, or belongs to a fit with another identity, or when the processes were not all given the same: the
        message then says what differs.
        """
        identity = json.loads(json.dumps(identity))
        _check_agreement(identity | {"resume": bool(resume), "a checkpoint": path is not None})
        if path is None:
            if resume:
                raise InputError("resume is True, but checkpoint is None: give the path of the checkpoint")
            return Journal(None, identity)
        journal = Journal(Path(path), identity, writer=distributed.current().first)
        data = distributed.from_first(lambda: _content(os.fspath(path), resume=resume))
        if resume:
            journal._read(data)
        return journal

    def _read(self, data: bytes) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            size = int.from_bytes(data[:8], "little")  # of the header, which load has found sound
            head = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["grus.checkpoint"])
            if head["format"] != FORMAT:
                raise InputError(f"{str(self.path)!r} has the format {head['format']!r}, expected {FORMAT}")
            _compare(str(self.path), head["identity"], self.identity)
            for name, row in head["finished"].items():
                self.finished[name] = Result(_below(arrays, f"finished/{name}/"), **row)
            if head["running"] is not None:
                self.running = Running(arrays=_below(arrays, "running/"), **head["running"])
        except (SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise InputError(f"{str(self.path)!r} is not a checkpoint of Grus, or is damaged: {error}") from None


def _content(path: str, *, resume: bool) -> bytes:
    """The bytes of the file to resume from; none where there is none, and none is wanted."""
    exists = Path(path).exists()
    if resume and not exists:
        raise InputError(f"there is no checkpoint {path!r} to resume from: start without resume")
    if exists and not resume:
        raise InputError(f"the checkpoint {path!r} is left of an unfinished fit: resume, or delete it")
    if not resume:
        return b""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"the checkpoint {path!r} cannot be read: {error.strerror}") from None


def _below(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}


def _compare(path: str, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    tasks = stored.get("task"), wanted.get("task")
    if None not in tasks and tasks[0] != tasks[1]:
        raise InputError(
            f"cannot resume from {path!r}: it is of grus {tasks[0]} fit, not of grus {tasks[1]} fit; delete it, or "
            "choose another name"
        )
    words = _differences(stored, wanted, "{} was {!r}, is {!r}")
    if words:
        raise InputError(f"cannot resume from {path!r}: {words}; make both the same, or delete it to start again")


def _check_agreement(mine: dict[str, Any]) -> None:
    """Raise InputError in every process when one of them was given something else than the first."""
    first, *others = map(json.loads, distributed.gather(json.dumps(mine).encode()))
    for rank, other in enumerate(others, 1):
        words = _differences(first, other, f"{{}} is {{!r}} in process 0, {{!r}} in process {rank}")
        if words:
            raise InputError(f"the processes train different things, process {rank} unlike process 0: {words}")


def _differences(left: dict[str, Any], right: dict[str, Any], form: str) -> str:
    """The first three, each put into ``form`` by its name and its two values; "" where there are none."""
    differing = [key for key in right | left if left.get(key) != right.get(key)]
    return ", ".join(
        "the data are not the same" if key == "data" else form.format(key, left.get(key), right.get(key))
        for key in differing[:3]
    )
