"""Whose rows they are: a table without ids is one series, and ids of two tables meet whatever their types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ONE", "is_one_series", "series_of"]

ONE = "series"  # the id of a series that has none


def is_one_series(columns: Mapping[str, NDArray[Any]], time_col: str, taken: Collection[str]) -> bool:
    """Whether the rows of a table without ids can be one series: no time twice, and no other column is one of names
    that stay the same. taken: the columns of times and of the target.
    """
    if not {*taken} <= {*columns} or not len(columns[time_col]):
        return False
    times = columns[time_col].tolist()
    if len({str(time) for time in times}) < len(times):
        return False
    names = (columns[name] for name in columns if name not in taken)
    return not any(_is_text(column) and len({str(v) for v in column.tolist()}) == 1 for column in names)


def _is_text(column: NDArray[Any]) -> bool:
    if column.dtype.kind not in "OU":
        return False
    first = column.tolist()[0]
    return isinstance(first, str) and not first.strip().replace(".", "", 1).lstrip("+-").isdigit()


def series_of(ids: NDArray[Any], others: NDArray[Any]) -> NDArray[np.int64]:
    """[len(others)] the series each of ``others`` is, -1 for one that is not there: 1 is "1" and "01", and one series
    without a name is any other one.
    """
    if len(ids) == len(others) == 1 and ONE in (str(ids[0]), str(others[0])):
        return np.zeros(1, dtype=np.int64)
    plain = {str(name): i for i, name in enumerate(ids.tolist())}
    numbers: dict[int, int] = {}
    for text, i in plain.items():
        if text.isdecimal():
            numbers[int(text)] = -1 if int(text) in numbers else i
    found = [
        plain.get(text, numbers.get(int(text), -1) if text.isdecimal() else -1) for text in map(str, others.tolist())
    ]
    return np.array(found, dtype=np.int64)
