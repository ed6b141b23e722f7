"""Single values near zero in a series that is far from it: on the log scale one would drown the rest of its series.

A sensor that fails gives 0.001 among values near 100: in the logarithm a step hundreds of times the usual ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["near_zero"]

Floats = NDArray[np.float64]

SEEN = 40  # values before one that it is held against
FEWEST = 8  # with fewer of them none is called an outlier
RARE = 15  # one in so many of them may be as low: what is lower more often belongs to the series
FACTOR = 3.0  # in log y: a value above a twentieth of the others is none
SPREADS = 5.0  # and neither is one within so many of the values' own (median absolute) deviations


def near_zero(y: Floats) -> NDArray[np.bool_]:
    """[N, T] which of the positive values [N, T] (NaN: missing) lie far below almost all that came before them.

    No answer depends on later values, nor on other series.
    """
    found = np.zeros(y.shape, dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.log(y)
    known = ~np.isnan(z)
    low = np.where(known, z, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, z, -np.inf).max(axis=1, initial=-np.inf)
    for row in np.flatnonzero(high - low > FACTOR):
        columns = np.flatnonzero(known[row])
        found[row, columns] = _in_one(z[row, columns])
    return found


def _in_one(z: Floats) -> NDArray[np.bool_]:
    """[T] as :func:`near_zero`, of the logarithms of one series without gaps."""
    found = np.zeros(z.size, dtype=bool)
    padded = np.concatenate([np.full(SEEN, np.nan), z])
    before = np.lib.stride_tricks.sliding_window_view(padded, SEEN)[:-1]  # [T, SEEN]
    sizes = np.minimum(np.arange(z.size), SEEN)
    alike = (before <= z[:, None] + FACTOR).sum(axis=1)
    for at in np.flatnonzero((sizes >= FEWEST) & (RARE * alike < sizes)):
        values = z[max(at - SEEN, 0) : at]
        spread = float(np.median(np.abs(values - np.median(values))))
        found[at] = RARE * int((values <= z[at] + max(FACTOR, SPREADS * spread)).sum()) < values.size
    return found
