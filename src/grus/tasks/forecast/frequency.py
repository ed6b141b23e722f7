"""The frequency of a series: its grid in time, as ordinals that count the steps, and the cycle that goes with it.

Names are pandas': MS, ME, QS, QE, YS, YE (starts and ends of months, quarters, years), W, D, B (weeks, days, business
days), h, min, s, each with a multiple before it ("15min", "2W"), or a number alone for integer steps ("1"). A series
starts its own grid: "W" fits weeks that start on any day, "QS" quarters that start in any month.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.spec.task import MAX_SEASON
from grus.tasks.times import Times, format_times

__all__ = ["Frequency", "daily_cycle", "default_season", "infer", "parse"]

Unit: TypeAlias = Literal["integer", "month start", "month end", "business day", "time"]
Ordinals: TypeAlias = NDArray[np.int64]

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
MONTHS = {"MS": 1, "QS": 3, "YS": 12, "ME": 1, "QE": 3, "YE": 12}
FIXED = {"W": 7 * DAY, "D": DAY, "h": 3600 * SECOND, "min": 60 * SECOND, "s": SECOND}
OLD_NAMES = {"M": "ME", "Q": "QE", "Y": "YE", "A": "YE", "AS": "YS", "H": "h", "T": "min", "S": "s"}  # of pandas < 2.2
FEWEST = 0.2  # the least share of points on an inferred grid: below it the guess is doubtful


@dataclass(frozen=True)
class Frequency:
    """A grid in time: ``step`` times a unit (an integer, a month, a business day, or a microsecond)."""

    name: str
    unit: Unit
    step: int

    def units(self, times: Times) -> Ordinals:
        """How many units each time lies after the epoch (1970, or 0); a time between two units is rounded down."""
        if self.unit == "integer" or self.unit == "time":
            return times.astype(np.int64)
        if self.unit == "business day":
            days = times.astype("datetime64[D]")
            return np.asarray(np.busday_count(np.datetime64("1970-01-01", "D"), days), dtype=np.int64)
        return times.astype("datetime64[M]").astype(np.int64)

    def times(self, units: Ordinals) -> Times:
        """The times of units, exactly."""
        if self.unit == "integer":
            return units
        if self.unit == "time":
            return units.astype("datetime64[us]")
        if self.unit == "business day":
            days = np.busday_offset(np.datetime64("1970-01-01", "D"), units)
            return np.asarray(days).astype("datetime64[us]")
        months = units + (self.unit == "month end")
        days = months.astype("datetime64[M]").astype("datetime64[D]") - (self.unit == "month end")
        return days.astype("datetime64[us]")

    def fits(self, times: Times) -> NDArray[np.bool_]:
        """Whether each time is one of the units, exactly."""
        if (times.dtype.kind == "M") == (self.unit == "integer"):
            return np.zeros(times.shape, dtype=bool)
        if self.unit == "business day":
            days = times.astype("datetime64[D]")
            return np.asarray(np.is_busday(days) & (times == days))
        return np.asarray(self.times(self.units(times)) == times)

    def after(self, last: Times, steps: int) -> Times:
        """[N, steps] the times that follow each of ``last`` [N]."""
        return self.times(self.units(last)[:, None] + self.step * np.arange(1, steps + 1))


def parse(name: str) -> Frequency:
    """The frequency with pandas' name. Raises InputError for a name it does not know."""
    match = re.fullmatch(r"(\d{0,6})([A-Za-z]*)(-[A-Z]{3})?", name) if isinstance(name, str) else None
    count, base = (int(match[1] or 1), OLD_NAMES.get(match[2], match[2])) if match else (0, "")
    if match and count:
        plain = f"{count if count > 1 else ''}{base}"
        if base == "" and match[1]:
            return Frequency(str(count), "integer", count)
        if base in MONTHS:
            return Frequency(plain, "month start" if base.endswith("S") else "month end", count * MONTHS[base])
        if base in FIXED:
            return Frequency(plain, "time", count * FIXED[base])
        if base == "B":
            return Frequency(plain, "business day", count)
    raise InputError(
        f"freq is {name!r}, expected MS, ME, QS, QE, YS, YE, W, D, B, h, min, s, or 1 for integer steps", "freq"
    )


def infer(times: Times, starts: NDArray[np.int64], source: str = "the table") -> Frequency:
    """The coarsest grid that all series share. times: sorted within each series; starts: each series' first row.

    Raises InputError when there is nothing to infer it from, or when the grid would be nearly empty.
    """
    inside = np.ones(times.size, dtype=bool)
    inside[starts] = False
    gaps = inside[1:]
    if not gaps.any():
        raise InputError(f"{source}: every series has one row, so the frequency is open: give it with --freq (freq=)")
    frequency = _finest_common(times, gaps)
    steps = np.diff(frequency.units(times))[gaps] // frequency.step
    share = (steps.size + starts.size) / (steps.sum() + starts.size)
    if share < FEWEST:
        raise InputError(
            f"{source}: the times look like {frequency.name!r}, but {1 - share:.0%} of the steps would be missing: "
            "give the frequency with --freq (freq=), or put the times on a regular grid"
        )
    return frequency


def _finest_common(times: Times, gaps: NDArray[np.bool_]) -> Frequency:
    if times.dtype.kind != "M":
        return parse(str(_divisor(times, gaps)))
    days = times.astype("datetime64[D]")
    if (days == times).all():
        for unit, letter in (("month start", "S"), ("month end", "E")):
            if Frequency(unit, unit, 1).fits(times).all():  # type: ignore[arg-type]
                months = _divisor(times.astype("datetime64[M]"), gaps)
                base = next(b for b, n in (("Y", 12), ("Q", 3), ("M", 1)) if months % n == 0)
                return _named(months // {"Y": 12, "Q": 3, "M": 1}[base], base + letter)
        step = _divisor(days, gaps)
        weekdays = bool(np.is_busday(days).all())
        if (
            step == 1
            and weekdays
            and (np.diff(np.busday_count(days[0], days))[gaps] < np.diff(days.astype(int))[gaps]).any()
        ):
            return parse("B")
    step = _divisor(times, gaps)
    for base, size in FIXED.items():
        if step % size == 0:
            return _named(step // size, base)
    raise InputError(f"the times are {step} microseconds apart, expected whole seconds: number the steps 1, 2, 3, …")


def _divisor(times: Times, gaps: NDArray[np.bool_]) -> int:
    return int(np.gcd.reduce(np.diff(times)[gaps].astype(np.int64)))


def _named(count: int, base: str) -> Frequency:
    return parse(f"{count if count > 1 else ''}{base}")


def positions(frequency: Frequency, times: Times, starts: NDArray[np.int64], ids: NDArray[np.generic]) -> Ordinals:
    """[rows] how many steps each time lies after its series' first. ids: [N] the series, for a message.

    Raises InputError that names the first time off the grid.
    """
    sizes = np.diff(np.append(starts, times.size))
    fits = frequency.fits(times)
    units = frequency.units(times)
    steps, rest = np.divmod(units - np.repeat(units[starts], sizes), frequency.step)
    off = ~fits | (rest != 0)
    if off.any():
        row = int(off.argmax())
        index = int(np.searchsorted(starts, row, side="right")) - 1
        first = format_times(times[starts[index : index + 1]])[0]
        raise InputError(
            f"ds {format_times(times[row : row + 1])[0]} of series {ids[index]!s} is not on the grid "
            f"{frequency.name!r} that starts at {first}: mend the time, or give another --freq (freq=)"
        )
    return steps


def default_season(frequency: Frequency) -> int:
    """Steps in the cycle people expect: a year of months or quarters, a week of days, a day of hours; else 1."""
    unit, step = frequency.unit, frequency.step
    if unit in ("month start", "month end"):
        return 12 // step if 12 % step == 0 else 1
    if unit == "business day":
        return 5 if step == 1 else 1
    if unit == "time":
        for size, cycle in ((7 * DAY, 52), (DAY, 7)):
            if step % size == 0:
                return cycle if step == size else 1
        if 15 * 60 * SECOND <= step < DAY and DAY % step == 0:  # hours to quarter hours; finer cycles are too long
            return DAY // step
    return 1


def daily_cycle(frequency: Frequency) -> int:
    """Steps in a day, of steps below an hour that fill one; else 0."""
    step = frequency.step
    short = frequency.unit == "time" and step < 3600 * SECOND and DAY % step == 0
    return DAY // step if short and DAY // step <= MAX_SEASON else 0
