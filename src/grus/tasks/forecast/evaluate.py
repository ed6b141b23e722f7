"""Forecasts held against what came: the ends of the series hidden, forecast, and compared with naive methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Forecast
from grus.tasks.checks import integer
from grus.tasks.forecast import metrics
from grus.tasks.forecast.baselines import naive, seasonal_naive
from grus.tasks.forecast.panel import Panel
from grus.tasks.forecast.predict import Runner, check_future, forecast_panel, future_unknown, task_of
from grus.tasks.forecast.prepare import panel_for, trained_times
from grus.tasks.forecast.report import Report
from grus.tasks.forecast.sound import left_out
from grus.tasks.forecast.table import as_table
from grus.tasks.forecast.windows import LEAST_COUNT

__all__ = ["comparable", "evaluate", "hidden_steps"]

Floats = NDArray[np.float64]


def hidden_steps(panel: Panel, horizon: int, windows: int, step: int | None) -> list[int]:
    """For each window, earliest first, how many steps before the present its forecasts start.

    Raises InputError when no series is long enough for the earliest.
    """
    windows, step = integer("windows", windows, 1), horizon if step is None else integer("step", step, 1)
    most, longest = horizon + step * (windows - 1), int(panel.lengths.max())
    if longest < most + LEAST_COUNT:
        raise InputError(
            f"{windows} windows of horizon {horizon} hide {most} steps, but the longest series has {longest}: it "
            f"needs {most + LEAST_COUNT}; take fewer windows, or a shorter horizon"
        )
    return [horizon + step * w for w in reversed(range(windows))]


def hidden_windows(
    panel: Panel, horizon: int, windows: int, step: int | None
) -> Iterator[tuple[NDArray[np.int64], Panel, Floats]]:
    """Of each window, earliest first, which series of the panel have enough known values before it and one in it, these
    series as they were at its start, and what came [N, horizon].

    Raises InputError when no window has any.
    """
    found = False
    for hidden in hidden_steps(panel, horizon, windows, step):
        at = panel.steps - hidden
        actual = panel.y[:, at : at + horizon]
        start = panel.before(hidden)
        rows = np.flatnonzero(((~np.isnan(start.y)).sum(axis=1) >= LEAST_COUNT) & (~np.isnan(actual)).any(axis=1))
        if rows.size:
            found = True
            yield rows, start.take(rows), actual[rows]
    if not found:
        raise InputError(f"no series has both values in the {windows} hidden windows and {LEAST_COUNT} before them")


def comparable(panel: Panel, task: Forecast, windows: int, step: int | None, *, strict: bool = False) -> Panel:
    """The series that an evaluation can forecast and compare, with notes of those that are left out.

    Raises InputError where none is left, or, ``strict``, for the first that would be left out.
    """
    judged, unknown = np.zeros(len(panel.ids), dtype=bool), np.zeros(len(panel.ids), dtype=bool)
    starts = []
    for rows, start, _ in hidden_windows(panel, task.horizon, windows, step):
        judged[rows] = True
        unknown[rows] |= future_unknown(start)
        starts.append(start)
    if unknown.any() and (strict or not (judged & ~unknown).any()):
        for start in starts:
            check_future(start, task)
    short = f"too short: they need values in a hidden window, and {LEAST_COUNT} before it"
    if strict and not judged.all():
        raise InputError(f"series {panel.ids[~judged][0]!s} is {short.replace('they need', 'it needs')}")
    missing = "a future covariate is not known over a hidden window"
    notes = [left_out(panel.ids[which], why) for which, why in ((~judged, short), (unknown, missing)) if which.any()]
    if not notes:
        return panel
    return replace(panel.take(np.flatnonzero(judged & ~unknown)), notes=(*panel.notes, *notes))


def evaluate(
    model: Model,
    table: Any,
    windows: int = 1,
    step: int | None = None,
    *,
    strict: bool = False,
    session: Runner | None = None,
) -> Report:
    """Hide the end of every series, forecast it from what lies before, and compare with what came.

    With several windows the forecasts start ``step`` (by default the horizon) steps apart, the last one ``horizon``
    steps before the end. Each series and window has the same weight. Series without known values before a window's
    start are left out of it. The columns: sMAPE in percent, MASE, MAE and RMSE in the units of y, the share of actuals
    inside each central interval, the mean pinball loss, and how many points there are. A note says where the hidden
    part lies in what the model was trained on, for then its figures flatter; others name the series that are left out.

    Raises InputError as :func:`grus.tasks.forecast.predict` does, and when the series are too short.
    """
    task = task_of(model)
    panel = comparable(panel_for(task, as_table(table), strict=strict), task, windows, step, strict=strict)
    runner = session or Session(model)
    scores: dict[str, dict[str, list[Floats]]] = {}
    points = seen = 0
    for _, start, actual in hidden_windows(panel, task.horizon, windows, step):
        points += int((~np.isnan(actual)).sum())
        seen += _trained_points(start, actual, task)
        season = min(task.season, start.steps)
        forecasts = {
            "GRU": forecast_panel(runner, start, task),
            "seasonal naive": seasonal_naive(start.y, task.horizon, season),
            "naive": naive(start.y, task.horizon),
        }
        for name, forecast in forecasts.items():
            _add(scores.setdefault(name, {}), actual, forecast, start.y, season, task.quantiles)
    notes = list(panel.notes)
    if seen:
        notes.append(
            f"{seen:,} of the {points:,} hidden points lie in what the model was trained on, so its figures flatter: "
            "evaluate on later rows, or backtest"
        )
    return Report(tuple(_row(name, columns, points) for name, columns in scores.items()), tuple(notes))


def _trained_points(start: Panel, actual: Floats, task: Forecast) -> int:
    """How many of the actuals lie at or before the last time their series was trained on."""
    units = start.frequency.units(start.present)[:, None] + start.frequency.step * np.arange(1, task.horizon + 1)
    return int(((units <= trained_times(task, start)[:, None]) & ~np.isnan(actual)).sum())


def _add(
    columns: dict[str, list[Floats]],
    actual: Floats,
    forecast: NDArray[np.float64],
    history: Floats,
    season: int,
    levels: tuple[float, ...],
) -> None:
    """Add the errors [N] of one window's forecasts, [N, horizon] or [N, horizon, quantiles], to the columns."""
    quantiles = forecast if forecast.ndim == 3 else None
    middle = forecast if quantiles is None else quantiles[:, :, levels.index(0.5)]
    found: dict[str, Floats | None] = {
        "sMAPE": metrics.smape(actual, middle),
        "MASE": metrics.scaled(actual, middle, history, season),
        "MAE": metrics.absolute(actual, middle),
        "RMSE": metrics.squared(actual, middle),
    }
    for low, high in _intervals(levels):
        inside = None if quantiles is None else metrics.coverage(actual, quantiles[..., low], quantiles[..., high])
        found[f"{levels[high] - levels[low]:.0%} coverage"] = inside
    found["pinball"] = None if quantiles is None else metrics.pinball(actual, quantiles, levels)
    for key, values in found.items():
        columns.setdefault(key, []).extend([] if values is None else [values])


def _intervals(levels: tuple[float, ...]) -> list[tuple[int, int]]:
    """The indices of the levels that lie symmetrically around the median, the widest first."""
    return [
        (low, high)
        for low in range(len(levels))
        for high in range(low + 1, len(levels))
        if abs(levels[low] + levels[high] - 1) < 1e-9
    ]


def _row(name: str, columns: dict[str, list[Floats]], points: int) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name}
    for key, parts in columns.items():
        values = np.concatenate(parts) if parts else np.empty(0)
        values = values[~np.isnan(values)]
        mean = float(values.mean()) if values.size else None
        row[key] = mean**0.5 if key == "RMSE" and mean is not None else mean
    return row | {"points": points}
