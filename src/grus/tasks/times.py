"""Reading and writing the time column: integers, or dates and times written as ISO 8601 does, year first.

In memory a time is an int64, or a datetime64[us]; a :class:`grus.tasks.clocks.Clock` knows how it was written.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.clocks import NUMBERS, Clock, Form, aware, from_numbers, number_form

__all__ = ["Times", "format_times", "parse_times", "read_times"]

Times: TypeAlias = NDArray[Any]  # int64, or datetime64[us]

INTEGER = re.compile(r"[+-]?\d{1,19}")
STAMP = re.compile(
    r"(\d{4})[-/](\d{2})(?:[-/](\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(?:(?<=\.\d{6})0{1,3})?"
    r"(?: ?(Z|[+-]\d{2}(?::?\d{2})?))?)?)?"
)
QUARTER = re.compile(r"(\d{4})-?Q([1-4])")
LARGEST = 10**18  # beyond it differences of steps would overflow
HINT = (
    "write dates as 2020-01-31, 2020-01-31 14:00 or, with a zone, 2020-01-31 14:00+01:00, or number the steps 1, 2, …"
)


def parse_times(values: NDArray[Any], where: Callable[[int], str]) -> Times:
    """As :func:`read_times`, without how they were written."""
    return read_times(values, where)[0]


def read_times(values: NDArray[Any], where: Callable[[int], str]) -> tuple[Times, Clock]:
    """The column as int64 or datetime64[us], and how it was written; ``where(row)`` names the file and line.

    Raises InputError for an empty cell, for what is neither an integer nor a date, and for a mixture of both, or of
    times with a zone and without.
    """
    if values.dtype.kind in "iu":
        return _numbers(values, where)
    if values.dtype.kind == "M":
        missing = np.isnat(values)
        if missing.any():
            raise InputError(f"{where(int(missing.argmax()))} is empty: {HINT}")
        return values.astype("datetime64[us]"), Clock()
    if values.dtype.kind == "f" and values.size and np.isfinite(values).all() and (values == np.trunc(values)).all():
        return _numbers(values, where)
    cells = values.tolist()
    if values.dtype.kind == "O" and cells and all(getattr(v, "tzinfo", None) is not None for v in cells):
        wall = np.array([v.replace(tzinfo=None) for v in cells], dtype="datetime64[us]")
        offsets = np.array([v.utcoffset() for v in cells], dtype="timedelta64[us]")
        return aware(wall, _objects([v.tzinfo for v in cells]), offsets)
    texts = [_text(v) for v in cells]
    unique, first, inverse = np.unique(np.array(texts, dtype=str), return_index=True, return_inverse=True)
    kinds = np.array([bool(INTEGER.fullmatch(t)) for t in unique.tolist()])
    if kinds.any() and not kinds.all():
        raise InputError(_mixture(where, texts, first, kinds))
    if unique.size and kinds.all():
        return _numbers(np.array([int(t) for t in texts], dtype=object), where)
    return _stamps(texts, unique, first, inverse.reshape(-1), where)


def _stamps(
    texts: list[str],
    unique: NDArray[Any],
    first: NDArray[Any],
    inverse: NDArray[Any],
    where: Callable[[int], str],
) -> tuple[Times, Clock]:
    """Dates as text; unique, first, inverse: as numpy.unique gives them."""
    found = [_stamp(text) for text in unique.tolist()]
    bad = [int(first[i]) for i, stamp in enumerate(found) if stamp is None]
    if bad:
        raise InputError(f"{where(min(bad))} is {texts[min(bad)]!r}, not a date: {HINT}")
    stamps = np.array([stamp[0] for stamp in found if stamp], dtype="datetime64[us]")
    offsets = [stamp[1] for stamp in found if stamp]
    zoned = np.array([offset is not None for offset in offsets], dtype=bool)
    if zoned.any() and not zoned.all():
        raise InputError(_mixture(where, texts, first, zoned))
    if not zoned.any():
        return stamps[inverse], Clock()
    ahead = np.array(offsets, dtype="timedelta64[us]")
    zones = _objects([dt.timezone(offset or dt.timedelta()) for offset in offsets])
    return aware(stamps[inverse], zones[inverse], ahead[inverse])


def _mixture(where: Callable[[int], str], texts: list[str], first: NDArray[Any], kinds: NDArray[np.bool_]) -> str:
    a, b = int(first[kinds].min()), int(first[~kinds].min())
    return f"{where(max(a, b))} is {texts[max(a, b)]!r}, but {texts[min(a, b)]!r} came before: {HINT}"


def _objects(values: list[Any]) -> NDArray[Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _numbers(values: NDArray[Any], where: Callable[[int], str]) -> tuple[Times, Clock]:
    """Steps, or what numbers such as 202001, 20200131 and 1577836800000 stand for."""
    wild = (values > 2**62) | (values < -(2**62))
    form: Form = "plain"
    none = wild
    if not wild.any():
        form, none = number_form(values.astype(np.int64))
    if none.any() and form != "plain":
        row = int(none.argmax())
        raise InputError(f"{where(row)} is {values[row]}, no date, but the others are {NUMBERS[form]}: {HINT}")
    wild |= (np.abs(values.astype(float)) > LARGEST) & (form != "ns")
    if wild.any():
        row = int(wild.argmax())
        raise InputError(f"{where(row)} is {values[row]}, too large for a step: {HINT}")
    return from_numbers(values.astype(np.int64), form), Clock(form)


def _text(value: object) -> str:
    """What a cell says: text as it is, dates and periods by their own ISO form."""
    if value is None:
        return ""
    return str(value.isoformat() if hasattr(value, "isoformat") else value).strip()


def _stamp(text: str) -> tuple[np.datetime64, dt.timedelta | None] | None:
    """A date and, where it has one, how far its zone is ahead of UTC."""
    quarter = QUARTER.fullmatch(text)
    if quarter:
        return np.datetime64(f"{quarter[1]}-{3 * int(quarter[2]) - 2:02d}-01", "us"), None
    match = STAMP.fullmatch(text)
    if not match:
        return None
    year, month, day, clock, zone = match.groups()
    try:
        return np.datetime64(f"{year}-{month}-{day or '01'}" + (f"T{clock}" if clock else ""), "us"), _offset(zone)
    except ValueError:  # the 31st of a short month, hour 25
        return None


def _offset(zone: str | None) -> dt.timedelta | None:
    if zone is None or zone == "Z":
        return None if zone is None else dt.timedelta()
    minutes = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
    if minutes >= 24 * 60:
        raise ValueError(zone)
    return dt.timedelta(minutes=minutes if zone[0] == "+" else -minutes)


def format_times(times: Times) -> list[str]:
    """The column as text: dates alone where every time is midnight."""
    if times.dtype.kind != "M":
        return [str(t) for t in times.tolist()]  # of a time with a zone 2020-01-31 14:00:00+01:00
    days = times.astype("datetime64[D]")
    if (days == times).all():
        return [str(t) for t in np.datetime_as_string(days).tolist()]
    seconds = times.astype("datetime64[s]")
    shown = seconds if (seconds == times).all() else times
    return [t.replace("T", " ") for t in np.datetime_as_string(shown).tolist()]
