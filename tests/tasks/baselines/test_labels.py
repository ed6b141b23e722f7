"""The baselines that give labels, on data made so that the answer is known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from grus import installed
from grus.errors import InputError
from grus.tasks.baselines import majority, minirocket, nearest_neighbour, tfidf_logistic
from grus.tasks.baselines import series as series_module

Series = NDArray[np.float32]


def test_majority() -> None:
    assert majority(["b", "a", "b"], 2) == ["b", "b"]
    assert majority(["b", "a"], 1) == ["a"]
    assert majority(["b"], 0) == []
    with pytest.raises(InputError, match="labels has 0 classes, expected at least 1"):
        majority([], 3)


def test_tfidf_reads_words_and_their_order() -> None:
    texts = ["not good at all", "not good", "good not bad", "good", "so good", "bad", "not bad", "not bad at all"]
    labels = ["no", "no", "yes", "yes", "yes", "no", "yes", "yes"]
    test = ["it is not good", "it is not bad", "bad bad", "good film"]
    assert tfidf_logistic(texts, labels, test) == ["no", "yes", "no", "yes"]
    assert tfidf_logistic(texts, labels, []) == []


def test_tfidf_refuses_what_it_cannot_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="labels has 1 labels, expected 2"):
        tfidf_logistic(["a b", "c d"], ["x"], [])
    with pytest.raises(InputError, match="labels has 1 classes, expected at least 2"):
        tfidf_logistic(["a b", "c d"], ["x", "x"], [])
    with pytest.raises(InputError, match="texts have no words to learn from: empty vocabulary"):
        tfidf_logistic(["", "?"], ["x", "y"], ["a"])
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(InputError, match=r"needs scikit-learn: " + re.escape(installed.command("baselines"))):
        tfidf_logistic(["a b", "c d"], ["x", "y"], [])


def waves(count: int, lengths: tuple[int, int], seed: int = 0) -> tuple[list[Series], list[str]]:
    """Two channels; slow waves and quick ones, with any phase, and a little noise."""
    rng = np.random.default_rng(seed)
    series, labels = [], []
    for i in range(count):
        t = np.linspace(0, 2 * np.pi, rng.integers(lengths[0], lengths[1] + 1))[:, None]
        slow = i % 2 == 0
        wave = np.sin((1 if slow else 3) * t + np.array([0, np.pi / 2]) + rng.uniform(-0.3, 0.3))
        series.append((wave + rng.normal(0, 0.1, wave.shape)).astype(np.float32))
        labels.append("slow" if slow else "quick")
    return series, labels


def test_nearest_neighbour_by_euclidean_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "ROWS", 7)  # several passes
    (train, labels), (test, truth) = waves(30, (16, 16)), waves(40, (16, 16), seed=1)
    found = nearest_neighbour(train, labels, test)
    distances = [[float(((a - b) ** 2).sum()) for b in train] for a in test]
    assert found == [labels[int(np.argmin(row))] for row in distances] == truth
    swapped = [one[:, ::-1] for one in test]  # the channels count
    assert nearest_neighbour(train, labels, swapped) != truth
    assert nearest_neighbour([np.ones((2, 1)), np.ones((2, 1))], ["a", "b"], [np.zeros((2, 1))]) == ["a"]


def dtw(a: Series, b: Series) -> float:
    cost = np.full((len(a) + 1, len(b) + 1), np.inf)
    cost[0, 0] = 0
    for i, x in enumerate(a.astype(np.float64)):
        for j, y in enumerate(b.astype(np.float64)):
            cost[i + 1, j + 1] = ((x - y) ** 2).sum() + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
    return float(cost[-1, -1])


def test_nearest_neighbour_by_time_warping() -> None:
    pytest.importorskip("aeon")
    (train, labels), (test, truth) = waves(12, (6, 12)), waves(8, (6, 12), seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nearest_neighbour(train, labels, test)
    assert found == [labels[int(np.argmin([dtw(a, b) for b in train]))] for a in test] == truth


MINIROCKET = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_labels import waves
from grus.tasks.baselines import minirocket
for lengths, least in (((20, 20), 0.95), ((5, 8), 0.8)):
    (train, labels), (test, truth) = waves(30, lengths), waves(20, lengths, seed=1)
    found = minirocket(train, labels, test, seed=1, kernels=200)
    right = np.mean([a == b for a, b in zip(found, truth, strict=True)])
    assert right >= least, (lengths, right)
    assert minirocket(train, labels, test, seed=1, kernels=200) == found
"""


def test_minirocket() -> None:
    pytest.importorskip("aeon")
    slowly = {**os.environ, "NUMBA_DISABLE_JIT": "1"}  # its kernels take a minute to compile, and so little to run
    command = [sys.executable, "-c", MINIROCKET, str(Path(__file__).parent)]
    done = subprocess.run(command, env=slowly, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_series_that_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    one = np.zeros((3, 2))
    for baseline in (nearest_neighbour, minirocket):
        for wrong in (np.zeros((3, 1)), np.zeros((0, 2)), np.zeros(3)):
            with pytest.raises(InputError, match=r"test\[1\] has shape .*, expected \[T, 2\]"):
                baseline([one, one], ["a", "b"], [one, wrong])
        with pytest.raises(InputError, match=r"labels has 1 labels, expected 2"):
            baseline([one, one], ["a"], [one])
        for name in ("aeon.distances", "aeon.classification.convolution_based"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=r"needs aeon: " + re.escape(installed.command("baselines"))):
            baseline([one, one[:2]], ["a", "b"], [one])
        monkeypatch.undo()
    with pytest.raises(InputError, match="labels has 1 classes"):
        minirocket([one, one], ["a", "a"], [one])
    assert nearest_neighbour([one], ["a"], []) == []
