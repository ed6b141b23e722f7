"""How good predicted classes and probabilities are. truth and predicted are class positions [N], p is [N, K]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["accuracy", "calibration_error", "confusion", "log_loss", "macro_f1", "per_class", "softmax", "temperature"]

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

BINS = 15  # of confidences, as in Guo et al. 2017
PRIOR = 2.0  # how strongly the temperature is drawn to 1, in units of log loss: a few sequences cannot move it far
LARGEST = 3.0  # of the logarithm of a temperature


def accuracy(truth: Ids, predicted: Ids) -> float:
    return float((truth == predicted).mean())


def confusion(truth: Ids, predicted: Ids, classes: int) -> Ids:
    """[K, K] how often a class (row) was taken for another (column)."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class(counts: Ids) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 [K] of a confusion matrix: 0 where a class was never predicted, or never there."""
    right = counts.diagonal().astype(np.float64)
    there, said = counts.sum(axis=1), counts.sum(axis=0)
    return right / np.maximum(said, 1), right / np.maximum(there, 1), 2 * right / np.maximum(there + said, 1)


def macro_f1(counts: Ids) -> float:
    """The mean F1 of the classes that are there, or were predicted."""
    present = counts.sum(axis=0) + counts.sum(axis=1) > 0
    return float(per_class(counts)[2][present].mean())


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """[N, K] probabilities."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def log_loss(truth: Ids, p: Floats) -> float:
    """The mean of -log p of what was true; p counts as 1e-15 where it is less."""
    return float(-np.log(np.maximum(p[np.arange(len(truth)), truth], 1e-15)).mean())


def calibration_error(truth: Ids, p: Floats, bins: int = BINS) -> float:
    """How far confidence is from accuracy: the expected calibration error over bins of equal width (Guo et al. 2017,
    arXiv:1706.04599, equation 3).
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, confidence, bins) - np.bincount(index, right, bins)
    return float(np.abs(gap).sum() / len(truth))


def temperature(logits: NDArray[np.floating], truth: Ids) -> float:
    """What to divide logits [N, K] by, so that their softmax fits ``truth`` best (Guo et al. 2017, section 4.2), but
    drawn to 1 as far as few sequences say little: the log loss of all N plus PRIOR · log²(temperature) is least.

    That sum has one valley over log temperature where the loss alone has; it is found by golden sections.
    """
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    own = shifted[np.arange(len(truth)), truth]

    def cost(log: float) -> float:
        scale = np.exp(-log)
        loss = np.log(np.exp(shifted * scale).sum(axis=1)) - own * scale
        return float(loss.sum() + PRIOR * log * log)

    low, high, ratio = -LARGEST, LARGEST, (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = cost(left), cost(right)
    while high - low > 1e-4:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = cost(right)
    return float(np.exp((low + high) / 2))
