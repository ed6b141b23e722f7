"""From a table and a person's settings to a panel and the task: everything measured on the data before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from grus.errors import InputError
from grus.spec import Categorical, Forecast, Numeric
from grus.tasks.forecast.covariates import Categories, categories, names_of, read_as, widths
from grus.tasks.forecast.frequency import Frequency, daily_cycle, default_season, parse
from grus.tasks.forecast.grid import frequency_of, one_frequency
from grus.tasks.forecast.outliers import near_zero
from grus.tasks.forecast.panel import Panel, make_panel
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.sound import read, sound, sound_for
from grus.tasks.forecast.static import mixed
from grus.tasks.forecast.table import Table
from grus.tasks.forecast.windows import LEAST_COUNT
from grus.tasks.times import format_times

__all__ = ["ALL", "prepare"]

ALL = "*"  # in trained_until: every series that is not listed
LISTED = 20_000  # series whose ends are listed one by one; beyond it their latest stands for all
LONGEST = 512  # steps the GRU reads unless told otherwise
SMALLEST = 1e-100  # unit of all
SMALL = 1e-9  # of the median of |y|: the least unit on the linear scale, below any series that is not zeros


def prepare(table: Table, settings: Settings) -> tuple[Panel, Forecast]:
    """The panel of a table to train on, and the task as far as it is known before training.

    What is measured (the covariates' mean and spread) is measured before the last ``horizon`` steps, which early
    stopping holds back.

    Raises InputError for a column that is missing or of the wrong kind, times off the grid, series too short for the
    horizon, or values that are not positive where the log scale is asked for.
    """
    table = sound(table, settings)
    frequency = parse(settings.freq) if settings.freq else frequency_of(table)
    table = one_frequency(table, frequency, strict=settings.strict)
    longest = int(make_panel(table, frequency, 0).lengths.max())  # before the horizon sizes anything
    if longest < settings.horizon + LEAST_COUNT:
        raise InputError(
            f"{table.source}: horizon {settings.horizon} needs a series of at least {settings.horizon + LEAST_COUNT} "
            f"steps to learn from, but the longest has {longest}: shorten the horizon (--horizon), or bring more data"
        )
    known = categories(table, names_of(table, settings))
    panel = make_panel(
        table,
        frequency,
        settings.horizon,
        past=settings.past,
        future=settings.future,
        static=settings.static,
        text=settings.categorical,
        known=known,
    )
    season, noted = _season(frequency, settings.season, longest)
    scale = _scale(panel, settings)
    nonnegative = scale == "linear" and not (panel.y < 0).any()
    panel = _without_outliers(panel, scale)
    plain = [name for name in settings.static if name not in settings.categorical]
    panel = replace(panel, notes=(*panel.notes, *read_as(known, settings.categorical), *mixed(table, plain), *noted))
    train = panel.before(settings.horizon)
    sizes = np.abs(train.y[~np.isnan(train.y) & (train.y != 0)])
    return panel, Forecast(
        horizon=settings.horizon,
        window=settings.window or min(longest, LONGEST),
        quantiles=settings.quantiles,
        frequency=frequency.name,
        season=season,
        scale=scale,
        floor=max(SMALL * float(np.median(sizes)), SMALLEST) if sizes.size else 1.0,
        lags=default_lags(season),
        past=_covariates(settings.past, known, train.past),
        future=_covariates(settings.future, known, train.future),
        static=tuple(_static(name, panel) for name in settings.static),
        trained_until=trained_until(panel),
        nonnegative=nonnegative,
    )


def _season(frequency: Frequency, chosen: int | None, longest: int) -> tuple[int, tuple[str, ...]]:
    """The season, and a note where it is not what a person would expect: none is made up where too few cycles are."""
    if chosen is not None:
        seen = chosen == 1 or longest >= 2 * chosen
        return chosen, () if seen else (
            f"season {chosen}, but the longest series has only {longest:,} steps to show it",
        )
    season, day = default_season(frequency), daily_cycle(frequency)
    usual = max(season, day)
    if usual > 1 and longest < 2 * usual:
        few = (
            f"season 1, which is none, for the longest series has {longest:,} steps: less than two cycles of {usual:,}"
        )
        return 1, (f"{few} (--season {usual} takes them all the same)",)
    if not day:
        return season, ()
    if day == season:
        return season, (f"steps of {frequency.name} have a daily cycle: season {day} (--season 1 for none)",)
    return season, (f"steps of {frequency.name} have a daily cycle, which is long: --season {day} takes it",)


def _without_outliers(panel: Panel, scale: str) -> Panel:
    """The panel without the single values near zero that the log scale cannot bear; a note names them."""
    found = near_zero(panel.y) if scale == "log" else np.zeros(panel.y.shape, dtype=bool)
    if not found.any():
        return panel
    row, column = np.argwhere(found)[0]
    note = (
        f"values near zero read as missing ({found.sum():,}), for on the log scale they drown the rest: the first "
        f"is {panel.y[row, column]:g} in series {panel.ids[row]!s} (--scale linear, scale='linear' reads all)"
    )
    return replace(panel, y=np.where(found, np.nan, panel.y), notes=(*panel.notes, note))


def default_lags(season: int) -> int:
    """One season, within bounds; what does well on the M3 competition's series, whose last part was held back."""
    return 6 if season == 1 else min(max(season, 8), 24)


def _scale(panel: Panel, settings: Settings) -> Literal["log", "linear"]:
    return "log" if settings.scale != "linear" and not (panel.y <= 0).any() else "linear"


def _covariates(
    names: Sequence[str], known: Categories, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> tuple[Numeric | Categorical, ...]:
    """Of the columns [N, T, columns of covariates]."""
    found: list[Numeric | Categorical] = []
    at = 0
    for name in names:
        found.append(Categorical(name, tuple(known[name])) if name in known else _numeric(name, values[:, :, at]))
        at += sum(widths(found[-1:]))
    return tuple(found)


def _numeric(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Numeric:
    known = values[~np.isnan(values)]
    if not known.size:
        raise InputError(f"covariate {name!r} has no value before the last steps that are held back: leave it out")
    std = float(known.std())
    return Numeric(name, float(known.mean()), std if std > 1e-12 * float(np.abs(known).max(initial=0)) else 1.0)


def _static(name: str, panel: Panel) -> Numeric | Categorical:
    values = panel.static[name]
    if values.dtype.kind == "f":
        return _numeric(name, values)
    return Categorical(name, tuple(sorted(set(values.tolist()))))


def trained_until(panel: Panel) -> tuple[tuple[str, str], ...]:
    """(series, time of its present) of each series, or one pair for all where they are many."""
    if len(panel.ids) > LISTED:
        return ((ALL, format_times(np.array([panel.present.max()]))[0]),)
    return tuple(zip(map(str, panel.ids.tolist()), format_times(panel.present), strict=True))


def trained_times(task: Forecast, panel: Panel) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """[N] the last unit (of ``panel.frequency``) each series was trained on; the least integer for one it was not.

    Raises InputError for times of another kind than the panel's, and for what are none.
    """
    ends = dict(task.trained_until)
    texts = [ends.get(str(name), ends.get(ALL, "")) for name in panel.ids.tolist()]
    kind = "datetime64[us]" if panel.present.dtype.kind == "M" else np.int64
    units = np.full(len(texts), np.iinfo(np.int64).min)
    known = np.array([bool(t) for t in texts])
    try:
        times = np.array([t for t in texts if t], dtype=str).astype(kind)
        if times.dtype.kind == "M" and np.isnat(times).any():
            raise ValueError("NaT")
        if times.size:
            units[known] = panel.frequency.units(times)
    except (ValueError, OverflowError):
        raise InputError(
            "the model was trained on another kind of time (dates or steps) than the table has, or its file is damaged"
        ) from None
    return units


def panel_for(task: Forecast, table: Table, ahead: Table | None = None, *, strict: bool = False) -> Panel:
    """The panel of the series of a table that a trained model can forecast.

    Raises as :func:`make_panel` and :func:`grus.tasks.forecast.sound.sound_for` do.
    """
    frequency = parse(task.frequency)
    if ahead is not None:
        ahead = read(ahead, [c.name for c in task.future if not isinstance(c, Categorical)], strict=strict)
    panel = make_panel(
        one_frequency(sound_for(task, table, strict=strict), frequency, strict=strict),
        frequency,
        task.horizon,
        past=[c.name for c in task.past],
        future=[c.name for c in task.future],
        static=[c.name for c in task.static],
        text=[c.name for c in task.static if isinstance(c, Categorical)],
        known={c.name: c.categories for c in (*task.past, *task.future) if isinstance(c, Categorical)},
        ahead=ahead,
    )
    return _without_outliers(panel, task.scale)


__all__ += ["Frequency", "default_lags", "panel_for", "trained_times", "trained_until"]
