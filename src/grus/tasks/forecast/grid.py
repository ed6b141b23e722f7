"""A table meets a frequency: which one its series share, and at which step of it each row lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.forecast.frequency import Frequency, Ordinals, infer, parse
from grus.tasks.forecast.table import Table

__all__ = ["frequency_of", "on_grid", "one_frequency", "positions"]

SPARSEST = 0.01  # the least share of steps with a row, where a person chose the frequency
EVEN, MONTHLY = 8, 4  # rows that lie evenly, or on one day of their months: fewer may do so by chance
STRAY, ENOUGH = 0.01, 20  # the share of rows that may lie off the grid, or one of so many
LOOKED_AT = 1000  # series, for a message


def on_grid(table: Table, frequency: Frequency) -> Table:
    """The table with its times as the frequency counts: dates, or the whole numbers they came as."""
    return table.as_steps() if frequency.unit == "integer" else table


def frequency_of(table: Table) -> Frequency:
    """The frequency of all series of a table. Raises InputError where they have two, or none that can be seen."""
    table = table.rows(~_strays(table)) if table.times.dtype.kind == "M" else table
    try:
        frequency = infer(table.times, table.starts, table.source)
    except InputError:
        _name_two(table, [_own(table, series) for series in range(min(len(table.ids), LOOKED_AT))])
        raise
    other = coarser(table, frequency)
    if other.any():
        series = int(other.argmax())
        _name_two(table, [_own(table, series), _own(table, int((~other).argmax()))], [series, int((~other).argmax())])
    return frequency


def _strays(table: Table) -> NDArray[np.bool_]:
    """[rows] the few whose day of the month, day of the week or time of the day is not that of all others."""
    times, most = table.times, _few(table.num_rows)
    days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    clock = times - days
    left = (months + 1).astype("datetime64[D]") - days
    # the coarsest first: a row that is no first of a month is one at another hour too
    for part in (days - months.astype("datetime64[D]"), left, (days.astype(np.int64) + 3) % 7, clock):
        off = _unusual(part)
        if off.sum() <= most:
            return np.asarray(off | (_unusual(clock) if _unusual(clock).sum() <= most else False))
    for size in (3_600_000_000, 60_000_000):
        off = _unusual(clock.astype(np.int64) % size)
        if off.sum() <= most:
            return off
    return np.zeros(table.num_rows, dtype=bool)


def _unusual(values: NDArray[Any]) -> NDArray[np.bool_]:
    """[rows] which values are not the most frequent one."""
    unique, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(inverse.reshape(-1) != counts.argmax()) if unique.size > 1 else np.zeros(values.size, dtype=bool)


def _few(rows: int) -> int:
    """How many of the rows may lie off the grid."""
    return max(int(STRAY * rows), int(rows >= ENOUGH))


def _name_two(table: Table, names: list[str], series: list[int] | None = None) -> None:
    """Raise InputError where the names of the series' frequencies differ; "" is that of one that cannot be seen."""
    seen = [i for i, name in enumerate(names) if name]
    other = next((i for i in seen if names[i] != names[seen[0]]), None)
    if other is not None:
        a, b = (table.ids[i if series is None else series[i]] for i in (seen[0], other))
        raise InputError(
            f"{table.source} has two frequencies: series {a!s} is {names[seen[0]]!r}, while series {b!s} is "
            f"{names[other]!r}: fit a model to each, in tables of their own"
        )


def one_frequency(table: Table, frequency: Frequency, *, strict: bool = False) -> Table:
    """The table without the few rows that lie off the grid, and without series of a coarser frequency, such as monthly
    ones among daily ones; notes name them. Many rows off the grid are left for :func:`positions` to refuse.

    Raises InputError where no series is left, and, ``strict``, where one would be left out.
    """
    table = on_grid(table, frequency)
    off = _off_grid(table, frequency)
    if not strict and 0 < off.sum() <= _few(table.num_rows):
        table = table.without(off, f"off the grid {frequency.name!r} of the others")
    other = coarser(table, frequency)
    if not other.any():
        return table
    series = int(other.argmax())
    what = f"series {table.ids[series]!s} is {_own(table, series)!r}, but the frequency is {frequency.name!r}"
    if strict or other.all():
        raise InputError(f"{table.source}: {what}: bring series of that frequency, or fit with another --freq (freq=)")
    kept = table.rows(~other[table.codes])
    kept.notes += (f"{int(other.sum()):,} series left out, of another frequency: {what}",)
    return kept


def _off_grid(table: Table, frequency: Frequency) -> NDArray[np.bool_]:
    """[rows] which rows lie off the grid that most rows of their series are on."""
    if (table.times.dtype.kind == "M") == (frequency.unit == "integer"):
        return np.zeros(table.num_rows, dtype=bool)
    phase = np.mod(frequency.units(table.times), frequency.step)
    off = ~frequency.fits(table.times)
    mixed = np.flatnonzero(np.maximum.reduceat(phase, table.starts) != np.minimum.reduceat(phase, table.starts))
    stops = np.append(table.starts, table.num_rows)
    for series in mixed.tolist():
        rows = slice(int(stops[series]), int(stops[series + 1]))
        off[rows] |= _unusual(phase[rows])
    return off


def coarser(table: Table, frequency: Frequency) -> NDArray[np.bool_]:
    """[N] the series whose rows lie evenly, but further apart than a step: they have a frequency of their own."""
    if frequency.unit == "integer" or table.times.dtype.kind != "M":
        return np.zeros(len(table.ids), dtype=bool)
    sizes = np.diff(np.append(table.starts, table.num_rows))
    gap = _even(frequency.units(table.times), table.starts)
    other = (sizes >= EVEN) & (gap > frequency.step)
    if frequency.unit not in ("month", "business month"):
        months = _even(table.times.astype("datetime64[M]").astype(np.int64), table.starts)
        for series in np.flatnonzero((sizes >= MONTHLY) & (months > 0) & ~other).tolist():
            name = _own(table, series)
            other[series] = bool(name) and parse(name).unit in ("month", "business month")
    return np.asarray(other)


def _even(units: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] the gap between the rows of each series where all are alike, else 0."""
    gaps = np.diff(units, prepend=units[:1])
    inside = np.ones(gaps.size, dtype=bool)
    inside[starts] = False
    low = np.minimum.reduceat(np.where(inside, gaps, np.iinfo(np.int64).max), starts)
    high = np.maximum.reduceat(np.where(inside, gaps, -1), starts)
    return np.where(low == high, low, 0)


def _own(table: Table, series: int) -> str:
    """The name of the frequency of one series, "" where it cannot be seen."""
    try:
        rows = slice(*np.append(table.starts, table.num_rows)[series : series + 2])
        return infer(table.times[rows], np.array([0]), table.source).name
    except InputError:
        return ""


def positions(frequency: Frequency, table: Table) -> Ordinals:
    """[rows] how many steps each time lies after its series' first.

    Raises InputError that names the first time off the grid, two times in one step, and a grid that is all but empty.
    """
    times, starts = table.times, table.starts
    sizes = np.diff(np.append(starts, times.size))
    fits = frequency.fits(times)
    units = frequency.units(times)
    steps, rest = np.divmod(units - np.repeat(units[starts], sizes), frequency.step)
    off = ~fits | (rest != 0)
    off[1:] |= (np.diff(steps) == 0) & (np.diff(table.codes) == 0)
    if off.any():
        row = int(off.argmax())
        first = table.time_text(int(starts[table.codes[row]]))
        raise InputError(
            f"ds {table.time_text(row)} of series {table['unique_id'][row]!s} is not on the grid "
            f"{frequency.name!r} that starts at {first}: mend the time, or give another --freq (freq=)"
        )
    span = int(steps[np.append(starts[1:], times.size) - 1].sum()) + len(starts)
    if times.size < SPARSEST * span:
        raise InputError(
            f"{table.source}: of the steps of the frequency {frequency.name!r} only {times.size / span:.2%} have a "
            "row: give the frequency that the rows have (--freq, freq=)"
        )
    return steps
