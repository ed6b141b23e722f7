"""A character n-gram language model: interpolated Kneser-Ney smoothing with three discounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError

__all__ = ["NGram"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length, n.

    grams: [G] rising; the position of the (n − 1)-gram before it among its own level's grams · symbols + last symbol.
    mass: [G] its count less the discount, over the count of its context.
    backoff: [contexts] what the discounts leave to shorter n-grams; 1 where nothing followed a context.
    """

    grams: Ints
    mass: Floats
    backoff: Floats


@dataclass(frozen=True)
class NGram:
    """Probabilities of the next character after the ``order - 1`` before it.

    Chen & Goodman 1999, An empirical study of smoothing techniques for language modeling, Computer Speech & Language
    13, section 3: modified Kneser-Ney, interpolated. The longest n-grams have their counts, shorter ones the number of
    different characters before them; below single characters all symbols are as likely. The symbols are the
    characters of the training text and one more for every unknown character; for any context their probabilities sum
    to 1.
    """

    alphabet: NDArray[np.uint32]
    levels: tuple[_Level, ...]

    @classmethod
    def fit(cls, text: str, order: int = 8) -> NGram:
        """Count a training text; order: characters of the longest n-grams. Raises InputError for an empty text."""
        if type(order) is not int or order < 1:
            raise InputError(f"order is {order!r}, expected an integer of at least 1")
        if not text:
            raise InputError("text is empty, expected a training text")
        alphabet, inverse = np.unique(_points(text), return_inverse=True)
        symbols, size = inverse.astype(np.int64), len(alphabet) + 1
        tables: list[Ints] = []
        counts: list[Ints] = []
        contexts = np.zeros(len(symbols), np.int64)  # [positions with n - 1 characters before them]
        gram = contexts
        for n in range(1, min(order, len(text)) + 1):
            grams, first, found, count = np.unique(
                contexts * size + symbols[n - 1 :], return_index=True, return_inverse=True, return_counts=True
            )
            if n > 1:  # the n-gram at a position, less its first character, is the (n - 1)-gram at that position
                counts[-1] = np.bincount(gram[1:][first], minlength=len(tables[-1]))
            tables.append(grams)
            counts.append(count)
            gram, contexts = found, found[:-1]
        widths = [1, *map(len, tables)]
        levels = [_level(g, c, g // size, width) for g, c, width in zip(tables, counts, widths, strict=False)]
        return cls(alphabet, tuple(levels))

    def bits(self, text: str, before: str = "") -> float:
        """Mean bits a character of ``text``, each predicted from what stands before it, ``before`` included.

        Raises InputError where ``text`` is empty.
        """
        if not text:
            raise InputError("text is empty, expected characters to predict")
        reach = before[max(len(before) - len(self.levels) + 1, 0) :]
        predicted = self._score(self._symbols(reach + text))[len(reach) :]
        return float(-np.log2(predicted).mean())

    def probabilities(self, context: str) -> Floats:
        """[symbols] of the character after ``context``: those of ``alphabet`` in its order, then any other."""
        reach = self._symbols(context[max(len(context) - len(self.levels) + 1, 0) :])
        every = range(len(self.alphabet) + 1)
        return np.array([self._score(np.append(reach, symbol))[-1] for symbol in every])

    def _symbols(self, text: str) -> Ints:
        """[T] position in the alphabet, its length for an unknown character."""
        points = _points(text)
        found = np.minimum(np.searchsorted(self.alphabet, points), len(self.alphabet) - 1)
        return np.where(self.alphabet[found] == points, found, len(self.alphabet)).astype(np.int64)

    def _score(self, symbols: Ints) -> Floats:
        """[T] the probability of each symbol after those before it."""
        size = len(self.alphabet) + 1
        probability = np.full(len(symbols), 1 / size)
        context = np.zeros(len(symbols), np.int64)  # -1: not in the training text
        for n, level in enumerate(self.levels, start=1):
            if len(symbols) < n:
                break
            key = np.where(context < 0, -1, context * size + symbols[n - 1 :])
            gram = np.minimum(np.searchsorted(level.grams, key), len(level.grams) - 1)
            seen = level.grams[gram] == key
            left = np.where(context < 0, 1.0, level.backoff[context])
            probability[n - 1 :] = np.where(seen, level.mass[gram], 0.0) + left * probability[n - 1 :]
            context = np.where(seen, gram, -1)[:-1]
        return probability


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


def _level(grams: Ints, counts: Ints, contexts: Ints, width: int) -> _Level:
    discount = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(contexts, counts, minlength=width)
    left = np.bincount(contexts, discount, minlength=width)
    known = np.maximum(total, 1)
    return _Level(grams, (counts - discount) / known[contexts], np.where(total > 0, left / known, 1.0))


def _discounts(counts: Ints) -> Floats:
    """[4] what is taken off a count of 0, 1, 2, and 3 or more: Chen & Goodman's equation 17.

    A half, where too few n-grams are rare to estimate it from their number.
    """
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    estimates = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([min(max(estimate, 0.0), c) for c, estimate in enumerate(estimates)])
