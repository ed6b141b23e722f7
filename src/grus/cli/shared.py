"""What the verbs share: options, and the checks that come before any work."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grus.errors import InputError
from grus.tasks.columns import STDIN

if TYPE_CHECKING:
    from grus.tasks.forecast.table import Table

__all__ = [
    "add_columns",
    "add_threads",
    "check_output",
    "count",
    "data",
    "floats",
    "names",
    "natural",
    "positive",
    "read_table",
    "set_threads",
]


def add_columns(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("columns of the table")
    group.add_argument("--id-col", default="unique_id", metavar="NAME", help="which series (default: %(default)s)")
    group.add_argument("--time-col", default="ds", metavar="NAME", help="when (default: %(default)s)")
    group.add_argument("--target-col", default="y", metavar="NAME", help="what to forecast (default: %(default)s)")


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: one a core)")


def data(text: str) -> Path:
    """A file to read; ``-`` is the standard input."""
    return Path(STDIN if text == "-" else text)


def positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def natural(text: str) -> int:
    """An integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 0")
    return int(text)


def floats(text: str) -> tuple[float, ...]:
    """``0.1,0.5,0.9``"""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.1,0.5,0.9") from None


def names(text: str) -> tuple[str, ...]:
    """``price,holiday``"""
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names such as price,holiday")
    return parts


def count(number: int, what: str) -> str:
    """``1 row``, ``2,000 rows``"""
    return f"{number:,} {what}{'s' * (number != 1)}"


def set_threads(threads: int | None) -> None:
    if threads is not None:
        from grus.runtime.kernels import set_num_threads

        set_num_threads(threads)


def read_table(path: Path, options: argparse.Namespace, *, target: bool = True) -> Table:
    """The table in a file, its columns named by the options of :func:`add_columns`."""
    from grus.tasks.forecast.table import Table

    columns = {"id_col": options.id_col, "time_col": options.time_col, "target_col": options.target_col}
    return Table.read(path, target=target, **columns)


def check_output(option: str, path: Path | None, *inputs: Path | None, suffixes: Sequence[str] = ()) -> None:
    """Raise InputError, before any work, when ``path`` could not be written or is one of the inputs.

    suffixes: the endings its name may have, besides none; () for any.
    """
    if path is None:
        return
    if str(path) == "-":
        raise InputError(f"{option} '-': nothing is written to standard output, expected the name of a file")
    if suffixes and path.suffix.lower() not in ("", *suffixes):
        raise InputError(f"{option} {str(path)!r}: cannot write {path.suffix!r}, expected {' or '.join(suffixes)}")
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if path.is_dir():
        raise InputError(f"{option} {str(path)!r} is a folder, expected the name of a file to write")
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {str(path)!r} is a device or a pipe, expected the name of a file to write")
    if not folder.is_dir():
        raise InputError(f"{option} {str(path)!r}: there is no folder {str(folder)!r}, make it first")
    for other in inputs:
        if other is not None and other.exists() and path.exists() and os.path.samefile(path, other):
            raise InputError(f"{option} {str(path)!r} is also an input, and would be written over: choose another name")
    try:  # only a trial says whether a file can be made: access() does not know every file system
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{option} {str(path)!r}: cannot write into {str(folder)!r}: {error.strerror}") from None
