"""Errors of forecasts. Arrays are [N, horizon]; NaN where the actual is missing, which is left out.

Each function returns [N]: the mean over a series' known points, NaN where it has none.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = ["absolute", "coverage", "pinball", "scaled", "seasonal_error", "smape", "squared"]

Floats = NDArray[np.float64]


def _mean(values: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row of NaN alone has the mean NaN, as it should
        return np.asarray(np.nanmean(values, axis=1))


def smape(actual: Floats, forecast: Floats) -> Floats:
    """200 |y - f| / (|y| + |f|) in percent, 0 where both are 0 (Makridakis & Hibon 2000, the M3 competition)."""
    size = np.abs(actual) + np.abs(forecast)
    return _mean(200 * np.abs(actual - forecast) / np.where(size == 0, 1, size))


def absolute(actual: Floats, forecast: Floats) -> Floats:
    """|y - f|."""
    return _mean(np.abs(actual - forecast))


def squared(actual: Floats, forecast: Floats) -> Floats:
    """(y - f)²."""
    return _mean((actual - forecast) ** 2)


def seasonal_error(history: Floats, season: int) -> Floats:
    """[N] the mean of |y_t - y_{t-season}| in the history [N, T]: the scale of MASE."""
    if history.shape[1] <= season:
        return np.full(len(history), np.nan)
    return _mean(np.abs(history[:, season:] - history[:, :-season]))


def scaled(actual: Floats, forecast: Floats, history: Floats, season: int) -> Floats:
    """|y - f| over the seasonal naive method's mean error in the history: MASE (Hyndman & Koehler 2006, equation 2.10).

    NaN for a series whose history is too short for a season, or never changes from season to season.
    """
    scale = seasonal_error(history, season)
    return absolute(actual, forecast) / np.where(scale == 0, np.nan, scale)


def coverage(actual: Floats, lower: Floats, upper: Floats) -> Floats:
    """The share of points with lower ≤ y ≤ upper."""
    inside = ((actual >= lower) & (actual <= upper)).astype(np.float64)
    return _mean(np.where(np.isnan(actual), np.nan, inside))


def pinball(actual: Floats, forecasts: NDArray[np.float64], levels: tuple[float, ...]) -> Floats:
    """max(q (y - f), (q - 1) (y - f)), the mean over the levels (Koenker & Bassett 1978).

    forecasts: [N, horizon, Q].
    """
    error = actual[:, :, None] - forecasts
    q = np.array(levels)
    return _mean(np.maximum(q * error, (q - 1) * error).mean(axis=2))
