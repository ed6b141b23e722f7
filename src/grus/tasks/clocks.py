"""How a column of times was written, so that what follows is written likewise.

Dates stand for themselves; whole numbers may stand for dates (202001, 20200131, seconds or milliseconds since 1970);
and a time with a zone is one of its zone: nothing is moved to UTC and left there.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["NUMBERS", "Clock", "Form", "aware", "from_numbers", "number_form"]

Form: TypeAlias = Literal["plain", "YYYYMM", "YYYYMMDD", "s", "ms", "us", "ns", "zone"]

SINCE_1970 = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}  # microseconds of a unit; a microsecond has 1,000 ns
EPOCHS = (631_152_000, 4_102_444_800)  # 1990 to 2100, in seconds: numbers this large count no steps
COUNTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NUMBERS = {  # what the whole numbers of a form stand for
    "YYYYMM": "years and months (202001)",
    "YYYYMMDD": "days (20200131)",
    "s": "seconds since 1970, in UTC",
    "ms": "milliseconds since 1970, in UTC",
    "us": "microseconds since 1970, in UTC",
    "ns": "nanoseconds since 1970, in UTC",
}
DATED = 0.9  # of the numbers; with fewer that are dates they count steps


@dataclass(frozen=True)
class Clock:
    """form: how the times were written. zones: [rows] the zone of each row, where they have one. wall: such times are
    kept as the clock on the wall shows them, which is right for days and months; else in UTC, which is right for hours.
    """

    form: Form = "plain"
    zones: NDArray[Any] | None = None
    wall: bool = False

    @property
    def offsets(self) -> list[str]:
        """The zones of a file that knows no rule for the change of clocks, where it has several."""
        zones = set() if self.zones is None else set(self.zones.tolist())
        fixed = len(zones) > 1 and all(isinstance(zone, dt.timezone) for zone in zones)
        return sorted(map(str, zones)) if fixed else []

    def take(self, rows: NDArray[Any]) -> Clock:
        """The clock of some of the rows, by number or by mask."""
        return self if self.zones is None else replace(self, zones=self.zones[rows])

    def written(self, times: NDArray[Any]) -> NDArray[Any]:
        """[rows] the times as their column had them: whole numbers, datetime64[us], or datetime with a zone."""
        if self.form == "YYYYMM" or self.form == "YYYYMMDD":
            months = times.astype("datetime64[M]").astype(np.int64)
            number = (1970 + months // 12) * 100 + months % 12 + 1
            days = (times.astype("datetime64[D]") - times.astype("datetime64[M]")).astype(np.int64) + 1
            return np.asarray(number if self.form == "YYYYMM" else number * 100 + days)
        if self.form in SINCE_1970:
            count = times.astype(np.int64)
            return np.asarray(count * 1000 if self.form == "ns" else count // SINCE_1970[self.form])
        if self.zones is None:
            return times
        found = np.empty(times.size, dtype=object)
        for i, (time, zone) in enumerate(zip(times.tolist(), self.zones.tolist(), strict=True)):
            utc = time.replace(tzinfo=dt.timezone.utc)
            if self.wall:  # the offset twice: that of UTC's hour may be the one before a change of clocks
                near = utc - (utc.astimezone(zone).utcoffset() or dt.timedelta())
                utc -= near.astimezone(zone).utcoffset() or dt.timedelta()
            found[i] = utc.astimezone(zone)
        return found

    def moved(self, times: NDArray[Any], *, wall: bool) -> NDArray[Any]:
        """[rows] times with zones, in the zones' own time (``wall``) or in UTC, whichever they are kept in."""
        if self.zones is None or self.wall == wall:
            return times
        offsets = [t.utcoffset() for t in self.written(times).tolist()]
        ahead = np.array(offsets, dtype="timedelta64[us]")
        return np.asarray(times + ahead if wall else times - ahead)


def aware(wall: NDArray[Any], zones: NDArray[Any], offsets: NDArray[Any]) -> tuple[NDArray[Any], Clock]:
    """Times with zones, of which ``wall`` [rows] is what the clock shows and ``offsets`` [rows] (m8) how far ahead of
    UTC it is: on the wall's clock where all have one time of the day, else in UTC.
    """
    on_wall = np.unique(wall - wall.astype("datetime64[D]")).size == 1
    return (wall if on_wall else wall - offsets), Clock("zone", zones, bool(on_wall))


def number_form(values: NDArray[np.int64]) -> tuple[Form, NDArray[np.bool_]]:
    """What whole numbers stand for, and [rows] which of them do not: no month, or no day."""
    size = np.abs(np.median(values)) if values.size else 0
    for unit, count in COUNTS.items():
        if EPOCHS[0] * count <= size < EPOCHS[1] * count:
            return unit, np.zeros(values.shape, dtype=bool)  # type: ignore[return-value]
    for form, low, high in (("YYYYMM", 190001, 210100), ("YYYYMMDD", 19000101, 21010000)):
        if low <= size < high:
            month = values % 100 if form == "YYYYMM" else values // 100 % 100
            good = (values >= low) & (values < high) & (month >= 1) & (month <= 12)
            if form == "YYYYMMDD":
                good[good] = _are_days(values[good])
            if good.mean() >= DATED:
                return form, ~good  # type: ignore[return-value]
    return "plain", np.zeros(values.shape, dtype=bool)


def _are_days(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    day = values % 100
    first = ((values // 10000 - 1970) * 12 + values // 100 % 100 - 1).astype("datetime64[M]")
    last = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    return np.asarray((day >= 1) & (day <= last))


def from_numbers(values: NDArray[np.int64], form: Form) -> NDArray[Any]:
    """The times that numbers of a form stand for."""
    if form == "plain":
        return values
    if form in SINCE_1970:
        count = values // 1000 if form == "ns" else values * SINCE_1970[form]
        return count.astype("datetime64[us]")
    months = values if form == "YYYYMM" else values // 100
    first = ((months // 100 - 1970) * 12 + months % 100 - 1).astype("datetime64[M]").astype("datetime64[D]")
    days = first if form == "YYYYMM" else first + (values % 100 - 1)
    return np.asarray(days.astype("datetime64[us]"))
