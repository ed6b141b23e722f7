"""What a step knows of its own series: level, scale and seasonal pattern, each from values up to that step alone.

The pattern is the classical one (Makridakis, Wheelwright & Hyndman 1998, chapter 3): deviations from a centred moving
average over one season, averaged for each phase; here additive in log y or y, updated as time goes on, and shrunk to
none as far as it may be noise (empirical Bayes). Sums run in a fixed order over whole matrices, so that the bits of a
series depend neither on its neighbours nor on what came later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grus.spec import Forecast

__all__ = ["States", "make_states", "memory"]

Floats = NDArray[np.float64]

CYCLES = 1.5  # seasons that must have been seen before the spread within a phase is taken at its word
EARLY = 0.3  # the share of a pattern that is trusted before
NOISE, WEIGHT = 0.05, 2  # the scale a series starts from, in units, and how many observations that is worth
LEAST_SCALE = 2e-3  # in units: a constant series has a scale all the same
SEEN = 0.75  # of a moving average's weights: with less of it observed there is none


def memory(task: Forecast) -> int:
    """How many lags the level and the scale of a step look at, the step itself included."""
    return max(task.lags, 2 * task.season if task.season > 1 else 8) + 1


@dataclass(frozen=True)
class States:
    """Matrices [N, T] of each series (row) at each step (column).

    z: log y or y, NaN where missing. count: values of y so far. unit: 1 for log y, else the series' usual size.
    level: of the deseasonalised series. scale: mean size of its steps. pattern: the mean deviation of the phase that
    was updated at this step, which lies season // 2 steps back; centre: the mean of the last ``season`` of
    them; strength: the share of the pattern that is trusted, 0 to 1.
    """

    season: int
    z: Floats
    count: NDArray[np.int64]
    unit: Floats
    level: Floats
    scale: Floats
    pattern: Floats
    centre: Floats
    strength: Floats

    def seasonal(self, ahead: int, start: int = 0, stop: int | None = None) -> Floats:
        """[N, stop - start] the season that each step expects ``ahead`` steps later (below 0: before)."""
        return seasonal(self.pattern, self.centre, self.strength, self.season, ahead, start, stop)


def seasonal(
    pattern: Floats, centre: Floats, strength: Floats, season: int, ahead: int, start: int = 0, stop: int | None = None
) -> Floats:
    """As :meth:`States.seasonal`, from matrices cut to the columns at hand."""
    stop = pattern.shape[1] if stop is None else stop
    if season == 1:
        return np.zeros((pattern.shape[0], stop - start))
    deviation = _shift(pattern, (-ahead - season // 2) % season, start, stop) - centre[:, start:stop]
    return np.where(np.isnan(deviation), 0.0, deviation) * strength[:, start:stop]


def _shift(matrix: Floats, lag: int, start: int, stop: int) -> Floats:
    """[N, stop - start] the matrix ``lag`` steps before; NaN before its first column."""
    if start >= lag:
        return matrix[:, start - lag : stop - lag]
    shifted = np.full((matrix.shape[0], stop - start), np.nan)
    if stop > lag:
        shifted[:, lag - start :] = matrix[:, : stop - lag]
    return shifted


def make_states(y: Floats, task: Forecast) -> States:
    """The states of the series y [N, T], NaN where missing; on the log scale all values must be positive."""
    z = np.log(y) if task.scale == "log" else y
    width = z.shape[1]
    count = np.cumsum(~np.isnan(z), axis=1)
    pattern, centre, strength = _pattern(z, task.season, task.shrinkage)
    total, weights = np.zeros_like(z), np.zeros_like(z)
    moves, pairs = np.zeros_like(z), np.zeros_like(z)
    sizes, seen = np.zeros_like(z), np.zeros_like(z)
    later = None
    for lag in range(min(memory(task), width)):
        value = _shift(z, lag, 0, width) - seasonal(pattern, centre, strength, task.season, -lag)
        known = ~np.isnan(value)
        weight = (1 - task.smoothing) ** lag * known
        plain = np.where(known, value, 0.0)
        total += weight * plain
        weights += weight
        sizes += np.abs(plain)
        seen += known
        if later is not None:
            both = known & ~np.isnan(later)
            moves += np.where(both, np.abs(later - value), 0.0)
            pairs += both
        later = value
    with np.errstate(invalid="ignore", divide="ignore"):
        level = _carry(np.where(weights > 0, total / weights, np.nan))
        size = _carry(np.where(seen > 0, sizes / seen, np.nan))
    unit = np.ones_like(z) if task.scale == "log" else np.maximum(np.where(np.isnan(size), 0.0, size), task.floor)
    scale = np.maximum((moves + WEIGHT * NOISE * unit) / (pairs + WEIGHT), LEAST_SCALE * unit)
    return States(task.season, z, count, unit, np.nan_to_num(level), scale, pattern, centre, strength)


def _carry(matrix: Floats) -> Floats:
    """The matrix with each NaN replaced by the last number before it in its row."""
    columns = np.where(np.isnan(matrix), 0, np.arange(matrix.shape[1]))
    return np.take_along_axis(matrix, np.maximum.accumulate(columns, axis=1), axis=1)


def _pattern(z: Floats, season: int, shrinkage: float) -> tuple[Floats, Floats, Floats]:
    """Pattern, centre and strength as in :class:`States`."""
    if season == 1:
        return np.zeros_like(z), np.zeros_like(z), np.zeros_like(z)
    deviation = _deviation(z, season)
    known = ~np.isnan(deviation)
    plain = np.where(known, deviation, 0.0)
    count, total, squares = (_by_phase(v, season) for v in (known.astype(np.float64), plain, plain * plain))
    with np.errstate(invalid="ignore", divide="ignore"):
        pattern = np.where(count > 0, total / count, np.nan)
        within = np.where(count > 0, np.maximum(squares - total * total / count, 0.0), 0.0)
    has = (~np.isnan(pattern)).astype(np.float64)
    mean = np.where(has > 0, pattern, 0.0)
    phases, centre = _rolling(has, season), _rolling(mean, season)
    centre = centre / np.maximum(phases, 1)
    # Empirical Bayes: of the variance of the phases' means, the share that the spread within a phase does not explain.
    noise = _rolling(within, season) / np.maximum(_rolling(np.maximum(count - 1, 0.0), season), 1e-9)
    each = _rolling(count, season) / season
    between = (_rolling(mean * mean, season) - season * centre * centre) / (season - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(between > 0, 1 - shrinkage * noise / each / between, 0.0)
    strength = np.where(each >= CYCLES, np.clip(share, 0.0, 1.0), EARLY)
    return pattern, centre, np.where(phases == season, strength, 0.0)


def _deviation(z: Floats, season: int) -> Floats:
    """What z was half a season ago, less the moving average over one season around it: known now, NaN where not."""
    half = season // 2
    edges = 0.5 if season % 2 == 0 else 1.0
    total, weights = np.zeros_like(z), np.zeros_like(z)
    for lag in range(2 * half + 1):
        value = _shift(z, lag, 0, z.shape[1])
        weight = (edges if lag in (0, 2 * half) else 1.0) * ~np.isnan(value)
        total += weight * np.where(np.isnan(value), 0.0, value)
        weights += weight
    started = np.cumsum(~np.isnan(z), axis=1, dtype=np.float64)  # without the series' first part it would be lopsided
    whole = (_shift(started, 2 * half, 0, z.shape[1]) > 0) & (weights >= SEEN * season)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole, _shift(z, half, 0, z.shape[1]) - total / weights, np.nan)


def _by_phase(values: Floats, season: int) -> Floats:
    """The running sum over each phase: over this step and those 1, 2, … seasons before it."""
    rows, width = values.shape
    padded = np.zeros((rows, -(-width // season) * season))
    padded[:, :width] = values
    return np.cumsum(padded.reshape(rows, -1, season), axis=1).reshape(rows, -1)[:, :width]


def _rolling(values: Floats, size: int) -> Floats:
    """The sum over this step and the ``size`` - 1 before it, added from the newest on."""
    total = np.zeros_like(values)
    for lag in range(min(size, values.shape[1])):
        total[:, lag:] += values[:, : values.shape[1] - lag]
    return total
