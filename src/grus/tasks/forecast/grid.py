"""A table meets a frequency: which one its series share, and at which step of it each row lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.forecast.frequency import Frequency, Ordinals, infer
from grus.tasks.forecast.table import Table

__all__ = ["frequency_of", "on_grid", "one_frequency", "positions"]

SPARSEST = 0.01  # the least share of steps with a row, where a person chose the frequency
FEW = 4  # rows that lie evenly: fewer may do so by chance
LOOKED_AT = 1000  # series, for a message


def on_grid(table: Table, frequency: Frequency) -> Table:
    """The table with its times as the frequency counts: dates, or the whole numbers they came as."""
    return table.as_steps() if frequency.unit == "integer" else table


def frequency_of(table: Table) -> Frequency:
    """The frequency of all series of a table. Raises InputError where they have two, or none that can be seen."""
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
    """The table without series of a coarser frequency, such as monthly ones among daily ones; a note names them.

    Raises InputError where none is left, and where one is left out although it is ``strict``.
    """
    table = on_grid(table, frequency)
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


def coarser(table: Table, frequency: Frequency) -> NDArray[np.bool_]:
    """[N] the series whose rows lie evenly, but further apart than a step: they have a frequency of their own."""
    other = np.zeros(len(table.ids), dtype=bool)
    if frequency.unit == "integer" or table.times.dtype.kind != "M":
        return other
    sizes = np.diff(np.append(table.starts, table.num_rows))
    long = np.flatnonzero(sizes >= FEW)
    units = frequency.units(table.times)
    month = table.times.astype("datetime64[M]").astype(np.int64)
    for clock, least in ((units, frequency.step), (month, 0)):
        if clock is month and frequency.unit in ("month", "business month"):
            continue
        gaps = np.diff(clock, prepend=clock[:1])
        inside = np.ones(gaps.size, dtype=bool)
        inside[table.starts] = False
        low = np.minimum.reduceat(np.where(inside, gaps, np.iinfo(np.int64).max), table.starts)
        high = np.maximum.reduceat(np.where(inside, gaps, -1), table.starts)
        other[long] |= ((low == high) & (low > least))[long]
    return other


def _own(table: Table, series: int) -> str:
    """The name of the frequency of one series, "" where it cannot be seen."""
    try:
        return infer(table.times[table.codes == series], np.array([0]), table.source).name
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
