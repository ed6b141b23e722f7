"""Which sequences are held back from a training, to judge it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["hold_back", "in_both"]

FEWEST = 5  # sequences of a class of which one is held back, however small the share

Ids = NDArray[np.int64]


def hold_back(target: Sequence[Ids], share: float, seed: int) -> tuple[Ids, Ids]:
    """Rows to train on and rows held back, both rising: of each class alike, or of all where steps have labels.

    target[i]: the class of sequence i, [1], or one a step. A class with too few sequences is trained on whole.
    """
    random = np.random.default_rng([seed, 1])
    single = all(len(own) == 1 for own in target)
    groups = np.array([int(own[0]) if single else 0 for own in target], np.int64)
    held = []
    for group in np.unique(groups):
        rows = random.permutation(np.flatnonzero(groups == group))
        count = max(round(share * len(rows)), int(len(rows) >= FEWEST)) if share else 0
        held.append(rows[: min(count, len(rows) - 1)])
    back = np.sort(np.concatenate(held)) if held else np.empty(0, np.int64)
    return np.setdiff1d(np.arange(len(groups)), back), back


def in_both(inputs: Sequence[Any], others: Sequence[Any]) -> int:
    """How many of the ``others`` stand among the ``inputs`` too: a model that learned by heart knows their labels."""
    known = set(map(_key, inputs))
    return sum(_key(one) in known for one in others)


def _key(given: Any) -> Hashable:
    if isinstance(given, np.ndarray):
        return given.shape, given.tobytes()
    return given if isinstance(given, str) else tuple(given)
