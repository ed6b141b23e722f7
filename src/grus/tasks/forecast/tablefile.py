"""CSV and Parquet files: columns as they stand there, and the line of each row where there are lines."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.files import write_whole
from grus.tasks.forecast.times import format_times

if TYPE_CHECKING:
    from grus.tasks.forecast.table import Table

__all__ = ["WRITTEN", "read", "write"]

PARQUET = (".parquet", ".pq")
WRITTEN = (".csv", *PARQUET)  # the endings of the files that are written
Columns = dict[str, NDArray[Any]]


def read(path: str | os.PathLike[str]) -> tuple[Columns, NDArray[np.int64] | None]:
    """The columns of a CSV or Parquet file, and the line each row of a CSV file stands in, counted from 1.

    Raises FileNotFoundError, or InputError for a file that is empty, damaged, or no table.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no data file {os.fspath(path)!r}")
    return (_read_parquet(path), None) if _is_parquet(path) else _read_csv(path)


def _is_parquet(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in PARQUET


def _read_csv(path: str | os.PathLike[str]) -> tuple[Columns, NDArray[np.int64]]:
    name = os.fspath(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text (byte {error.start}): save it as CSV in UTF-8") from None
    first = next(iter(text.lstrip("\r\n").splitlines()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not CSV: {error}") from None
    if not rows:
        raise InputError(f"{name} is empty: expected a header (unique_id,ds,y) and rows")
    header = [cell.strip() for cell in rows[0]]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise InputError(f"{name}, line {line}: {len(row)} cells, but the header has {len(header)}: quote commas")
    _check_header(name, header)
    cells = list(zip(*rows[1:], strict=True)) or [()] * len(header)
    columns = {column: np.array(values, dtype=object) for column, values in zip(header, cells, strict=True)}
    return columns, np.array(lines[1:], dtype=np.int64)


def _check_header(name: str, header: list[str]) -> None:
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise InputError(f"{name} has the column {twice[0]!r} twice: rename one")


def _pyarrow(path: str | os.PathLike[str]) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{os.fspath(path)} is Parquet, which needs pyarrow: pip install 'grus[parquet]'") from None
    return pyarrow


def _read_parquet(path: str | os.PathLike[str]) -> Columns:
    arrow = _pyarrow(path)
    try:
        _check_header(os.fspath(path), arrow.parquet.read_schema(os.fspath(path)).names)
        table = arrow.parquet.read_table(os.fspath(path))
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{os.fspath(path)} is not a Parquet file, or is damaged: {reason}") from None
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if arrow.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if arrow.types.is_timestamp(column.type) and column.type.tz not in (None, "UTC", "Z", "+00:00"):
            # as text, which names the zone: to_numpy would move the times to UTC and say nothing
            columns[name] = np.array([None if v is None else v.isoformat() for v in column.to_pylist()], dtype=object)
            continue
        columns[name] = column.to_numpy()
    return columns


def write(table: Table, path: str | os.PathLike[str]) -> None:
    """Write the table whole or not at all, as CSV or as Parquet, by the name's ending; NaN is an empty cell.

    Raises InputError for another ending; a name without one is CSV.
    """
    if Path(path).suffix.lower() not in ("", *WRITTEN):
        raise InputError(f"{os.fspath(path)} is to be written, but its name ends in none of {', '.join(WRITTEN)}")
    if _is_parquet(path):
        arrow = _pyarrow(path)
        buffer = io.BytesIO()
        columns = {n: (c.tolist() if c.dtype.kind in "UO" else c) for n, c in table.items()}
        arrow.parquet.write_table(arrow.table(columns), buffer)
        write_whole(path, buffer.getvalue())
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(_cells(column) for column in table.values()), strict=True))
    write_whole(path, text.getvalue().encode())


def _cells(column: NDArray[Any]) -> list[Any]:
    if column.dtype.kind == "M":
        return format_times(column)
    if column.dtype.kind == "f":
        return ["" if math.isnan(v) else repr(v) for v in column.tolist()]
    return list(column.tolist())
