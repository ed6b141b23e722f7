"""A long table of series: unique_id, ds, y and covariates, as NumPy columns sorted by series and time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.checks import alike
from grus.tasks.clocks import NUMBERS, Clock
from grus.tasks.forecast import tablefile
from grus.tasks.forecast.cells import cell_text, is_absent, missing, numbers, remedy
from grus.tasks.forecast.far import far_rows
from grus.tasks.forecast.ids import ONE, is_one_series
from grus.tasks.times import Times, format_times, read_times

__all__ = ["Table", "as_table"]

SHOWN = 40  # characters of a cell in a message
LARGEST = 1e100  # beyond it squares would overflow; no measurement is
Column = NDArray[Any]


class Table(Mapping[str, Column]):
    """Columns by name, equally long; rows sorted by series (in order of first appearance), then by time.

    unique_id: the series, as it came. ds: int64 steps, datetime64[us], or as it came where that was a time with a zone
    or a number that stands for a date; :attr:`times` are the same as Grus counts with them. y: float64, NaN where
    missing; there only with ``target``. Every other column is kept as it came; :meth:`numeric` reads one as numbers.

    A row that lies absurdly far from the rest of its series is left out, and a cell of y that is no number is missing,
    unless most are none. ``notes`` say so, and what else was guessed; ``unread`` has the messages about such cells, for
    whoever wants them as errors.

    ``columns`` is any mapping or frame whose columns ``np.asarray`` understands (a dict, pandas, polars). ``source``
    and ``lines`` (the line of each row in its file) make the messages.

    Raises InputError for a missing column, a time that is none, y that is text, infinities, or a (series, time) twice.
    """

    def __init__(
        self,
        columns: Any,
        *,
        source: str = "the table",
        lines: NDArray[np.int64] | None = None,
        target: bool = True,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
    ) -> None:
        self.source = source
        names = getattr(
            columns, "column_names", getattr(columns, "columns", columns)
        )  # pyarrow; pandas, polars; a dict
        raw = {str(name): _column(columns, name) for name in names}
        wanted = {"unique_id": id_col, "ds": time_col} | ({"y": target_col} if target or target_col in raw else {})
        unnamed = id_col == "unique_id" not in raw and is_one_series(raw, time_col, [*wanted.values()][1:])
        if unnamed:
            raw[id_col] = np.full(len(raw[time_col]), ONE)
        _check_columns(raw, wanted, source)
        self._names = {theirs: ours for ours, theirs in wanted.items()}
        self._lines = np.arange(1, len(raw[id_col]) + 1) if lines is None else lines
        self._unit = "row" if lines is None else "line"
        taken = set(wanted.values())
        self._columns = {ours: raw[theirs] for ours, theirs in wanted.items()}
        self._columns |= {name: raw[name] for name in raw if name not in taken and name not in wanted}
        self.notes: tuple[str, ...] = ()
        self.unread: tuple[str, ...] = ()
        self._read_keys()
        if "y" in wanted:
            self.__dict__ |= self.as_numbers("y").__dict__
            self._columns["y"] = self._target()
            near = self.without(far_rows(self.times, self.starts), "absurdly far from the rest of the series")
            self.__dict__ |= near.__dict__
        self.notes += alike(f"{source}: series", map(str, self.ids.tolist()))
        if unnamed:
            self.notes += (
                f"{source} has no column 'unique_id': all rows are one series (--id-col, id_col= name another)",
            )

    def _read_keys(self) -> None:
        """Parse ids and times, sort the rows, and refuse a (series, time) that is there twice."""
        ids = self._columns["unique_id"]
        if ids.dtype.kind not in "iu":
            texts = [cell_text(v) if isinstance(v, float) or is_absent(v) else str(v) for v in ids.tolist()]
            ids = np.array(texts, dtype=str)
            if (ids == "").any():
                raise InputError(f"{self.where(int((ids == '').argmax()), 'unique_id')} is empty: name the series")
        times, clock = read_times(self._columns["ds"], lambda row: self.where(row, "ds"))
        if clock.form in NUMBERS:
            self.notes = (f"the whole numbers in {self._theirs('ds')} are read as {NUMBERS[clock.form]}",)
        if clock.offsets:
            shown = ", ".join(clock.offsets)
            self.notes = (f"{self._theirs('ds')} has several zones ({shown}): forecasts keep each series' last one",)
        unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        rank = np.empty(unique.size, dtype=np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(unique.size)
        codes = rank[inverse.reshape(-1)]
        order = np.lexsort((times, codes))
        self._columns = {
            name: column[order] for name, column in (self._columns | {"unique_id": ids, "ds": times}).items()
        }
        self._lines = self._lines[order]
        self.clock: Clock = clock.take(order)
        self.codes: NDArray[np.int64] = codes[order]
        again = (np.diff(self.codes) == 0) & (self.times[1:] == self.times[:-1])
        if again.any():
            row = int(again.argmax())
            a, b = sorted((int(self._lines[row]), int(self._lines[row + 1])))
            raise InputError(
                f"{self.source}, {self._unit} {b}: series {self['unique_id'][row]!s} has ds {self.time_text(row)} "
                f"twice (first in {self._unit} {a}): keep one row for each series and time" + self._autumn(row)
            )
        self.starts: NDArray[np.int64] = np.flatnonzero(np.diff(self.codes, prepend=-1))

    def _autumn(self, row: int) -> str:
        time = self.times[row]
        if self.clock.zones is not None or self.times.dtype.kind != "M" or time == time.astype("datetime64[D]"):
            return ""
        return ", or, where an hour comes twice in autumn, write the zone too: 2020-10-25 02:00+01:00"

    def without(self, rows: NDArray[np.bool_], why: str) -> Table:
        """The table without some rows, and a note that names the first of them."""
        out = np.flatnonzero(rows)
        if not out.size:
            return self
        named = [
            f"{self._unit} {int(self._lines[row])} (series {self['unique_id'][row]!s}, "
            f"{self._theirs('ds')} {self.time_text(int(row))})"
            for row in out[:3]
        ]
        left = self.rows(~rows)
        left.notes += (
            f"{out.size:,} row{'s' * (out.size > 1)} left out, {why}: {', '.join(named)}{', …' * (out.size > 3)}",
        )
        return left

    def __getitem__(self, name: str) -> Column:
        return self.clock.written(self.times) if name == "ds" else self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def as_steps(self) -> Table:
        """The table with times as the whole numbers they came as; of dates that is the table itself."""
        if self.clock.form not in NUMBERS:
            return self
        table = self.rows(np.ones(self.num_rows, dtype=bool))
        table._columns["ds"], table.clock = self["ds"], Clock()
        return table

    @property
    def num_rows(self) -> int:
        return len(self._lines)

    @property
    def ids(self) -> Column:
        """[N] the series, in order of first appearance; series i has the rows starts[i] to starts[i + 1]."""
        return self._columns["unique_id"][self.starts]

    @property
    def times(self) -> Times:
        return self._columns["ds"]

    def times_on(self, clock: Clock) -> Times:
        """The times as a table with this clock counts them.

        Raises InputError where times of the day have a zone here and none there, or the other way around.
        """
        if (self.clock.zones is None) != (clock.zones is None) and not (self.clock.wall or clock.wall):
            have, lack = ("has", "have none") if self.clock.zones is not None else ("has no", "have one")
            raise InputError(
                f"{self.where(0, 'ds')} is {self.time_text(0)}, which {have} zone, but the series {lack}: "
                "write both alike"
            )
        return self.clock.moved(self.times, wall=clock.wall)

    def time_text(self, row: int) -> str:
        return self.time_texts([row])[0]

    def time_texts(self, rows: Any) -> list[str]:
        """The times of rows, by number or by mask, as they were written."""
        return format_times(self.clock.take(rows).written(self.times[rows]))

    def _theirs(self, column: str) -> str:
        return next((theirs for theirs, ours in self._names.items() if ours == column), column)

    def where(self, row: int, column: str) -> str:
        """File, line and column of a cell, as the user names them: the start of a message."""
        return f"{self.source}, {self._unit} {int(self._lines[row])}: {self._theirs(column)}"

    def _target(self) -> NDArray[np.float64]:
        """y; the infinities of a series are left to whoever leaves it out, unless there is no other."""
        numbers = self.numeric("y", finite=False)
        wild = np.isinf(numbers)
        if np.unique(self.codes[wild]).size == self.starts.size:
            raise InputError(self.not_finite(int(wild.argmax()), "y"))
        return numbers

    def not_finite(self, row: int, name: str) -> str:
        """The message about a cell that is infinite, or too large to be counted with."""
        value = numbers(self.column(name)[row : row + 1])[0]
        return f"{self.where(row, name)} is {value}, expected a finite number or an empty cell"

    def numeric(self, name: str, *, finite: bool = True) -> NDArray[np.float64]:
        """The column as float64, NaN where a cell is empty; not ``finite``: what is too large is infinite.

        Raises InputError for text, and for infinities.
        """
        values = self._read(name)
        bad = self._no_numbers(name, values)
        if bad.size:
            raise InputError(self._no_number(int(bad[0]), name))
        wild = np.abs(values) > LARGEST
        if wild.any() and finite:
            raise InputError(self.not_finite(int(wild.argmax()), name))
        return np.where(wild, np.inf, values)

    def as_numbers(self, name: str) -> Table:
        """The table with the cells of a column that are no numbers as missing values, and a note of them.

        Raises InputError where no more cells are numbers than are not: it is no column of numbers.
        """
        values = self._read(name)
        bad = self._no_numbers(name, values)
        table = Table.__new__(Table)
        table.__dict__ |= self.__dict__ | {"_columns": self._columns | {name: values}}
        if not bad.size:
            return table
        if bad.size >= np.count_nonzero(~np.isnan(values)):
            raise InputError(self._no_number(int(bad[0]), name))
        # numbers cut at their separators are the worst to miss: they may be all that are large
        first = int(min(bad, key=lambda row: (not remedy(self.column(name)[row]), self._lines[row])))
        table.unread += (self._no_number(first, name),)
        several = "s" * (bad.size > 1)
        table.notes += (f"{bad.size:,} cell{several} of {self._theirs(name)} read as missing: {table.unread[-1]}",)
        return table

    def is_numeric(self, name: str) -> bool:
        """Whether every cell of the column is a number or empty."""
        return self.column(name).dtype.kind not in "mM" and not self._no_numbers(name, self._read(name)).size

    def _read(self, name: str) -> NDArray[np.float64]:
        """The column as float64, NaN where a cell is no number."""
        values = self.column(name)
        if values.dtype.kind in "mM" and values.size:
            raise InputError(f"{self.where(0, name)} is {values[0]!s}, a time, expected a number")
        return values.astype(np.float64) if values.dtype.kind in "biuf" else numbers(values)

    def _no_numbers(self, name: str, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The rows where a cell of a column, read as ``values``, is neither a number nor empty."""
        if self.column(name).dtype.kind in "biuf":
            return np.empty(0, dtype=np.int64)
        empty = np.flatnonzero(np.isnan(values))
        return empty[~missing(self.column(name)[empty])]

    def _no_number(self, row: int, name: str) -> str:
        value = str(self.column(name)[row])
        hint = remedy(value) or "leave the cell empty where it is missing"
        return f"{self.where(row, name)} is {value[:SHOWN]!r}, expected a number ({hint})"

    def column(self, name: str) -> Column:
        """The column as it came. Raises InputError that says which columns there are."""
        if name not in self._columns:
            raise InputError(f"{self.source} has no column {name!r}; it has {', '.join(map(repr, self._columns))}")
        return self[name]

    def rows(self, mask: NDArray[np.bool_]) -> Table:
        """The table of the rows where ``mask`` is true, still sorted, each knowing its line."""
        table = Table.__new__(Table)
        table.__dict__ |= self.__dict__
        table._columns = {name: column[mask] for name, column in self._columns.items()}
        table._lines = self._lines[mask]
        table.clock = self.clock.take(mask)
        table.codes = np.unique(self.codes[mask], return_inverse=True)[1].reshape(-1)
        table.starts = np.flatnonzero(np.diff(table.codes, prepend=-1))
        return table

    def to_pandas(self) -> Any:
        """The table as a pandas.DataFrame (pandas must be installed)."""
        return import_module("pandas").DataFrame(dict(self))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file, or Parquet where the name ends so; whole or not at all.

        Raises InputError for a name with another ending.
        """
        tablefile.write(self, path)

    @staticmethod
    def read(
        path: str | os.PathLike[str],
        *,
        target: bool = True,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
    ) -> Table:
        """The table in a CSV or Parquet file. Raises InputError that names the file, the line and what to do."""
        columns, lines = tablefile.read(path)
        return Table(
            columns,
            source=os.fspath(path),
            lines=lines,
            target=target,
            id_col=id_col,
            time_col=time_col,
            target_col=target_col,
        )

    def __repr__(self) -> str:
        return f"Table({len(self.ids)} series, {self.num_rows} rows, columns {', '.join(self._columns)})"


def as_table(data: Any, *, target: bool = True) -> Table:
    """``data`` as a Table: one already, a path, or any mapping or frame of columns."""
    if isinstance(data, Table):
        return data
    if isinstance(data, (str, os.PathLike)):
        return Table.read(data, target=target)
    if not hasattr(data, "__getitem__") or not hasattr(data, "__iter__") or isinstance(data, (list, tuple, np.ndarray)):
        raise InputError(f"the data is a {type(data).__name__}, expected a path, a DataFrame or a dict of columns")
    return Table(data, target=target)


def _column(columns: Any, name: Any) -> Column:
    try:
        given = columns[name]
        values = np.asarray(_with_zone(given))
    except ValueError as error:  # a ragged list
        raise InputError(f"column {name!r} is no column: {error}") from None
    if values.ndim != 1:
        raise InputError(f"column {name!r} has the shape {values.shape}, expected one value a row")
    if values.dtype.kind in "OS" and values.size and all(isinstance(v, bytes) for v in values.tolist()):
        return np.array([v.decode(errors="backslashreplace") for v in values.tolist()], dtype=str)
    return values


def _with_zone(column: Any) -> Any:
    """A column of polars or PyArrow whose times have a zone as datetimes, for NumPy's have none."""
    zone = getattr(getattr(column, "dtype", None), "time_zone", None) or getattr(
        getattr(column, "type", None), "tz", None
    )
    if zone is None:
        return column
    return np.array(column.to_list() if hasattr(column, "to_list") else column.to_pylist(), dtype=object)


def _check_columns(raw: dict[str, Column], wanted: dict[str, str], source: str) -> None:
    flags = {"unique_id": "--id-col", "ds": "--time-col", "y": "--target-col"}
    for ours, theirs in wanted.items():
        if theirs not in raw:
            there = ", ".join(map(repr, raw)) or "none"
            raise InputError(
                f"{source} has no column {theirs!r}; it has {there}. Name the right one with {flags[ours]} "
                f"({flags[ours][2:].replace('-', '_')} in Python)"
            )
    if len(set(wanted.values())) < len(wanted):
        raise InputError(f"{source}: {', '.join(wanted)} must be different columns, got {list(wanted.values())}")
    sizes = {name: len(column) for name, column in raw.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"{source} has columns of unequal length: {sizes}")
    if not next(iter(sizes.values())):
        raise InputError(f"{source} has a header but no rows: there is nothing to forecast")
