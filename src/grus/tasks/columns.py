"""Tables in files: CSV, Parquet and JSON lines as columns, as they stand there, and the line of each row."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus import installed
from grus.errors import InputError
from grus.files import STDIN

__all__ = [
    "JSON_LINES",
    "PARQUET",
    "Columns",
    "check_encoding",
    "check_there",
    "is_parquet",
    "lone_surrogate",
    "pyarrow",
    "read",
    "read_bytes",
    "read_text",
]

FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive, such as an Excel workbook"),
    (b"\x1f\x8b", "packed by gzip"),
    (b"PAR1", "Parquet"),
)
PARQUET = (".parquet", ".pq")
JSON_LINES = (".jsonl", ".ndjson")
LONGEST_CELL = 1 << 30  # characters; Python's own limit of 131,072 is less than a long text
Columns = dict[str, NDArray[Any]]


def read(
    path: str | os.PathLike[str], *, expected: str, encoding: str | None = None, text: str | None = None
) -> tuple[Columns, NDArray[np.int64] | None]:
    """The columns of a CSV, Parquet or JSON lines file, and the line each row stands in, counted from 1 (not Parquet).

    What begins with a brace is JSON lines, whatever its name. expected: the columns of a usual header, for the message
    about an empty file. encoding: None where it cannot be chosen, and is UTF-8. text: what the file holds, where it was
    read before. A key that a line of JSON lacks is None. Raises FileNotFoundError, or InputError for a file that is
    empty, damaged, or no table.
    """
    check_there(path)
    if is_parquet(path):
        return _read_parquet(path), None
    text = read_text(path, encoding) if text is None else text
    begins = text.lstrip()[:1]
    if begins == "[" and Path(path).suffix.lower() in (".json", ""):
        raise InputError(f"{os.fspath(path)} is a list in JSON: expected an object a line, as jq -c '.[]' writes it")
    if Path(path).suffix.lower() in JSON_LINES or begins == "{":
        return _read_json(os.fspath(path), text, expected)
    return _read_csv(os.fspath(path), text, expected)


def check_there(path: str | os.PathLike[str]) -> None:
    """Raise FileNotFoundError where there is no file, pipe or device of this name."""
    if os.fspath(path) != STDIN and (not Path(path).exists() or Path(path).is_dir()):
        raise FileNotFoundError(f"no data file {os.fspath(path)!r}")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """What a file holds, or what is left of the standard input, which on some systems no file stands for."""
    return sys.stdin.buffer.read() if os.fspath(path) == STDIN else Path(path).read_bytes()


def is_parquet(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in PARQUET


def check_encoding(encoding: str) -> str:
    """Python's name of an encoding; a byte order mark of UTF-8 is no part of the text. Raises InputError for none."""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)  # not every codec is one of text
    except (LookupError, ValueError):
        raise InputError(
            f"encoding is {encoding!r}, expected the name of one, such as utf-8 or latin-1", "encoding"
        ) from None
    return "utf-8-sig" if name == "utf-8" else name


def read_text(path: str | os.PathLike[str], encoding: str | None = None) -> str:
    """The text of a file; None: UTF-8, and no other can be chosen.

    Raises InputError for a file that is no text, or that names the first byte that is not in the encoding.
    """
    codec, data = check_encoding(encoding or "utf-8"), read_bytes(path)
    for magic, what in FOREIGN:
        if data.startswith(magic) and (magic != b"PAR1" or data.endswith(magic)):
            raise InputError(f"{os.fspath(path)} is {what}, not text: save what it holds as text in UTF-8")
    try:
        text = data.decode(codec)
    except UnicodeError as error:
        name = "UTF-8" if codec == "utf-8-sig" else codec
        likely = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
        other = "" if encoding is None else f", or give its encoding, such as encoding={likely!r}"
        raise InputError(
            f"{os.fspath(path)} is not {name} text{_byte(error, data)}: save it in UTF-8{other}", "encoding"
        ) from None
    surrogate = lone_surrogate(text)  # which some encodings let through
    if surrogate:
        raise InputError(f"{os.fspath(path)} has {surrogate}, a lone surrogate: it is half a character")
    return text


def _byte(error: UnicodeError, data: bytes) -> str:
    if not isinstance(error, UnicodeDecodeError):  # not every codec tells where
        return ""
    offset = error.start + len(data) - len(error.object)  # it does not count a byte order mark
    return f" (byte 0x{error.object[error.start]:02x} at offset {offset:,}: {error.reason})"


def lone_surrogate(text: str) -> str | None:
    """The first half of a surrogate pair that stands alone, as its escape: a str may hold it, but no UTF-8 can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return None


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_csv(name: str, text: str, expected: str) -> tuple[Columns, NDArray[np.int64]]:
    first = next(iter(text.lstrip("\r\n").splitlines()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    rows: list[list[str]] = []
    lines = []
    try:
        with _long_cells():
            for row in reader:
                if any(cell.strip() for cell in row) or (rows and len(row) == len(rows[0]) == 1):  # "" is a cell
                    rows.append(row)
                    lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not CSV: {error}") from None
    if not rows:
        raise InputError(f"{name} is empty: expected a header ({expected}) and rows")
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


def _read_json(name: str, text: str, expected: str) -> tuple[Columns, NDArray[np.int64]]:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):  # other line ends may stand within a string
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            where = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            raise InputError(f"{name}, line {number}: not JSON: {getattr(error, 'msg', error)}{where}") from None
        surrogate = lone_surrogate(json.dumps(row, ensure_ascii=False)) if "\\ud" in line.lower() else None
        if surrogate:
            raise InputError(f"{name}, line {number}: {surrogate} is a lone surrogate, half a character")
        if not isinstance(row, dict):
            raise InputError(f"{name}, line {number}: a JSON {type(row).__name__}, expected an object with {expected}")
        rows.append(row)
        lines.append(number)
    if not rows:
        raise InputError(f"{name} is empty: expected lines of JSON objects with {expected}")
    columns = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        columns[key] = np.empty(len(rows), dtype=object)  # filled one by one: a cell may be a list
        for i, row in enumerate(rows):
            columns[key][i] = row.get(key)
    return columns, np.array(lines, dtype=np.int64)


def pyarrow(path: str | os.PathLike[str]) -> Any:
    """The package pyarrow. Raises InputError, naming the file that needs it, where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{os.fspath(path)} is Parquet, which needs pyarrow: {installed.command('parquet')}") from None
    return pyarrow


def _read_parquet(path: str | os.PathLike[str]) -> Columns:
    arrow = pyarrow(path)
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
        if arrow.types.is_timestamp(column.type) and column.type.tz is not None:
            # not to_numpy, which would move the times to UTC and say nothing
            column = column.cast(arrow.timestamp("us", column.type.tz), safe=False)
            columns[name] = np.array(column.to_pylist(), dtype=object)
            continue
        columns[name] = column.to_numpy()
    return columns
