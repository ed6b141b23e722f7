"""Texts: read from files, split into what is trained on and what is held out, and cut into streams of tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.inputs.text import as_unicode
from grus.tasks import columns
from grus.tasks.language.settings import Settings

__all__ = ["Split", "Streams", "Window", "as_text", "read_text", "split"]

ENDINGS = (".txt", ".text", ".md")
LONGEST_NAME = 255  # characters

Ids = NDArray[np.int64]


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """The text of a file, without a byte order mark; a line ends with \\n, however it did in the file.

    Raises InputError for an empty file, for one in another encoding (with the first byte that says so), and for an
    encoding that does not exist; OSError where the file cannot be read.
    """
    text = columns.read_text(path, encoding).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise InputError(f"{os.fspath(path)!r} is empty, expected a text")
    return text


def as_text(data: Any, encoding: str = "utf-8") -> str:
    """One text: a str is the text itself, a Path a file to read, and a list of these is joined in its order.

    Raises InputError as :func:`read_text` does, for an empty text, for a str that is the name of a file, and for
    anything else.
    """
    if isinstance(data, str):
        if not data:
            raise InputError("the text is empty")
        if _names_a_file(data):
            raise InputError(f"the text is {data!r}, the name of a file: pathlib.Path({data!r}) reads the file")
        return as_unicode(data)
    if isinstance(data, os.PathLike):
        return read_text(data, encoding)
    if isinstance(data, Sequence) and not isinstance(data, (bytes, bytearray)) and data:
        return "".join(as_text(one, encoding) for one in data)
    raise InputError(f"text is a {type(data).__name__}, expected a str, a pathlib.Path of a file, or a list of these")


def _names_a_file(text: str) -> bool:
    if len(text) > LONGEST_NAME or not text.isprintable():
        return False
    return os.path.isfile(text) or (text.lower().endswith(ENDINGS) and " " not in text)


@dataclass(frozen=True)
class Split:
    """A text in three parts that follow one another; the last two may be empty."""

    train: str
    validation: str
    test: str


def split(text: str, settings: Settings) -> Split:
    """The parts of a text: the test part at its end, the validation part before it, the rest to train on.

    Raises InputError where a part that is asked for would be empty.
    """
    test = round(len(text) * settings.held_out)
    validation = round((len(text) - test) * settings.validation)
    ends = len(text) - test - validation, len(text) - test
    parts = Split(text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :])
    for name, share in (("held_out", settings.held_out), ("validation", settings.validation)):
        if share and not (parts.test if name == "held_out" else parts.validation):
            raise InputError(
                f"the text has {len(text):,} characters, too few to set a share of {share:g} aside ({name}): "
                f"give a longer text, or 0 for {name}",
                name,
            )
    return parts


class Window(NamedTuple):
    """A step's tokens: target [T, B], and x [T, B], the one before each. first: the streams begin, from zero states."""

    x: Ids
    target: Ids
    first: bool


class Streams:
    """A text's tokens [N] as ``batch_size`` · ``world`` streams that follow one another in it, read side by side.

    Step k reads the k-th window of each: of ``window`` tokens, or one less where the streams do not divide evenly.
    After the last, the next epoch begins with the first. Every stream begins with the token 0, as a text does. Process
    ``rank`` reads ``batch_size`` of the streams; those of all processes are the streams of one with as large a batch.
    The last tokens, fewer than there are streams, are left out.

    Raises InputError for fewer tokens than fill one window.
    """

    def __init__(self, ids: Ids, batch_size: int, window: int, rank: int = 0, world: int = 1) -> None:
        rows = batch_size * world
        length = len(ids) // rows
        if length < window:
            raise InputError(
                f"the text has {len(ids):,} tokens to train on, but {rows} streams with a window of {window} need "
                f"{rows * window:,}: take a longer text, fewer streams (--batch-size) or a shorter window (--window)"
            )
        mine = slice(rank * batch_size, (rank + 1) * batch_size)
        self.tokens = ids[: rows * length].reshape(rows, length)[mine]  # [B, length]
        self.epoch_steps = -(-length // window)
        self.edges = [k * length // self.epoch_steps for k in range(self.epoch_steps + 1)]

    def __call__(self, step: int) -> Window:
        index = step % self.epoch_steps
        start, stop = self.edges[index], self.edges[index + 1]
        target = self.tokens[:, start:stop].T
        before = np.zeros_like(target[:1]) if index == 0 else self.tokens[:, start - 1 : start].T
        return Window(np.concatenate([before, target[:-1]]), np.ascontiguousarray(target), index == 0)
