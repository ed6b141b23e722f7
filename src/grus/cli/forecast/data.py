"""What the verbs of ``grus forecast`` share: how their table is read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grus.tasks.forecast.table import Table

__all__ = ["DATA", "add_columns", "add_strict", "read"]

DATA = "a CSV or Parquet file, - for standard input"


def add_columns(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("columns of the table")
    group.add_argument("--id-col", default="unique_id", metavar="NAME", help="which series (default: %(default)s)")
    group.add_argument("--time-col", default="ds", metavar="NAME", help="when (default: %(default)s)")
    group.add_argument("--target-col", default="y", metavar="NAME", help="what to forecast (default: %(default)s)")


def add_strict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strict",
        action="store_true",
        help="end with an error where a series would be left out or a cell is no number",
    )


def read(path: Path, options: argparse.Namespace, *, target: bool = True) -> Table:
    """The table in a file, its columns named by the options of :func:`add_columns`."""
    from grus.tasks.forecast.table import Table

    columns = {"id_col": options.id_col, "time_col": options.time_col, "target_col": options.target_col}
    return Table.read(path, target=target, **columns)
