"""The n-gram model against Kneser and Ney's formula written out, and what compression adds."""

from __future__ import annotations

import lzma
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from grus.errors import InputError
from grus.tasks.baselines import NGram, xz_bits

TEXT = "the theme of the thesis is that these three themes are there; then the end of the theory. " * 3 + "théâtre 雨\n"


def spelled(text: str, order: int, context: str, symbol: str) -> float:
    """The probability by the recursion of Chen and Goodman's section 3, one n-gram at a time."""
    symbols = len(set(text)) + 1

    def counts(n: int) -> Counter[str]:
        if n == order:
            return Counter(text[i : i + n] for i in range(len(text) - n + 1))
        before = defaultdict(set)
        for i in range(len(text) - n):
            before[text[i + 1 : i + 1 + n]].add(text[i])
        return Counter({gram: len(left) for gram, left in before.items()})

    def discount(table: Counter[str], count: int) -> float:
        n1, n2, n3, n4 = (sum(c == k for c in table.values()) for k in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return 0.5
        y = n1 / (n1 + 2 * n2)
        value = {1: 1 - 2 * y * n2 / n1, 2: 2 - 3 * y * n3 / n2}.get(count, 3 - 4 * y * n4 / n3)
        return min(max(value, 0.0), min(count, 3))

    probability = 1 / symbols
    for n in range(1, min(order, len(text), len(context) + 1) + 1):
        history = context[len(context) - n + 1 :]
        table = counts(n)
        after = {gram: count for gram, count in table.items() if gram[:-1] == history}
        total = sum(after.values())
        if total:
            left = sum(discount(table, count) for count in after.values()) / total
            own = after.get(history + symbol, 0)
            probability = (own - discount(table, own) if own else 0.0) / total + left * probability
    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_formula(order: int) -> None:
    model = NGram.fit(TEXT, order)
    alphabet = [chr(point) for point in model.alphabet]
    assert alphabet == sorted(set(TEXT))
    for context in ("", "t", "the", "of the th", "xyz", "th雨", "雨\n"):
        found = model.probabilities(context)
        expected = [spelled(TEXT, order, context, symbol) for symbol in [*alphabet, "?"]]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found.min() > 0 and abs(found.sum() - 1) < 1e-12


def test_bits_are_the_mean_of_what_is_predicted() -> None:
    model, text = NGram.fit(TEXT, 4), "then? 雨"
    places = [*map(chr, model.alphabet)]

    def bits(before: str) -> float:
        each = [
            model.probabilities(before + text[:i])[places.index(c) if c in places else -1] for i, c in enumerate(text)
        ]
        return -sum(map(math.log2, each)) / len(text)

    assert model.bits(text) == pytest.approx(bits(""), rel=1e-12)
    assert model.bits(text, before="of the ") == pytest.approx(bits("of the "), rel=1e-12)
    assert model.bits(text, before="of the ") == model.bits(text, before=TEXT + "of the ") != model.bits(text)


def test_longer_grams_help_where_there_is_something_to_learn() -> None:
    rng = np.random.default_rng(0)
    words = ["crane", "heron", "stork", "egret", "ibis"]
    train, test = (" ".join(rng.choice(words, count)) for count in (2000, 200))
    by_order = [NGram.fit(train, order).bits(test) for order in (1, 2, 3, 6)]
    assert by_order == sorted(by_order, reverse=True)
    entropy = math.log2(len(words)) / (np.mean([len(word) for word in words]) + 1)
    assert entropy < by_order[-1] < 1.1 * entropy
    noise = "".join(rng.choice(list("abcd"), 4000))
    assert 1.9 < NGram.fit(noise[:3000], 5).bits(noise[3000:]) < 2.3


def test_short_and_strange_texts() -> None:
    assert NGram.fit("a", 8).probabilities("").sum() == pytest.approx(1)
    assert NGram.fit("ab", 8).bits("ab\ud800") > 0
    for text, order in (("", 3), ("abc", 0), ("abc", -1)):
        with pytest.raises(InputError):
            NGram.fit(text, order)
    with pytest.raises(InputError, match="text is empty"):
        NGram.fit("abc").bits("")


def test_xz() -> None:
    train, test = TEXT * 20, TEXT[:60]
    sizes = [len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)) for text in (train, train + test)]
    assert xz_bits(train, test) == 8 * (sizes[1] - sizes[0]) / 60 < 2
    noise = "".join(map(chr, np.random.default_rng(0).integers(33, 127, 2000)))
    assert xz_bits(train, noise) > 6
    with pytest.raises(InputError, match="test is empty"):
        xz_bits(train, "")
