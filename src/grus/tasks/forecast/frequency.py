"""The frequency of a series: its grid in time, as ordinals that count the steps, and the cycle that goes with it.

Names are pandas': MS, ME, QS, QE, YS, YE (starts and ends of months, quarters, years), BMS to BYE (their first and last
business days), W, D, B (weeks, days, business days), h, min, s, each with a multiple before it ("15min", "2W"), or a
number alone for integer steps ("1"). MS-15 is the 15th of each month, and likewise QS-15 and YS-15. A series starts its
own grid: "W" fits weeks that start on any day, "QS" quarters that start in any month.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.spec.task import MAX_SEASON
from grus.tasks.times import Times

__all__ = ["Frequency", "daily_cycle", "default_season", "infer", "parse"]

Unit: TypeAlias = Literal["integer", "month", "business month", "business day", "time"]
Ordinals: TypeAlias = NDArray[np.int64]

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
MONTHS = {"M": 1, "Q": 3, "Y": 12}  # and S or E behind it, for their starts and ends
END = 31  # the day of a month that is its last, however many it has
FIXED = {"W": 7 * DAY, "D": DAY, "h": 3600 * SECOND, "min": 60 * SECOND, "s": SECOND}
OLD_NAMES = {"M": "ME", "Q": "QE", "Y": "YE", "A": "YE", "AS": "YS", "H": "h", "T": "min", "S": "s"}  # of pandas < 2.2
OLD_NAMES |= {"BM": "BME", "BQ": "BQE", "BY": "BYE", "BA": "BYE", "BAS": "BYS"}
HOLIDAYS = 4  # days that a holiday may move the first or the last business day of a month
MOSTLY = 0.6  # the least share of days on the very first or last business day: holidays move the others
FEWEST = 0.2  # the least share of points on an inferred grid: below it the guess is doubtful


@dataclass(frozen=True)
class Frequency:
    """A grid in time: ``step`` times a unit (an integer, a month, a business day, or a microsecond).

    day: of the month, the last one where it has fewer; of business months the first (1) or the last (31) business day.
    """

    name: str
    unit: Unit
    step: int
    day: int = 1

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
        months = units.astype("datetime64[M]")
        last = (months + 1).astype("datetime64[D]") - 1
        days = np.minimum(months.astype("datetime64[D]") + (self.day - 1), last)
        if self.unit == "business month":
            days = np.busday_offset(days, 0, roll="forward" if self.day == 1 else "backward")
        return np.asarray(days).astype("datetime64[us]")

    def fits(self, times: Times) -> NDArray[np.bool_]:
        """Whether each time is one of the units, exactly; of business months a holiday may move it."""
        if (times.dtype.kind == "M") == (self.unit == "integer"):
            return np.zeros(times.shape, dtype=bool)
        if self.unit == "business day" or self.unit == "business month":
            days = times.astype("datetime64[D]")
            good = np.asarray(np.is_busday(days) & (times == days))
            if self.unit == "business day":
                return good
            moved = np.abs((times - self.times(self.units(times))).astype(np.int64))
            return np.asarray(good & (moved <= HOLIDAYS * DAY))
        return np.asarray(self.times(self.units(times)) == times)

    def after(self, last: Times, steps: int) -> Times:
        """[N, steps] the times that follow each of ``last`` [N]."""
        return self.times(self.units(last)[:, None] + self.step * np.arange(1, steps + 1))


def parse(name: str) -> Frequency:
    """The frequency with pandas' name. Raises InputError for a name it does not know."""
    match = re.fullmatch(r"(\d{0,6})([A-Za-z]*)(?:-([A-Z]{3}|\d{1,2}))?", name) if isinstance(name, str) else None
    count, base = (int(match[1] or 1), OLD_NAMES.get(match[2], match[2])) if match else (0, "")
    day = int(match[3]) if match and (match[3] or "").isdigit() else 0
    if match and count and (not day or (base in ("MS", "QS", "YS") and day <= END)):
        plain = f"{count if count > 1 else ''}{base}" + f"-{day}" * (day > 1)
        if base == "" and match[1]:
            return Frequency(str(count), "integer", count)
        period = re.fullmatch("(B?)([MQY])([SE])", base)
        if period:
            unit: Unit = "business month" if period[1] else "month"
            return Frequency(plain, unit, count * MONTHS[period[2]], day or (1 if period[3] == "S" else END))
        if base in FIXED:
            return Frequency(plain, "time", count * FIXED[base])
        if base == "B":
            return Frequency(plain, "business day", count)
    raise InputError(
        f"freq is {name!r}, expected MS, ME, QS, QE, YS, YE, BMS, BME, W, D, B, h, min, s, MS-15 for the 15th of each "
        "month, or 1 for integer steps",
        "freq",
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
        monthly = _monthly(times, gaps)
        if monthly:
            return monthly
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


def _monthly(times: Times, gaps: NDArray[np.bool_]) -> Frequency | None:
    """The months, quarters or years that days lie in, where all lie on one day of them."""
    months = times.astype("datetime64[M]")
    gap = _divisor(months, gaps)
    letter, count = next(((b, gap // n) for b, n in (("Y", 12), ("Q", 3), ("M", 1)) if gap % n == 0))
    day = int((times.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64).max()) + 1
    for ending in ("S", "E", f"S-{day}"):
        frequency = parse(f"{letter}{ending}")
        if gap and frequency.fits(times).all():
            return _named(count, f"{letter}{ending}")
    if (np.diff(months)[gaps].astype(np.int64) > 0).all() and gaps.sum() > 1:
        for ending in ("S", "E"):
            frequency = parse(f"B{letter}{ending}")
            exact = np.mean(frequency.times(frequency.units(times)) == times)
            if frequency.fits(times).all() and exact > MOSTLY:
                return _named(count, f"B{letter}{ending}")
    return None


def _divisor(times: Times, gaps: NDArray[np.bool_]) -> int:
    return int(np.gcd.reduce(np.diff(times)[gaps].astype(np.int64)))


def _named(count: int, base: str) -> Frequency:
    return parse(f"{count if count > 1 else ''}{base}")


def default_season(frequency: Frequency) -> int:
    """Steps in the cycle people expect: a year of months or quarters, a week of days, a day of hours; else 1."""
    unit, step = frequency.unit, frequency.step
    if unit == "month" or unit == "business month":
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
