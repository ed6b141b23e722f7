"""A table on its grid: every series a row of one matrix, right-aligned, gaps and the time before its start as NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.clocks import Clock
from grus.tasks.forecast.covariates import Categories, columns_of, unseen
from grus.tasks.forecast.frequency import Frequency
from grus.tasks.forecast.grid import on_grid, positions
from grus.tasks.forecast.ids import series_of
from grus.tasks.forecast.static import static_column
from grus.tasks.forecast.table import Table
from grus.tasks.times import Times

__all__ = ["Panel", "make_panel"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """N series of at most T steps; column T - 1 is the present of each, the last step at which y is known.

    ids: [N] as they came. present: [N] the time of column T - 1. y: [N, T], NaN where missing.
    past: [N, T, number of past covariates]. future: [N, T + horizon, number of future covariates], the last horizon
    columns after the present. static: by name [N] floats or text. clock: how each series' times were written. notes:
    what was left out or guessed on the way here.
    """

    ids: NDArray[Any]
    frequency: Frequency
    present: Times
    horizon: int
    y: Floats
    past: Floats
    future: Floats
    static: dict[str, NDArray[Any]]
    clock: Clock = field(default_factory=Clock)
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        return int(self.y.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] steps from a series' first value of y to the present; 0 when it has none."""
        known = ~np.isnan(self.y)
        return np.where(known.any(axis=1), self.steps - known.argmax(axis=1), 0)

    def before(self, steps: int) -> Panel:
        """The panel as it was ``steps`` ago: the same series without what they learnt since."""
        if steps == 0:
            return self
        keep = max(self.steps - steps, 0)
        units = self.frequency.units(self.present) - steps * self.frequency.step
        return replace(
            self,
            present=self.frequency.times(units),
            y=self.y[:, :keep],
            past=self.past[:, :keep],
            future=self.future[:, : keep + self.horizon],
        )

    def take(self, rows: NDArray[np.int64]) -> Panel:
        """The panel of some of the series, no wider than they need."""
        first = self.steps - int(self.lengths[rows].max(initial=0))
        return replace(
            self,
            ids=self.ids[rows],
            present=self.present[rows],
            y=self.y[rows, first:],
            past=self.past[rows, first:],
            future=self.future[rows, first:],
            static={name: values[rows] for name, values in self.static.items()},
            clock=self.clock.take(rows),
        )

    def ahead(self) -> NDArray[Any]:
        """[N, horizon] the times after each present, as the table had them."""
        times = self.frequency.after(self.present, self.horizon)
        rows = np.repeat(np.arange(len(self.ids)), self.horizon)
        return self.clock.take(rows).written(times.reshape(-1)).reshape(times.shape)


def make_panel(
    table: Table,
    frequency: Frequency,
    horizon: int,
    *,
    past: Sequence[str] = (),
    future: Sequence[str] = (),
    static: Sequence[str] = (),
    text: Sequence[str] = (),
    known: Categories = MappingProxyType({}),
    ahead: Table | None = None,
) -> Panel:
    """The table on its grid. A series' present is its last row with a value of y; what past covariates say after it
    is not read. Of the static columns those in ``text`` are read as text, the others as numbers where all are numbers.
    known: the categories of past and future columns that have such. ``ahead`` has the future covariates' rows after the
    present, where the table itself has not.

    Every series has a value of y, and one of each static column (see :mod:`grus.tasks.forecast.sound`). Raises
    InputError for a column that is missing or of the wrong kind, and for a time off the grid.
    """
    table = on_grid(table, frequency)
    steps = positions(frequency, table)
    there = ~np.isnan(table["y"])
    count = len(table.ids)
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, -1)
    np.minimum.at(first, table.codes[there], steps[there])
    np.maximum.at(last, table.codes[there], steps[there])
    width = int((last - first).max()) + 1
    columns = width - 1 - last[table.codes] + steps

    def place(values: Floats, size: int) -> Floats:
        matrix = np.full((count, size), np.nan)
        inside = (columns >= 0) & (columns < size)
        matrix[table.codes[inside], columns[inside]] = values[inside]
        return matrix

    def stack(matrices: list[Floats], size: int) -> Floats:
        return np.stack(matrices, axis=2) if matrices else np.empty((count, size, 0))

    known_ahead = stack([place(c, width + horizon) for c in columns_of(table, future, known)], width + horizon)
    if ahead is not None and future:
        _fill_ahead(known_ahead, ahead, table, frequency, last, width, future, known)
    origin = frequency.units(table.times[table.starts])
    notes = [*table.notes, *unseen(table, known)]
    if ahead is not None:
        notes += [*ahead.notes, *unseen(ahead, {name: known[name] for name in known if name in future})]
    return Panel(
        ids=table.ids,
        frequency=frequency,
        present=frequency.times(origin + last * frequency.step),
        horizon=horizon,
        y=place(table["y"], width),
        past=stack([place(c, width) for c in columns_of(table, past, known)], width),
        future=known_ahead,
        static={name: static_column(table, name, as_text=name in text).values for name in static},
        clock=table.clock.take(np.append(table.starts[1:], table.num_rows) - 1),
        notes=tuple(dict.fromkeys(notes)),
    )


def _fill_ahead(
    matrix: Floats,
    ahead: Table,
    table: Table,
    frequency: Frequency,
    last: NDArray[np.int64],
    width: int,
    names: Sequence[str],
    categories: Categories,
) -> None:
    """Put the rows of ``ahead`` where the table says nothing; series the table does not have are passed over."""
    known = series_of(table.ids, ahead.ids)
    if (known < 0).all():
        raise InputError(
            f"{ahead.source} has none of the series: it has {_few(ahead.ids)}, expected such as {_few(table.ids)}"
        )
    row_series = known[ahead.codes]
    rows = np.flatnonzero(row_series >= 0)
    series = row_series[rows]
    times = (ahead.as_steps() if frequency.unit == "integer" else ahead).times_on(table.clock)[rows]
    fits = frequency.fits(times)
    units = frequency.units(times) - frequency.units(table.times[table.starts])[series]
    steps, rest = np.divmod(units, frequency.step)
    off = ~fits | (rest != 0)
    if off.any():
        row = int(rows[off.argmax()])
        raise InputError(
            f"{ahead.where(row, 'ds')} is {ahead.time_text(row)}, not on the grid {frequency.name!r} of the series"
        )
    columns = width - 1 - last[series] + steps
    inside = (columns >= 0) & (columns < matrix.shape[1])
    series, columns, rows = series[inside], columns[inside], rows[inside]
    for k, column in enumerate(columns_of(ahead, names, categories)):
        values = column[rows]
        open_cells = np.isnan(matrix[series, columns, k])
        matrix[series[open_cells], columns[open_cells], k] = values[open_cells]


def _few(ids: NDArray[Any]) -> str:
    return ", ".join(repr(name) for name in ids[:3].tolist())
