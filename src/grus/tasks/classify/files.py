"""Examples from files: tables of texts, of tokens and of series, folders of texts, .ts and .npz files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError, note
from grus.files import STDIN
from grus.tasks import columns
from grus.tasks.classify.labels import is_missing, plain
from grus.tasks.classify.npz import read_array, read_npz
from grus.tasks.classify.objects import IGNORED, LARGEST, Examples, from_objects
from grus.tasks.classify.plain_files import CONLL, parse_conll, parse_ucr
from grus.tasks.classify.ts import read_ts
from grus.tasks.options import Options, option
from grus.tasks.times import parse_times

__all__ = ["Names", "part", "read", "train_and_test"]

UNLABELLED = "unsup"


@dataclass(frozen=True)
class Names(Options):
    """The columns of a table: of texts with labels; of tokens or numbers, a row a step, with the sequence it is of.

    channels: the columns of numbers that are read; () for all that are nothing else.
    """

    title: ClassVar[str] = "the data"

    text: str = option("text", "column: the text", flag="--text-col", metavar="NAME")
    label: str = option("label", "column: the class", flag="--label-col", metavar="NAME")
    id: str = option("unique_id", "column: which sequence a row is of", flag="--id-col", metavar="NAME")
    token: str = option("token", "column: the word", flag="--token-col", metavar="NAME")
    time: str = option("ds", "column: when", flag="--time-col", metavar="NAME")
    channels: tuple[str, ...] = option((), "columns of numbers", metavar="A,…", otherwise="all others")


def read(
    path: str | os.PathLike[str],
    names: Names | None = None,
    *,
    labels: str = "auto",
    encoding: str = "utf-8",
    lines: bool = False,
) -> Examples:
    """The examples in a file or folder; without labels where it has none.

    A table (CSV, Parquet, or JSON lines) with a column of texts has a text a row; one with a column of tokens and one
    with neither has a step a row, in order of time where it has a column of times. A folder has a folder of .txt files
    for each class, or such files without classes. .ts, and .tsv and .txt without a header: the UCR and UEA archive;
    .npz and .npy: NumPy. .conll, .conllu, .iob, .bio and text files that look so: a word and its label a line.

    labels: "sequence" or "step", or "auto": of a series "step" where they differ within it. encoding: of text files.
    lines: it is read to predict: what comes from a pipe and has no header with such columns is a text a line, and texts
    need no label. Else a few rows of texts without one are left out, as are those without a text, with a note.
    Raises FileNotFoundError, or InputError that names the file, the line and what was expected.
    """
    names = names or Names()
    if labels not in ("auto", "sequence", "step"):
        raise InputError(f"labels is {labels!r}, expected 'auto', 'sequence' or 'step'")
    columns.check_encoding(encoding)
    examples = _read(path, names, labels, encoding, lines)
    if names.channels and examples.kind != "series":
        raise InputError(
            f"channels names {names.channels[0]!r}, but {os.fspath(path)} holds texts: leave channels out", "channels"
        )
    if labels != "auto" and examples.labels is not None and labels != examples.labelled:
        raise InputError(
            f"labels is {labels!r}, but {os.fspath(path)} has a label a {examples.labelled}: leave labels out", "labels"
        )
    return examples


def _read(path: str | os.PathLike[str], names: Names, labels: str, encoding: str, plain: bool) -> Examples:
    place = Path(path)
    if place.is_dir():
        return _read_folder(place, encoding)
    columns.check_there(path)
    match place.suffix.lower():
        case ".ts":
            return read_ts(path, encoding)
        case ".npz":
            return read_npz(path)
        case ".npy":
            return from_objects(read_array(path))
        case ".arff":
            raise InputError(f"{os.fspath(path)} is ARFF, expected the archive's .ts or .tsv file of the same series")
        case suffix if suffix in (*CONLL, ".txt", ".tsv"):
            text = columns.read_text(path, encoding)
            known = None if suffix in CONLL else parse_ucr(text, os.fspath(path))
            known = known or parse_conll(text, os.fspath(path), sure=suffix in CONLL)
            if known is not None:
                return known
        case _:
            pass  # a table
    if place.suffix.lower() == ".txt":
        raise InputError(f"{os.fspath(path)} is one text: expected a table, or a folder of texts for each class")
    piped = columns.read_text(path, encoding) if plain and os.fspath(path) == STDIN else None
    if piped is not None and piped.strip() and not _is_table(piped, names):
        texts = {n: text for n, text in enumerate(piped.rstrip().split("\n"), 1) if text.strip()}
        if len(texts) < (last := max(texts)):
            note(f"standard input: {last - len(texts)} of {last} lines are empty, and left out")
        return Examples("text", list(texts.values()), where=[f"standard input, line {n}" for n in texts])
    found, lines = columns.read(path, expected=f"{names.text},{names.label}", encoding=encoding, text=piped)
    table = _Table(os.fspath(path), found, lines)
    if not table.rows:
        raise InputError(f"{table.name} has a header but no rows")
    for field in fields(names):  # a name that was given is meant
        name = getattr(names, field.name)
        if field.name != "channels" and name != field.default and name not in found:
            has = ", ".join(map(repr, found))
            raise InputError(f"{table.name} has no column {name!r} (--{field.name}-col); it has {has}")
    if names.text in found:
        return _texts(table, names, needed=not plain)
    if names.id in found and names.token in found:
        return _tokens(table, names)
    if names.id in found:
        return _long_series(table, names, labels)
    raise InputError(
        f"{table.name} has neither a column {names.text!r} (--text-col) nor {names.id!r} (--id-col); it has "
        f"{', '.join(map(repr, found))}; a table with a series a row is read as .tsv without a header, its label first"
    )


def train_and_test(path: Path) -> tuple[Path, Path | None]:
    """The folders ``train`` and ``test`` of one that has them, each with classes, as archives do; else itself."""
    if not _has_parts(path):
        return path, None
    note(f"{path}: its folder train is trained on, and its folder test is for the test")
    return path / "train", path / "test"


def part(path: Path, name: str) -> Path:
    """The folder ``name``, train or test, of one that has both, with a note; any other path itself."""
    if not _has_parts(path):
        return path
    note(f"{path}: its folder {name} is read")
    return path / name


def _has_parts(path: Path) -> bool:
    parts = [path / "train", path / "test"]
    return path.is_dir() and all(one.is_dir() and any(map(_files, _folders(one))) for one in parts)


def _is_table(text: str, names: Names) -> bool:
    first = next(line for line in text.split("\n") if line.strip())
    header = {cell.strip().strip('"') for cell in re.split("[,;\t]", first)}
    return first.lstrip().startswith("{") or not header.isdisjoint({names.text, names.id})


class _Table:
    """Columns, and what their rows are called."""

    def __init__(self, name: str, found: columns.Columns, lines: NDArray[np.int64] | None) -> None:
        self.name, self.columns = name, found
        self.rows = len(next(iter(found.values()))) if found else 0
        self._lines, self._unit = (lines, "line") if lines is not None else (np.arange(1, self.rows + 1), "row")

    def place(self, row: int) -> str:
        return f"{self.name}, {self._unit} {int(self._lines[row])}"

    def sequences(self, names: Names) -> dict[str, list[int]]:
        """The rows of every sequence, in order of its first row, sorted by time where there is one."""
        ids = self.columns[names.id]
        order = np.arange(self.rows)
        if names.time in self.columns:
            times = parse_times(self.columns[names.time], lambda row: f"{self.place(row)}: {names.time}")
            order = np.argsort(times, kind="stable")
        found: dict[str, list[int]] = {}
        for row, value in enumerate(ids.tolist()):
            if is_missing(value):
                raise InputError(f"{self.place(row)}: {names.id} is empty: name the sequence")
            found.setdefault(str(value), [])
        for row in order.tolist():
            found[str(ids[row])].append(row)
        return found

    def label(self, row: int, names: Names) -> Any:
        """The label of a row, of the type it has in the file; None where the cell is empty, or says -100."""
        return _label(self.columns[names.label][row], f"{self.place(row)}: {names.label}")


def _label(value: Any, where: str) -> Any:
    if isinstance(value, str):
        value = value.strip()
    if isinstance(value, (dict, list, tuple, np.ndarray)):
        raise InputError(f"{where} is {str(value)[:60]}, expected one label")
    if is_missing(value) or str(value) == str(IGNORED):
        return None
    return plain(value, where)


def _texts(table: _Table, names: Names, *, needed: bool) -> Examples:
    """The texts of a table, those of a few rows left out that have none, or, where it is ``needed``, no label."""
    texts = table.columns[names.text].tolist()
    where = [table.place(row) for row in range(table.rows)]
    if isinstance(texts[0], (list, tuple, np.ndarray)):
        return _token_lists(table, names, where)
    for row, text in enumerate(texts):
        if not isinstance(text, str) and not is_missing(text):
            raise InputError(f"{where[row]}: {names.text} is {text!r}, expected text")
    texts = [text if isinstance(text, str) else "" for text in texts]
    labels = [table.label(row, names) for row in range(table.rows)] if names.label in table.columns else None
    lack = {names.text: [row for row, text in enumerate(texts) if not text.strip()]}
    if needed and labels is not None:
        lack[names.label] = [row for row, label in enumerate(labels) if label is None]
    out = {row for rows in lack.values() for row in rows}
    ids = [str(i) for i in table.columns[names.id].tolist()] if names.id in table.columns else None
    if out and 2 * len(out) < table.rows:
        ids = ids or [str(row + 1) for row in range(table.rows)]  # the others keep their numbers
        for name, rows in lack.items():
            if rows:
                note(
                    f"{len(rows):,} of {table.rows:,} rows left out, for their {name} is empty: first {where[rows[0]]}"
                )
    elif lack.get(names.label):
        raise InputError(f"{where[lack[names.label][0]]}: {names.label} is empty, expected a label")
    else:
        out = set()  # who reads the texts says which of them is empty
    examples = Examples("text", texts, labels, ids=ids, where=where)
    return examples.take(np.array([row for row in range(table.rows) if row not in out])) if out else examples


def _token_lists(table: _Table, names: Names, where: list[str]) -> Examples:
    """Of a file whose cells are lists: the words of a text, and a label for each."""
    tokens = [_list(table, row, names.text) for row in range(table.rows)]
    if names.label not in table.columns:
        return Examples("tokens", tokens, where=where)
    labels = [_labels(table, row, names.label) for row in range(table.rows)]
    for place, words, own in zip(where, tokens, labels, strict=True):
        if len(words) != len(own):
            raise InputError(f"{place} has {len(words)} tokens, but {len(own)} labels")
    return Examples("tokens", tokens, labels, "step", where=where)


def _list(table: _Table, row: int, name: str) -> list[str]:
    values = table.columns[name][row]
    if not isinstance(values, (list, tuple, np.ndarray)) or not all(isinstance(v, str) and v for v in values):
        raise InputError(f"{table.place(row)}: {name} is {str(values)[:60]}, expected a list of words as before")
    return list(values)


def _labels(table: _Table, row: int, name: str) -> list[Any]:
    values = table.columns[name][row]
    if not isinstance(values, (list, tuple, np.ndarray)):
        raise InputError(f"{table.place(row)}: {name} is {str(values)[:60]}, expected a list of labels")
    return [_label(value, f"{table.place(row)}: {name}") for value in values]


def _tokens(table: _Table, names: Names) -> Examples:
    sequences = table.sequences(names)
    column = table.columns[names.token]
    for row, token in enumerate(column.tolist()):
        if not isinstance(token, str) or not token:
            raise InputError(f"{table.place(row)}: {names.token} is {token!r}, expected a word")
    inputs = [[column[row] for row in rows] for rows in sequences.values()]
    labels = None
    if names.label in table.columns:
        labels = [[table.label(row, names) for row in rows] for rows in sequences.values()]
    where = [table.place(rows[0]) for rows in sequences.values()]
    return Examples("tokens", inputs, labels, "step", ids=list(sequences), where=where)


def _long_series(table: _Table, names: Names, labels: str) -> Examples:
    taken = {names.id, names.time, names.label}
    channels = names.channels or tuple(name for name in table.columns if name not in taken)
    unknown = [name for name in channels if name not in table.columns]
    if unknown or not channels:
        what = f"no column {unknown[0]!r}" if unknown else "no column of numbers"
        raise InputError(f"{table.name} has {what}; it has {', '.join(map(repr, table.columns))}")
    numbers = np.stack([_numbers(table, name) for name in channels], axis=1)
    sequences = table.sequences(names)
    examples = Examples(
        "series",
        [numbers[rows] for rows in sequences.values()],
        channels=channels,
        ids=list(sequences),
        where=[f"{table.name}, series {name}" for name in sequences],
    )
    return examples if names.label not in table.columns else _labelled(examples, table, names, sequences, labels)


def _labelled(
    examples: Examples, table: _Table, names: Names, sequences: dict[str, list[int]], labels: str
) -> Examples:
    cells = [table.label(row, names) for row in range(table.rows)]
    given = [sorted({cells[row] for row in rows} - {None}, key=str) for rows in sequences.values()]
    if labels == "step" or (labels == "auto" and any(len(found) > 1 for found in given)):
        steps = [[cells[row] for row in rows] for rows in sequences.values()]
        return replace(examples, labels=steps, labelled="step")
    for i, found in enumerate(given):
        if len(found) != 1:
            what = f"the labels {', '.join(map(str, found[:3]))}, expected one" if found else "no label"
            raise InputError(f"{examples.place(i)} has {what}")
    return replace(examples, labels=[found[0] for found in given])


def _numbers(table: _Table, name: str) -> NDArray[np.float64]:
    values = table.columns[name]
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
    else:
        numbers = np.array([_number(table, row, name, value) for row, value in enumerate(values.tolist())])
    wild = np.abs(numbers) > LARGEST
    if wild.any():
        row = int(wild.argmax())
        raise InputError(f"{table.place(row)}: {name} is {numbers[row]}, expected a finite number or an empty cell")
    return numbers


def _number(table: _Table, row: int, name: str, value: Any) -> float:
    if is_missing(value) or (isinstance(value, str) and value.strip().lower() in ("", "na", "nan", "?")):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{table.place(row)}: {name} is {str(value)[:40]!r}, expected a number (--channels names columns to read)"
        ) from None


def _read_folder(folder: Path, encoding: str) -> Examples:
    classes = _folders(folder)
    if len(classes) > 1 and any(kind.name == UNLABELLED for kind in classes):
        note(f"{folder}: {UNLABELLED} is left out: in IMDb's archive it holds texts without a label")
        classes = [kind for kind in classes if kind.name != UNLABELLED]
    found: list[tuple[Path, str]] = [(file, kind.name) for kind in classes for file in _files(kind)]
    labels: Sequence[str] | None = [name for _, name in found]
    for kind in classes if found else ():
        if not _files(kind):
            raise InputError(f"{str(kind)!r} has no .txt files, expected the texts of a class: remove it, or add some")
    if not found:
        found, labels = [(file, "") for file in _files(folder)], None
    if not found:
        raise InputError(f"{str(folder)!r} has no .txt files, nor folders of them, one for each class")
    texts = [columns.read_text(file, encoding) for file, _ in found]
    names = [str(file) for file, _ in found]
    return Examples("text", texts, labels, ids=[str(file.relative_to(folder)) for file, _ in found], where=names)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt" and path.is_file())
