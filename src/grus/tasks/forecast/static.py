"""Static columns: one value a series."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.forecast.cells import cell_text
from grus.tasks.forecast.table import Table

__all__ = ["StaticColumn", "mixed", "static_column"]


@dataclass(frozen=True)
class StaticColumn:
    """cells: [rows] as read. values: [N] the first of each series that says something, number or text. has: [N] if
    there is one. differs: [rows] those that say something else.
    """

    cells: NDArray[Any]
    values: NDArray[Any]
    has: NDArray[np.bool_]
    differs: NDArray[np.bool_]


def static_column(table: Table, name: str, *, as_text: bool) -> StaticColumn:
    """A column of a table as numbers where all its cells are, and not ``as_text``; else as text."""
    if not as_text and table.is_numeric(name):
        cells: NDArray[Any] = table.numeric(name, finite=False)
        empty = ~np.isfinite(cells)
    else:
        cells = np.array([cell_text(v) for v in table.column(name).tolist()])
        empty = cells == ""
    rows = np.flatnonzero(~empty)
    series, first = np.unique(table.codes[rows], return_index=True)
    values = np.zeros(len(table.ids), dtype=cells.dtype)
    values[series] = cells[rows[first]]
    has = np.zeros(len(table.ids), dtype=bool)
    has[series] = True
    return StaticColumn(cells, values, has, ~empty & (cells != values[table.codes]))


def mixed(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """A note of each column that is read as text for the sake of a few cells, the others being numbers."""
    notes = []
    for name in names:
        with suppress(InputError):  # most are text
            unread = table.as_numbers(name).unread[len(table.unread) :]
            notes += [f"static column {name!r} is read as categories, for {message}" for message in unread]
    return tuple(notes)
