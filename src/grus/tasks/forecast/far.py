"""Rows whose time must be wrong, for it lies absurdly far from the rest of their series: a year 2204 among minutes.

On a grid every step between two rows takes memory, so that one such row would take more than all others together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grus.tasks.times import Times

__all__ = ["far_rows"]

LEAST, TIMES = 365, 10  # a gap is absurd beyond so many usual ones, and beyond so many times the rows of the series
SHARE = 0.1  # of the rows: the last stretch with as many is the series, however long ago it broke off


def far_rows(times: Times, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[rows] which rows to leave out. times: sorted within each series; starts: each series' first row.

    An absurd gap cuts a series into stretches; kept is the last that has a tenth of its rows and more than one, else
    the longest, and of equal ones the nearest to the other series.
    """
    far = np.zeros(times.size, dtype=bool)
    stops = np.append(starts, times.size)
    gaps = np.diff(times.astype(np.int64), prepend=times[:1].astype(np.int64))
    gaps[starts] = 0
    inside = np.sort(gaps[gaps > 0])
    if not inside.size:
        return far
    usual = inside[(inside.size - 1) // 2]
    suspect = np.flatnonzero(np.maximum.reduceat(gaps, starts) > LEAST * inside[0])
    middle = np.sort(times.astype(np.int64))[times.size // 2]
    for series in suspect.tolist():
        first, stop = int(stops[series]), int(stops[series + 1])
        own = gaps[first + 1 : stop]
        unit = np.sort(own)[(own.size - 1) // 2] if own.size > 1 else min(own[0], usual)
        cuts = np.flatnonzero(own // unit > max(LEAST, TIMES * (own.size + 1))) + 1
        if cuts.size:
            low, high = _kept(np.concatenate([[0], cuts, [own.size + 1]]), times[first:stop].astype(np.int64), middle)
            far[first : first + low] = far[first + high : stop] = True
    return far


def _kept(bounds: NDArray[np.int64], times: NDArray[np.int64], middle: int) -> tuple[int, int]:
    sizes = np.diff(bounds)
    good = np.flatnonzero((sizes > 1) & (sizes >= SHARE * times.size))
    longest = np.flatnonzero(sizes == sizes.max())
    away = np.abs(times[bounds[longest]] - middle)
    best = int(good[-1]) if good.size else int(longest[away.argmin()])
    return int(bounds[best]), int(bounds[best + 1])
