"""From a panel to what the network takes: for each step its features, and what came of the horizon after it.

Every step is an origin: its features use values up to itself alone, so that the network's output at any step of a
window is a forecast, and all of them can be trained on. The last columns of the input are the future covariates over
the horizon, which go around the GRU (``grus.spec.Bypass``); all before them go into it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.spec import Categorical, Forecast, Numeric
from grus.tasks.forecast.covariates import widths
from grus.tasks.forecast.panel import Panel
from grus.tasks.forecast.states import make_states, seasonal

__all__ = ["LEAST_COUNT", "Batch", "Windows", "bypass_size", "input_size", "output_size"]

LEAST_COUNT = 3  # values of y a step must have seen to be trained on
LIMIT = 25.0  # no feature is larger, nor a target in units of its series: one wild value must not drown the rest
CACHE = 1 << 28  # bytes of features kept ready; beyond it they are made batch by batch

Rows = NDArray[np.int64]
Single = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Steps of series to train on, all float32.

    x: [T, B, F] features. target: [T, B, horizon] what came, (z - base) / scale, 0 where unknown. mask: as target, 1
    where it is known. weight: [T, B] the scale in units of the series, which turns a loss on targets into one on
    (relative) errors; 0 at steps that are no origin.
    """

    x: Single
    target: Single
    mask: Single
    weight: Single


def static_size(task: Forecast) -> int:
    return sum(widths(task.static))


def bypass_size(task: Forecast) -> int:
    """How many of the last features go around the GRU: the future covariates over the horizon."""
    return task.horizon * sum(widths(task.future))


def input_size(task: Forecast) -> int:
    """F, the features of a step, those around the GRU included."""
    season = min(task.season, task.horizon) + 2 if task.season > 1 else 0
    return task.lags + 4 + season + sum(widths(task.past + task.future)) + static_size(task) + bypass_size(task)


def output_size(task: Forecast) -> int:
    """What the network gives a step: horizon · quantiles, the quantiles of one step ahead side by side."""
    return task.horizon * len(task.quantiles)


class Windows:
    """The features and targets of a panel's series, as ``task`` says, at any step.

    On the log scale all values are positive, and every category is one that the task knows:
    :mod:`grus.tasks.forecast.sound` leaves the others out.
    """

    def __init__(self, panel: Panel, task: Forecast) -> None:
        self.panel, self.task = panel, task
        self.states = make_states(panel.y, task)
        self.past, self.future = _standard(panel.past, task.past), _standard(panel.future, task.future)
        self.static = _static_features(panel, task)
        self._cache: tuple[Single, Single, Single] | None = None

    @property
    def origins(self) -> NDArray[np.bool_]:
        """[N, T] the steps to train on: enough of y is seen, and some of the horizon is known."""
        known = ~np.isnan(self.panel.y)
        after = np.cumsum(known[:, ::-1], axis=1)[:, ::-1] - known  # values of y after each step
        ahead = np.zeros_like(after)
        keep = max(known.shape[1] - self.task.horizon, 0)
        ahead[:, :keep] = after[:, self.task.horizon :]
        return (self.states.count >= LEAST_COUNT) & (after > ahead)

    def keep_ready(self) -> None:
        """Make all features once, where they fit into memory: batches are then only copies."""
        count, steps = self.panel.y.shape
        bytes_needed = 4 * count * steps * (input_size(self.task) + self.task.horizon + 1)
        if self._cache is None and bytes_needed <= CACHE and steps:
            rows = np.arange(count)
            batch = self._make(rows, np.full(count, steps), steps)
            target = np.where(batch.mask > 0, batch.target, np.float32(np.nan))
            self._cache = tuple(  # type: ignore[assignment]
                np.ascontiguousarray(np.moveaxis(a, 0, 1)) for a in (batch.x, target, batch.weight)
            )

    def batch(self, series: Rows, stop: Rows | int, length: int) -> Batch:
        """The ``length`` steps before column ``stop`` of each of the series [B]; steps before the panel are zeros.

        No feature of a step depends on values after it; targets do, within the panel.
        """
        stop = np.broadcast_to(np.asarray(stop, dtype=np.int64), series.shape)
        if self._cache is None:
            return self._make(series, stop, length)
        columns = np.arange(-length, 0)[:, None] + stop[None, :]  # [T, B]
        inside = (columns >= 0) & (columns < self.panel.steps)
        columns = np.clip(columns, 0, self.panel.steps - 1)
        x, target, weight = (array[series[None, :], columns] for array in self._cache)
        if not inside.all():
            x[~inside], target[~inside], weight[~inside] = 0.0, np.nan, 0.0
        mask = ~np.isnan(target)
        return Batch(x, np.where(mask, target, np.float32(0)), mask.astype(np.float32), weight)

    def features(self, series: Rows, stop: Rows | int, length: int) -> Single:
        """As :meth:`batch`, the features x [T, B, F] alone."""
        stop = np.broadcast_to(np.asarray(stop, dtype=np.int64), series.shape)
        return self._features(series, stop, length)

    def _make(self, series: Rows, stop: Rows, length: int) -> Batch:
        h, state = self.task.horizon, self.states
        cut = _Cut(series, stop, length, self.task.season)
        ahead = _Cut(series, stop + h, length + h)
        z, count = ahead.of(state.z), cut.of(state.count, 0)
        level, scale, unit = cut.of(state.level, 0.0), cut.of(state.scale, 1.0), cut.of(state.unit, 1.0)
        ring, centre, strength = cut.wide(state.pattern), cut.wide(state.centre), cut.wide(state.strength, 0.0)
        target = np.empty((length, len(series), h), dtype=np.float32)
        for k in range(h):
            base = level + seasonal(ring, centre, strength, self.task.season, k + 1, self.task.season)
            missed = np.clip(z[:, k + 1 : k + 1 + length] - base, -LIMIT * unit, LIMIT * unit)
            target[:, :, k] = (missed / scale).T
        weight = np.where(count >= LEAST_COUNT, scale / unit, 0.0).T.astype(np.float32)
        mask = ~np.isnan(target) & (weight > 0)[:, :, None]
        x = self._features(series, stop, length)
        return Batch(x, np.where(mask, target, np.float32(0)), mask.astype(np.float32), weight)

    def _features(self, series: Rows, stop: Rows, length: int) -> Single:
        x = np.zeros((length, len(series), input_size(self.task)), dtype=np.float32)
        started = _Cut(series, stop, length).of(self.states.count, 0) > 0
        own, given = self._own(series, stop, length), self._given(series, stop, length)
        for column, values in enumerate(itertools.chain(own, given)):
            known = started & ~np.isnan(values)
            x[:, :, column] = np.clip(np.where(known, values, 0.0), -LIMIT, LIMIT).T
        return x

    def _own(self, series: Rows, stop: Rows, length: int) -> Iterator[Doubles]:
        """[B, length] each: what a series says of itself, about its level and in its scale."""
        task, state, season = self.task, self.states, self.task.season
        wide = max(season, task.lags)
        cut = _Cut(series, stop, length, wide)
        z, ring, centre = cut.wide(state.z), cut.wide(state.pattern), cut.wide(state.centre)
        strength, level = cut.wide(state.strength, 0.0), cut.of(state.level, 0.0)
        scale, unit = cut.of(state.scale, 1.0), cut.of(state.unit, 1.0)
        known = np.zeros_like(level)
        for lag in range(task.lags):
            value = z[:, wide - lag : wide - lag + length] - seasonal(ring, centre, strength, season, -lag, wide)
            known += ~np.isnan(value)
            yield (value - level) / scale
        yield np.log(scale / unit) + 3
        yield np.log1p(np.minimum(cut.of(state.count, 0), task.window)) / 4
        yield known / task.lags
        yield (~np.isnan(z[:, wide:])).astype(np.float64)
        if season > 1:
            for ahead in range(1, min(season, task.horizon) + 1):
                yield seasonal(ring, centre, strength, season, ahead, wide) / scale
            yield strength[:, wide:]
            yield (z[:, wide:] - z[:, wide - season : wide - season + length]) / scale

    def _given(self, series: Rows, stop: Rows, length: int) -> Iterator[Doubles]:
        """[B, length] each: the covariates now, and last of all the future ones over the horizon."""
        horizon = self.task.horizon
        cut, ahead = _Cut(series, stop, length), _Cut(series, stop + horizon, length + horizon - 1)
        for values in (self.past, self.future):
            for k in range(values.shape[2]):
                yield cut.of(values[:, :, k])
        for k in range(self.static.shape[1]):
            yield np.broadcast_to(self.static[series, k][:, None], (len(series), length))
        for k in range(self.future.shape[2]):
            values = ahead.of(self.future[:, :, k])
            for step in range(horizon):
                yield values[:, step : step + length]

    def decode(self, series: Rows, stop: Rows | int, output: Single) -> Doubles:
        """[B, horizon, quantiles] of y, from the network's last output [B, horizon · quantiles] at column ``stop`` - 1.

        The quantiles rise: they are sorted, after each one's distance from the median is calibrated.
        """
        task, state = self.task, self.states
        stop = np.broadcast_to(np.asarray(stop, dtype=np.int64), series.shape)
        cut = _Cut(series, stop, 1, task.season)
        ring, centre, strength = cut.wide(state.pattern), cut.wide(state.centre), cut.wide(state.strength, 0.0)
        level, scale = cut.of(state.level, 0.0)[:, :, None], cut.of(state.scale, 1.0)[:, :, None]
        ahead = range(1, task.horizon + 1)
        base = np.stack([seasonal(ring, centre, strength, task.season, k, task.season) for k in ahead], axis=1)
        z = np.sort(output.reshape(len(series), task.horizon, -1).astype(np.float64), axis=2)
        middle = task.quantiles.index(0.5)
        if task.calibration:
            z = np.sort(z[..., middle : middle + 1] * (1 - np.array(task.calibration)) + z * task.calibration, axis=2)
        z = z * scale + base + level
        if task.nonnegative:
            never_below = ~(self.panel.y[series] < 0).any(axis=1)
            z[never_below] = np.maximum(z[never_below], 0.0)
        return np.exp(np.clip(z, -700.0, 700.0)) if task.scale == "log" else z


class _Cut:
    """Of some rows of a matrix the ``length`` columns before each row's own ``stop``."""

    def __init__(self, series: Rows, stop: Rows, length: int, before: int = 0) -> None:
        self.series, self.length, self.before = series[:, None], length, before
        self.columns = stop[:, None] + np.arange(-length - before, 0)

    def wide(self, matrix: NDArray[Any], missing: float = np.nan) -> Doubles:
        """[B, before + length] with what lies before them; ``missing`` outside the matrix."""
        inside = (self.columns >= 0) & (self.columns < matrix.shape[1])
        values = matrix[self.series, np.clip(self.columns, 0, matrix.shape[1] - 1)]
        return values if inside.all() else np.where(inside, values, missing)

    def of(self, matrix: NDArray[Any], missing: float = np.nan) -> Doubles:
        """[B, length]."""
        return self.wide(matrix, missing)[:, self.before :]


def _standard(values: Doubles, covariates: Sequence[Numeric | Categorical]) -> Doubles:
    """[..., columns of covariates] the numbers about their means, in units of their spread."""
    mean, std = (
        np.repeat([getattr(c, name, other) for c in covariates], widths(covariates))
        for name, other in (("mean", 0.0), ("std", 1.0))
    )
    return np.asarray((values - mean) / std)


def _static_features(panel: Panel, task: Forecast) -> Doubles:
    """[N, static features]"""
    columns = []
    for covariate in task.static:
        values = panel.static[covariate.name]
        if isinstance(covariate, Numeric):
            if values.dtype.kind != "f":
                raise InputError(f"static column {covariate.name!r} holds text, but the model was fitted to numbers")
            columns.append((values - covariate.mean) / covariate.std)
            continue
        hot = values[:, None] == np.array(covariate.categories)[None, :]
        columns.extend(hot.T.astype(np.float64))
    return np.stack(columns, axis=1) if columns else np.empty((len(panel.ids), 0))
