"""Metrics beside scikit-learn's, and what a temperature must do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from grus.tasks.classify import metrics


@pytest.fixture
def made(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    logits = rng.normal(0, 2, (300, 4))
    truth = np.array([rng.choice(3, p=metrics.softmax(row[:3])) for row in logits])  # class 3 is never true
    return truth, logits


def test_as_scikit_learn(made: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[type-arg]
    truth, logits = made
    p, predicted = metrics.softmax(logits), logits.argmax(axis=1)
    counts = metrics.confusion(truth, predicted, 4)
    np.testing.assert_array_equal(counts, theirs.confusion_matrix(truth, predicted, labels=range(4)))
    expected = theirs.precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)
    for ours, other in zip(metrics.per_class(counts), expected[:3], strict=True):
        np.testing.assert_allclose(ours, other)
    assert metrics.macro_f1(counts) == pytest.approx(theirs.f1_score(truth, predicted, average="macro"))
    assert metrics.accuracy(truth, predicted) == theirs.accuracy_score(truth, predicted)
    assert metrics.log_loss(truth, p) == pytest.approx(theirs.log_loss(truth, p, labels=range(4)))


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    assert metrics.log_loss(np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(-np.log(1e-15))


def test_calibration_error_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [1.0, 0.0]])
    truth = np.array([0, 1, 1, 0])
    # bins: {0.9, 0.9} half right, {0.6} wrong, {1.0} right
    assert metrics.calibration_error(truth, p) == pytest.approx((2 * 0.4 + 0.6 + 0.0) / 4)


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_a_scale(rng: np.random.Generator, scale: float) -> None:
    logits = rng.normal(0, 2, (4000, 3))
    truth = np.array([rng.choice(3, p=p) for p in metrics.softmax(logits)])
    assert metrics.temperature(logits * scale, truth) == pytest.approx(scale, rel=0.1)


def test_the_temperature_is_the_best_one(made: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[type-arg]
    truth, logits = made

    def cost(scale: float) -> float:
        return len(truth) * metrics.log_loss(truth, metrics.softmax(logits, scale)) + 2 * np.log(scale) ** 2

    found = metrics.temperature(logits, truth)
    assert all(cost(found) <= cost(found * factor) + 1e-9 for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


def test_few_sequences_cannot_move_the_temperature_far() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 3.0]])
    assert 0.5 < metrics.temperature(logits, np.array([0, 1])) < 1
    assert 1 < metrics.temperature(logits, np.array([1, 0])) < 3


def test_large_outputs_do_not_overflow() -> None:
    p = metrics.softmax(np.array([[1e30, -1e30], [3e38, 3e38]], np.float32), 0.1)
    np.testing.assert_allclose(p, [[1, 0], [0.5, 0.5]])
