"""Reading and writing the time column: integers, or dates and times written as ISO 8601 does, year first."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError

__all__ = ["Times", "format_times", "parse_times"]

Times: TypeAlias = NDArray[Any]  # int64, or datetime64[us]

INTEGER = re.compile(r"[+-]?\d{1,18}")
STAMP = re.compile(
    r"(\d{4})[-/](\d{2})(?:[-/](\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(?:\.0{7,9})?(?:Z|\+00:00)?)?)?"
)
QUARTER = re.compile(r"(\d{4})-?Q([1-4])")
LARGEST = 10**18  # beyond it differences of steps would overflow
HINT = "write dates as 2020-01-31 or 2020-01-31 14:00 (in UTC), or number the steps 1, 2, 3, …"


def parse_times(values: NDArray[Any], where: Callable[[int], str]) -> Times:
    """The column as int64 or datetime64[us]; ``where(row)`` names the file and line for a message.

    Raises InputError for an empty cell, for what is neither an integer nor a date, and for a mixture of both.
    """
    if values.dtype.kind in "iu":
        _check_range(values, where)
        return _integers(values.astype(np.int64), where)
    if values.dtype.kind == "M":
        missing = np.isnat(values)
        if missing.any():
            raise InputError(f"{where(int(missing.argmax()))} is empty: {HINT}")
        return values.astype("datetime64[us]")
    if values.dtype.kind == "f" and values.size and np.isfinite(values).all() and (values == np.trunc(values)).all():
        _check_range(values, where)
        return _integers(values.astype(np.int64), where)
    texts = [_text(v) for v in values.tolist()]
    unique, first, inverse = np.unique(np.array(texts, dtype=str), return_index=True, return_inverse=True)
    kinds = np.array([bool(INTEGER.fullmatch(t)) for t in unique.tolist()])
    if kinds.any() and not kinds.all():
        a, b = int(first[kinds].min()), int(first[~kinds].min())
        raise InputError(f"{where(max(a, b))} is {texts[max(a, b)]!r}, but {texts[min(a, b)]!r} came before: {HINT}")
    if unique.size and kinds.all():
        return _integers(np.array([int(t) for t in texts], dtype=np.int64), where)
    stamps = np.empty(unique.size, dtype="datetime64[us]")
    bad = []
    for i, text in enumerate(unique.tolist()):
        stamp = _stamp(text)
        if stamp is None:
            bad.append(int(first[i]))
        else:
            stamps[i] = stamp
    if bad:
        raise InputError(f"{where(min(bad))} is {texts[min(bad)]!r}, not a date: {HINT}")
    return stamps[inverse.reshape(-1)]


def _check_range(values: NDArray[Any], where: Callable[[int], str]) -> None:
    wild = (values > LARGEST) | (values < -LARGEST)
    if wild.any():
        row = int(wild.argmax())
        raise InputError(f"{where(row)} is {values[row]}, too large for a step: {HINT}")


def _text(value: object) -> str:
    """What a cell says: text as it is, dates and periods by their own ISO form."""
    if value is None:
        return ""
    return str(value.isoformat() if hasattr(value, "isoformat") else value).strip()


def _stamp(text: str) -> np.datetime64 | None:
    quarter = QUARTER.fullmatch(text)
    if quarter:
        return np.datetime64(f"{quarter[1]}-{3 * int(quarter[2]) - 2:02d}-01", "us")
    match = STAMP.fullmatch(text)
    if not match:
        return None
    year, month, day, clock = match.groups()
    try:
        return np.datetime64(f"{year}-{month}-{day or '01'}" + (f"T{clock}" if clock else ""), "us")
    except ValueError:  # the 31st of a short month, hour 25
        return None


def _integers(values: NDArray[np.int64], where: Callable[[int], str]) -> NDArray[np.int64]:
    """Steps as they are; but 202001, 202002 are months in disguise, and their gaps would not be gaps."""
    unique = np.unique(values)
    if unique.size > 2 and ((unique >= 19000101) & (unique < 21000101)).all():
        month, day = unique // 100 % 100, unique % 100
        disguised = bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())
    elif unique.size > 2 and ((unique >= 190001) & (unique < 210001)).all():
        month = unique % 100
        disguised = bool(((month >= 1) & (month <= 12)).all() and (np.diff(unique) >= 89).any())
    else:
        disguised = False
    if disguised:
        raise InputError(f"{where(0)} is {values[0]}, which looks like a date without its dashes: {HINT}")
    return values


def format_times(times: Times) -> list[str]:
    """The column as text: dates alone where every time is midnight."""
    if times.dtype.kind != "M":
        return [str(t) for t in times.tolist()]
    days = times.astype("datetime64[D]")
    if (days == times).all():
        return [str(t) for t in np.datetime_as_string(days).tolist()]
    seconds = times.astype("datetime64[s]")
    shown = seconds if (seconds == times).all() else times
    return [t.replace("T", " ") for t in np.datetime_as_string(shown).tolist()]
