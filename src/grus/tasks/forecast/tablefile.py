"""Tables of series read from files, and written as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.files import write_whole
from grus.tasks import columns
from grus.tasks.times import format_times

__all__ = ["WRITTEN", "as_csv", "read", "write"]

WRITTEN = (".csv", *columns.PARQUET)  # the endings of the files that are written


def read(path: str | os.PathLike[str]) -> tuple[columns.Columns, NDArray[np.int64] | None]:
    """The columns of a CSV or Parquet file, and the line each row of a CSV file stands in, counted from 1.

    Raises FileNotFoundError, or InputError for a file that is empty, damaged, or no table.
    """
    return columns.read(path, expected="unique_id,ds,y")


def write(table: Mapping[str, NDArray[Any]], path: str | os.PathLike[str]) -> None:
    """Write the table whole or not at all, as CSV or as Parquet, by the name's ending; NaN is an empty cell.

    Raises InputError for another ending; a name without one is CSV.
    """
    if Path(path).suffix.lower() not in ("", *WRITTEN):
        raise InputError(f"{os.fspath(path)} is to be written, but its name ends in none of {', '.join(WRITTEN)}")
    if columns.is_parquet(path):
        arrow = columns.pyarrow(path)
        buffer = io.BytesIO()
        cells = {n: (c.tolist() if c.dtype.kind in "UO" else c) for n, c in table.items()}
        arrow.parquet.write_table(arrow.table(cells), buffer)
        write_whole(path, buffer.getvalue())
        return
    write_whole(path, as_csv(table).encode())


def as_csv(table: Mapping[str, NDArray[Any]]) -> str:
    """The table as CSV; NaN is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(_cells(column) for column in table.values()), strict=True))
    return text.getvalue()


def _cells(column: NDArray[Any]) -> list[Any]:
    if column.dtype.kind == "M":
        return format_times(column)
    if column.dtype.kind == "f":
        return ["" if math.isnan(v) else repr(v) for v in column.tolist()]
    return list(column.tolist())
