"""What the verbs of ``grus classify`` share: how their data is read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from grus.cli import options as settings
from grus.cli import shared
from grus.tasks.classify import files

if TYPE_CHECKING:
    from grus.tasks.classify.examples import Examples

__all__ = ["DATA", "FORMATS", "add_columns", "add_longest", "read"]

DATA = "a table (.csv, .parquet, .jsonl), a folder, .ts or .npz"
FORMATS = """\
data:
  a table of texts             text,label: a text a row (CSV, Parquet, or JSON lines)
  a folder                     FOLDER/CLASS/*.txt, or of folders train and test with these
  a table of steps             unique_id,token,label: a word a row, each with a label; or unique_id,…,label with
                               columns of numbers, and ds where the order of rows is not that of time
  .ts, .npz                    series of the UCR and UEA archive; arrays X, y and lengths
  -                            standard input: a table as CSV, or JSON lines; for predict also a text a line
"""


def add_columns(parser: argparse.ArgumentParser) -> None:
    settings.add(parser, files.Names)
    group = parser.add_argument_group("how it is read")
    what = "one label a series or one a step (default: auto, by the data)"
    group.add_argument("--labels", choices=("auto", "sequence", "step"), default="auto", help=what)
    shared.add_encoding(group)


def add_longest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--longest", type=shared.natural, metavar="N", help="steps read, 0 for all (default: as in fit)"
    )


def read(path: Path, options: argparse.Namespace, *, lines: bool = False) -> Examples:
    """The examples in a file or folder, as the options of :func:`add_columns` say."""
    names = settings.settings(options, files.Names)
    return files.read(path, names, labels=options.labels, encoding=options.encoding, lines=lines)
