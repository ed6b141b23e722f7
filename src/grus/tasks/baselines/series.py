"""Labels of series [T, channels]: that of the nearest training series, and MiniROCKET."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.baselines.needs import check_labels, module

__all__ = ["minirocket", "nearest_neighbour"]

SHORTEST = 9  # steps of MiniROCKET's kernels
ROWS = 1000  # test series compared at a time


def nearest_neighbour(series: Sequence[NDArray[Any]], labels: Sequence[str], test: Sequence[NDArray[Any]]) -> list[str]:
    """The label of the nearest training series for each one of ``test``; the first of equally near ones.

    Euclidean distance where all series have one length, else aeon's dynamic time warping over all channels together,
    without a window. Values are taken as they are. Raises InputError where series differ in their channels or are
    empty, and where aeon is needed and missing.
    """
    lengths = _check(series, labels, test)
    if not test:
        return []
    if len(lengths) == 1:
        found = _euclidean(_flat(series), _flat(test))
    else:
        distances = module("aeon.distances", "aeon")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of aeon's compiler, about the type of an index
            found = distances.dtw_pairwise_distance(_collection(test), _collection(series)).argmin(axis=1)
    return [labels[i] for i in found]


def minirocket(
    series: Sequence[NDArray[Any]],
    labels: Sequence[str],
    test: Sequence[NDArray[Any]],
    *,
    seed: int = 0,
    kernels: int = 10_000,
) -> list[str]:
    """A label for each series of ``test``, by aeon's MiniROCKET and its ridge classifier.

    Dempster, Schmidt & Webb 2021, MiniRocket, KDD. Series of unequal length are drawn out linearly to the longest
    training series, at least 9 steps, as the archive's equal-length files are made. Raises InputError where series
    differ in their channels or are empty, where the labels are of one class, and where aeon is missing. The first call
    in a process takes a minute to compile.
    """
    lengths = _check(series, labels, test)
    check_labels(series, labels)
    if not test:
        return []
    convolution = module("aeon.classification.convolution_based", "aeon")
    classifier = convolution.MiniRocketClassifier(n_kernels=kernels, random_state=seed)
    length = max(SHORTEST, *(len(one) for one in series))
    same = lengths == {length}
    train, tested = (np.stack([one.T if same else _resized(one, length) for one in part]) for part in (series, test))
    classifier.fit(train.astype(np.float32), np.array(labels))
    return [str(label) for label in classifier.predict(tested.astype(np.float32))]


def _check(series: Sequence[NDArray[Any]], labels: Sequence[str], test: Sequence[NDArray[Any]]) -> set[int]:
    """The lengths of all series; raises InputError where they cannot be compared."""
    check_labels(series, labels, least_classes=1)
    for name, part in (("series", series), ("test", test)):
        for i, one in enumerate(part):
            if one.ndim != 2 or not one.size or one.shape[1] != series[0].shape[-1]:
                expected = f"[T, {series[0].shape[-1]}], T at least 1, as that of series[0]"
                raise InputError(f"{name}[{i}] has shape {list(one.shape)}, expected {expected}")
    return {len(one) for one in (*series, *test)}


def _flat(series: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    return np.stack([one.ravel() for one in series]).astype(np.float32)


def _euclidean(train: NDArray[np.float32], test: NDArray[np.float32]) -> list[int]:
    """The row of ``train`` nearest to each of ``test``; |a − b|² without |b|², which is the same for all a."""
    squares = np.einsum("nf,nf->n", train, train)
    found: list[int] = []
    for start in range(0, len(test), ROWS):
        found += (squares - 2 * test[start : start + ROWS] @ train.T).argmin(axis=1).tolist()
    return found


def _collection(series: Sequence[NDArray[Any]]) -> list[NDArray[np.float64]]:
    """As aeon takes them: [channels, T] each."""
    return [np.ascontiguousarray(one.T, dtype=np.float64) for one in series]


def _resized(one: NDArray[Any], length: int) -> NDArray[np.float64]:
    """[channels, length] of [T, channels]."""
    old, new = np.linspace(0, 1, len(one)), np.linspace(0, 1, length)
    return np.stack([np.interp(new, old, channel) for channel in one.T])
