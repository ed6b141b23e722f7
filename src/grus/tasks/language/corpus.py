"""Texts: read from files, split into what is trained on and what is held out, and cut into streams of tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError, note
from grus.inputs.text import as_unicode, encode
from grus.spec import Language
from grus.spec.task import UNKNOWN
from grus.tasks import columns
from grus.tasks.language.settings import Settings

__all__ = [
    "Corpus",
    "Split",
    "Streams",
    "Window",
    "as_corpus",
    "as_text",
    "count",
    "encode_corpus",
    "encode_text",
    "read_text",
    "split",
    "written",
]

ENDINGS = (".txt", ".text", ".md")
LONGEST_NAME = 255  # characters

Ids = NDArray[np.int64]
Corpus: TypeAlias = "str | tuple[str, ...]"  # one running text, or texts that have ends


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


def as_corpus(data: Any, encoding: str = "utf-8", *, lines: bool = False) -> Corpus:
    """Texts with ends, where ``data`` is a list of several str, or ``lines``: every line is one; else the running text
    of :func:`as_text`. Empty ones are left out, and a note tells how many. Raises InputError as :func:`as_text` does.
    """
    listed = isinstance(data, Sequence) and not isinstance(data, (str, bytes, bytearray))
    texts = listed and len(data) > 1 - lines and all(isinstance(one, str) for one in data)
    if not lines and not texts:
        return as_text(data, encoding)
    if not texts:
        parts = data if listed else [data]
        data = [line for one in parts for line in as_text(one, encoding).removesuffix("\n").split("\n")]
    found = tuple(as_unicode(one) for one in data if one.strip())
    if len(found) < len(data):
        note(f"{len(data) - len(found):,} of {len(data):,} texts are empty and left out")
    if not found:
        raise InputError("the texts are all empty")
    return found


def count(corpus: Corpus) -> int:
    """Characters; the end of a text counts as one."""
    return len(corpus) if isinstance(corpus, str) else sum(map(len, corpus)) + len(corpus)


def written(corpus: Corpus) -> str:
    """One text, in which the ends are line ends."""
    return corpus if isinstance(corpus, str) else "".join(f"{text}\n" for text in corpus)


def encode_text(task: Language, text: str) -> Ids:
    """The ids [T] of a text; where texts have ends, 0 is not among them."""
    ids = encode(task.input, text)
    return np.where(ids == 0, encode(task.input, UNKNOWN)[0], ids) if task.ends else ids


def encode_corpus(task: Language, corpus: Corpus) -> Ids:
    """The ids [T] of a corpus, every end 0."""
    if isinstance(corpus, str):
        return encode_text(task, corpus)
    return np.concatenate([part for text in corpus for part in (encode_text(task, text), np.zeros(1, np.int64))])


def _names_a_file(text: str) -> bool:
    if len(text) > LONGEST_NAME or not text.isprintable():
        return False
    return os.path.isfile(text) or (text.lower().endswith(ENDINGS) and " " not in text)


@dataclass(frozen=True)
class Split:
    """A corpus in three parts, each of its kind; the last two may be empty."""

    train: Any
    validation: Any
    test: Any


def split(text: Corpus, settings: Settings) -> Split:
    """The parts of a text: the test part at its end, the validation part before it, the rest to train on. Texts with
    ends are put in an order by chance first, for a list is often a sorted one.

    Raises InputError where a part that is asked for would be empty.
    """
    if not isinstance(text, str):
        order = np.random.default_rng([settings.trainer.seed, 2]).permutation(len(text))
        text = tuple(text[i] for i in order)
    test = round(len(text) * settings.held_out)
    validation = round((len(text) - test) * settings.validation)
    ends = len(text) - test - validation, len(text) - test
    parts = Split(text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :])
    what = "characters" if isinstance(text, str) else "texts"
    for name, share in (("held_out", settings.held_out), ("validation", settings.validation)):
        if share and not (parts.test if name == "held_out" else parts.validation):
            raise InputError(
                f"the text has {len(text):,} {what}, too few to set a share of {share:g} aside ({name}): "
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
    The last tokens, fewer than there are streams, are left out. ends: id 0 ends a text; where texts are shorter than
    streams, each of these then begins with the first text that begins in it: what a state of zeros stands for.

    Raises InputError for fewer tokens than fill one window.
    """

    def __init__(
        self, ids: Ids, batch_size: int, window: int, rank: int = 0, world: int = 1, *, ends: bool = False
    ) -> None:
        rows = batch_size * world
        length = len(ids) // rows
        if length < window:
            raise InputError(
                f"the text has {len(ids):,} tokens to train on, but {rows} streams with a window of {window} need "
                f"{rows * window:,}: take a longer text, fewer streams (--batch-size) or a shorter window (--window)"
            )
        mine = slice(rank * batch_size, (rank + 1) * batch_size)
        first = np.arange(rows) * length
        if ends:
            begins = np.concatenate([[0], np.flatnonzero(ids == 0) + 1, [len(ids)]])
            following = begins[np.searchsorted(begins, first)]
            first = np.where(following < first + length, following, first)
        self.tokens: Ids = ids[(first[mine, None] + np.arange(length)) % len(ids)]  # [B, length]
        self.epoch_steps = -(-length // window)
        self.edges = [k * length // self.epoch_steps for k in range(self.epoch_steps + 1)]

    def __call__(self, step: int) -> Window:
        index = step % self.epoch_steps
        start, stop = self.edges[index], self.edges[index + 1]
        target = self.tokens[:, start:stop].T
        before = np.zeros_like(target[:1]) if index == 0 else self.tokens[:, start - 1 : start].T
        return Window(np.concatenate([before, target[:-1]]), np.ascontiguousarray(target), index == 0)
