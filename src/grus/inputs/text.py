"""Text to the ids a network reads and back, and vocabularies learned from texts.

Words: a run of Unicode word characters is one, with apostrophes between them ("don't") and the combining marks and
joiners behind them (vowel signs, points, accents; rule WB4 of Unicode's annex 29); every other character that is no
space is a token of its own. Characters: Unicode code points. Subwords: byte-level byte-pair encoding, by the
package ``tokenizers``. The same text gives the same ids on any machine; nothing here needs more than NumPy but that.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from grus import installed
from grus.errors import InputError, note
from grus.spec.task import Characters, Subwords, Text, Words

__all__ = [
    "NO_SPACES",
    "WORD_END",
    "as_unicode",
    "decode",
    "encode",
    "encode_tokens",
    "ends_words",
    "first_steps",
    "is_word",
    "learn_characters",
    "learn_subwords",
    "learn_words",
    "read_vocabulary",
    "split_words",
]

MARK = "\u0301"  # stands for every combining mark and joiner where words are looked for: re has no class of them
JOINERS = "\u200c\u200d"
WORD = re.compile(rf"\w[\w{MARK}]*(?:['’]\w[\w{MARK}]*)*|[^\w\s]")
LETTER = re.compile(r"\w")
BYTES = 256  # pieces of byte-pair encoding that stand for a byte each
WORD_END = "\x1f"  # the unit separator, of characters of words: the last entry of their vocabulary, behind every word
FREE = ""  # what id 0 is to the package: no piece is empty
NO_SPACES = "text without spaces is read by characters (tokens='characters', --tokens characters)"

Ids = NDArray[np.int64]
Kind = TypeVar("Kind", bound=np.generic)


def split_words(text: str) -> list[str]:
    """The words and punctuation marks of a text, in order."""
    marked = text if text.isascii() else text.translate(_MARKS)
    if marked == text:
        return WORD.findall(text)
    return [text[found.start() : found.end()] for found in WORD.finditer(marked)]


class _Marks(dict[int, int]):
    """Code points with MARK in the place of marks and joiners, filled as they are met."""

    def __missing__(self, point: int) -> int:
        char = chr(point)
        self[point] = ord(MARK) if unicodedata.category(char)[0] == "M" or char in JOINERS else point
        return self[point]


_MARKS = _Marks()


def is_word(token: str) -> bool:
    """Whether it begins with a letter or digit, and is no punctuation mark."""
    return LETTER.match(token) is not None


def encode(input: Text, text: str) -> Ids:
    """The ids [T] of a text, 0 for what is not in the vocabulary; T = 0 for one without words.

    Raises InputError for what is no text, and for subwords where ``tokenizers`` is not installed.
    """
    if not isinstance(text, str):
        raise InputError(f"text is a {type(text).__name__}, expected a str")
    return _encoder(_Same(input))(text)


def ends_words(input: Text) -> bool:
    """Whether these are characters of words, with WORD_END, the last of the ids, behind each."""
    return isinstance(input, Characters) and input.vocabulary[-1] == WORD_END


def encode_tokens(input: Words | Characters, tokens: Sequence[str]) -> Ids:
    """The ids [T] of text that is cut into tokens already, each looked up whole; of a vocabulary with WORD_END the
    characters of each, and WORD_END behind it.

    Raises InputError for subwords, which cut a token further, and for tokens that are no text.
    """
    if isinstance(input, Subwords):
        raise InputError("tokens have one id each only as words or characters, not as subwords")
    if not all(isinstance(token, str) for token in tokens):
        raise InputError(f"tokens are {tokens!r}, expected a sequence of str")
    known = _lookup(_Same(input))
    if ends_words(input):
        return np.array(
            [i for t in tokens for i in (*(known.get(c, 0) * (c != WORD_END) for c in t), len(known))], np.int64
        )
    lower = isinstance(input, Words) and input.lower
    return np.array([known.get(t.lower() if lower else t, 0) for t in tokens], np.int64)


def first_steps(rows: Sequence[NDArray[Kind]], longest: int) -> list[NDArray[Kind]]:
    """Of each sequence the first ``longest`` steps, 0 for all; a note tells how many are longer."""
    longer = sum(len(row) > longest for row in rows) if longest else 0
    if longer:
        note(
            f"{longer:,} of {len(rows):,} sequences have more than {longest:,} steps, of which the first {longest:,} "
            "are read: longest=0 (--longest 0) reads all"
        )
    return [row[: longest or None] for row in rows]


def decode(input: Characters | Subwords, ids: Sequence[int] | Ids) -> str:
    """The text of ids; of characters, id 0 is U+FFFD, the replacement character; of subwords, it is nothing.

    Bytes that are no UTF-8, as where a piece ends within a character, are U+FFFD. Raises InputError for an id that is
    not in the vocabulary, and for words, which do not say what stood between them.
    """
    values = np.asarray(ids, np.int64).reshape(-1)
    if isinstance(input, Words):
        raise InputError("words cannot be turned back into text: expected Characters or Subwords")
    bad = values[(values < 0) | (values >= input.size)]
    if bad.size:
        raise InputError(f"id {int(bad[0])} is not in the vocabulary, expected 0 to {input.size - 1}")
    if isinstance(input, Characters):
        return "".join("\ufffd" if i == 0 else input.vocabulary[i - 1] for i in values.tolist())
    text: str = _tokenizer(_Same(input)).decode(values.tolist(), skip_special_tokens=False)
    return text


def learn_words(texts: Iterable[str], most: int = 20_000, least_count: int = 2, *, lower: bool = True) -> Words:
    """The ``most`` frequent words of the texts that occur ``least_count`` times or more, the most frequent first.

    Raises InputError when there is none but punctuation marks, and for texts that are no Unicode.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split_words(as_unicode(text.lower() if lower else text)))
    words = [count for word, count in counts.items() if is_word(word)]
    if words and max(words) < least_count:
        counts.clear()  # of marks alone nothing is to be learned
    return Words(_frequent(counts, most, least_count, "word"), lower)


def learn_characters(texts: Iterable[str], most: int = 1000) -> Characters:
    """The ``most`` frequent characters of the texts, the most frequent first.

    Raises InputError when there is none, and for texts that are no Unicode.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(as_unicode(text))
    return Characters(_frequent(counts, most, 1, "character"))


def learn_subwords(texts: Iterable[str], size: int = 8000, least_count: int = 2) -> Subwords:
    """Pieces of byte-pair encoding, ``size`` of them where the texts have so many that occur ``least_count`` times, the
    256 bytes among them. Pieces that occur once would be whole sentences where there are no spaces.

    Raises InputError where ``tokenizers`` is not installed, for a size below 256, and for texts that are no Unicode.
    """
    if size < BYTES:
        raise InputError(f"size is {size}, expected at least {BYTES}: every byte is a piece")
    package = _package()
    trainer = package.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=least_count,
        initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer = _byte_level(package.models.BPE())
    tokenizer.train_from_iterator(map(as_unicode, texts), trainer)
    return _subwords(json.loads(tokenizer.to_str())["model"])


def read_vocabulary(path: str | os.PathLike[str], kind: str, *, lower: bool = True) -> Text:
    """A vocabulary from a file; ``kind``: "words" or "characters", one a line in UTF-8, or "subwords", a
    tokenizer.json of the package ``tokenizers`` that holds byte-level byte-pair encoding.

    Raises FileNotFoundError, or InputError for a file that is no such vocabulary.
    """
    name = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no vocabulary file {name!r}")
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name!r} is no vocabulary: not UTF-8 text (byte {error.start})") from None
    try:
        if kind == "subwords":
            return _read_tokenizer(text)
        # split at line ends alone: characters such as U+2028 may be entries
        lines = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
        return Words(lines, lower) if kind == "words" else Characters(lines)
    except InputError as error:
        expected = "a tokenizer.json with byte-level BPE" if kind == "subwords" else f"different {kind}, one a line"
        raise InputError(f"{name!r} is no vocabulary, expected {expected}: {_short(str(error))}") from None


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:100]} … {text[-100:]}"


def _read_tokenizer(text: str) -> Subwords:
    try:
        file = json.loads(text)
        model, steps = file["model"], json.dumps(file["pre_tokenizer"])
        if model["type"] != "BPE" or '"ByteLevel"' not in steps:
            raise InputError(f"it holds {model['type']} after {steps}")
        return _subwords(model)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{type(error).__name__}: {error}") from None


def _subwords(model: dict[str, Any]) -> Subwords:
    """From the package's JSON: pieces in the order of their ids, merges as pairs or, in older files, "left right"."""
    vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    return Subwords(tuple(piece for piece in vocabulary if piece), tuple(merges))


def _frequent(counts: Counter[str], most: int, least_count: int, what: str) -> tuple[str, ...]:
    for name, value in (("most", most), ("least_count", least_count)):
        if value < 1:
            raise InputError(f"{name} is {value}, expected at least 1")
    ranked = sorted(((-count, entry) for entry, count in counts.items() if count >= least_count))
    if not ranked:
        hint = f"; {NO_SPACES}" if what == "word" else ""
        raise InputError(
            f"the texts have no {what} that occurs {least_count} times: there is no vocabulary to learn{hint}"
        )
    return tuple(entry for _, entry in ranked[:most])


class _Same:
    """A vocabulary as the key of a cache: equal only to itself, for to hash its words every time would be slow."""

    def __init__(self, input: Text) -> None:
        self.input = input

    def __hash__(self) -> int:
        return id(self.input)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.input is self.input


@lru_cache(maxsize=8)
def _encoder(key: _Same) -> Callable[[str], Ids]:
    input = key.input
    if isinstance(input, Words):
        get, lower = _lookup(key).get, input.lower
        return lambda text: np.array([get(w, 0) for w in split_words(text.lower() if lower else text)], np.int64)
    if isinstance(input, Subwords):
        tokenizer = _tokenizer(key)
        return lambda text: np.array(tokenizer.encode(as_unicode(text), add_special_tokens=False).ids, np.int64)
    points = np.array([ord(c) for c in input.vocabulary], np.uint32)
    order = np.argsort(points)
    ranked = points[order]

    def characters(text: str) -> Ids:
        found = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        at = np.minimum(np.searchsorted(ranked, found), len(ranked) - 1)
        return np.where(ranked[at] == found, order[at] + 1, 0)

    return characters


@lru_cache(maxsize=8)
def _lookup(key: _Same) -> dict[str, int]:
    return {entry: i for i, entry in enumerate(key.input.vocabulary, start=1)}


@lru_cache(maxsize=8)
def _tokenizer(key: _Same) -> Any:
    input = key.input
    assert isinstance(input, Subwords)
    vocabulary = {FREE: 0} | {piece: i for i, piece in enumerate(input.vocabulary, start=1)}
    merges = [tuple(merge.split(" ", 1)) for merge in input.merges]
    return _byte_level(_package().models.BPE(vocabulary, merges, unk_token=FREE))


def _byte_level(model: Any) -> Any:
    package = _package()
    tokenizer = package.Tokenizer(model)
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    return tokenizer


def as_unicode(text: str) -> str:
    """The text. Raises InputError where it has half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the text has half a surrogate pair at character {error.start}: it is no Unicode") from None
    return text


def _package() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise InputError(f"subwords need the package tokenizers: {installed.command('text')}") from None
    return tokenizers
