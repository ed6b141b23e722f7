"""What a forecast must beat: the last value, and the last value of the same season. y is [N, T], NaN where missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["naive", "seasonal_naive"]

Floats = NDArray[np.float64]


def naive(y: Floats, horizon: int) -> Floats:
    """[N, horizon] each series' last known value; NaN for one that has none."""
    return np.repeat(_last(y[:, :, None]), horizon, axis=1)


def seasonal_naive(y: Floats, horizon: int, season: int) -> Floats:
    """[N, horizon] the last known value of the same phase; of any phase where that one was never known."""
    rows, width = y.shape
    blocks = -(-width // season)
    padded = np.full((rows, blocks * season), np.nan)
    padded[:, padded.shape[1] - width :] = y
    cycle = _last(padded.reshape(rows, blocks, season))
    forecast = cycle[:, np.arange(horizon) % season]
    return np.where(np.isnan(forecast), naive(y, horizon), forecast)


def _last(blocks: NDArray[np.float64]) -> Floats:
    """[N, season] of [N, blocks, season]: the last number along the blocks."""
    known = ~np.isnan(blocks)
    if not blocks.shape[1]:
        return np.full((blocks.shape[0], blocks.shape[2]), np.nan)
    last = blocks.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return np.take_along_axis(blocks, last[:, None, :], axis=1)[:, 0, :]
