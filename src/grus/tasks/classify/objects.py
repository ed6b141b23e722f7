"""Sequences and their labels, from Python's objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.classify.labels import is_missing, plain

__all__ = ["IGNORED", "LARGEST", "Examples", "channel_names", "column_names", "from_objects", "in_order"]

SEVERAL = "Grus gives one label a sequence, or one a step: fit a Classifier for each label, of True and False"
Kind: TypeAlias = Literal["text", "tokens", "series"]
IGNORED = -100  # a step's label that says it has none, as PyTorch's losses and taggers know it
LARGEST = 1e30  # beyond it float32 overflows soon; no measurement is


@dataclass(frozen=True)
class Examples:
    """Sequences to classify, in order.

    kind: "text" (inputs are str), "tokens" (lists of str) or "series" (float64 arrays [T, C], NaN where missing).
    labels: one a sequence, with ``labelled`` "step" a list of one a step, None for a step without; None where there
    are none at all.
    channels: names of a series' features. ids: what to call a sequence in an output. where: each one's place in a
    file, for messages.
    """

    kind: Kind
    inputs: Sequence[Any]
    labels: Sequence[Any] | None = None
    labelled: Literal["sequence", "step"] = "sequence"
    channels: tuple[str, ...] = ()
    ids: Sequence[str] | None = None
    where: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def place(self, index: int) -> str:
        """How to name a sequence in a message."""
        return f"sequence {index + 1}" if self.where is None else self.where[index]

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """The sequences of those rows, in that order."""

        def some(values: Sequence[Any] | None) -> list[Any] | None:
            return None if values is None else [values[i] for i in rows.tolist()]

        inputs = [self.inputs[i] for i in rows.tolist()]
        return replace(self, inputs=inputs, labels=some(self.labels), ids=some(self.ids), where=some(self.where))


def from_objects(X: Any, y: Any = None) -> Examples:
    """``X`` and ``y`` as examples; X may be examples already, or a sequence of str, of sequences of str (tokens), of
    arrays [T, C] or [T], or of frames, whose columns go by their names; or one column [N, 1] of str; or an array
    [N, T, C] or [N, T] of numbers, NaN where missing. y has a label for each, or a sequence of labels, one a step.

    Raises InputError that names what is wrong: mixed kinds, unequal channels, infinities, labels that do not fit.
    """
    if isinstance(X, Examples):
        if y is not None:
            raise InputError("y is given, but X has labels of its own")
        return X
    X = _texts_of(X)
    values = _listed("X", X)
    if not values:
        raise InputError("X has no sequences")
    if not hasattr(values[0], "__len__") and is_missing(values[0]):
        raise InputError(
            f"X[0] is {values[0]}, expected a text, or the steps of a sequence: leave it out, or fill it in"
        )
    kind = _kind(next((value for value in values if not hasattr(value, "__len__") or len(value)), values[0]))
    if kind == "series":
        names = column_names(values[0])
        examples = Examples(kind, _series(X, _by_name(values, names)))
        examples = replace(examples, channels=names or channel_names(examples.inputs[0].shape[1]))
    else:
        inputs = [_text(kind, value, i) for i, value in enumerate(values)]
        examples = Examples(kind, inputs)
    return examples if y is None else _with_labels(examples, y)


def channel_names(count: int) -> tuple[str, ...]:
    """Names for the channels of a series that has none."""
    return tuple(f"channel {i + 1}" for i in range(count))


def _listed(name: str, given: Any) -> list[Any]:
    single = isinstance(given, (str, bytes, dict, set)) or getattr(given, "shape", None) == ()
    if hasattr(given, "toarray"):
        raise InputError(
            f"{name} is a sparse matrix, a {type(given).__name__}: expected texts or series, one a sequence"
        )
    if single or not hasattr(given, "__len__") or not hasattr(given, "__iter__"):
        hint = ": a text goes into a list, a file is a pathlib.Path" if isinstance(given, str) else ""
        raise InputError(
            f"{name} is a {type(given).__name__}, expected a sequence with one entry for each sequence{hint}"
        )
    if hasattr(given, "shape"):
        given = as_numpy(given)
    if isinstance(given, np.ndarray) and given.dtype.kind in "OUS":
        return list(given.tolist())
    return list(given)


def _texts_of(X: Any) -> Any:
    """One column of texts, [N, 1], as [N]; anything else as it is. Raises InputError for a frame of several columns
    that are not all numbers.
    """
    if len(getattr(X, "shape", ())) != 2 or not X.shape[0]:
        return X
    columns = getattr(X, "columns", None)
    if columns is None and getattr(X, "dtype", np.dtype(float)).kind not in "OU":
        return X
    values = as_numpy(X)
    words = [isinstance(value, str) for value in values[0]]
    if values.shape[1] == 1 and all(words):
        return values[:, 0]
    if columns is not None and (any(words) or "unique_id" in columns):
        names = ", ".join(map(repr, columns))
        raise InputError(
            f"X is a table with the columns {names}, expected one column of texts, as in X[{str(columns[0])!r}], or a "
            "series of numbers a row; grus.tasks.classify.read takes such a table from a file"
        )
    return X


def column_names(frame: Any) -> tuple[str, ...]:
    """The names of a frame's columns; () where it is none, or its columns are numbered."""
    columns = list(getattr(frame, "columns", ()))
    return tuple(columns) if all(isinstance(name, str) for name in columns) else ()


def _by_name(frames: list[Any], names: tuple[str, ...]) -> list[Any]:
    """The frames with their columns in the order of the first one's."""
    if not names:
        return frames
    found = []
    for index, frame in enumerate(frames):
        own = column_names(frame)
        if set(own) != set(names) or len(own) != len(names):
            missing, more = [n for n in names if n not in own], [n for n in own if n not in names]
            what = f"has no column {missing[0]!r}" if missing else f"has the column {(more or own)[0]!r}"
            raise InputError(f"X[{index}] {what}, but X[0] has the columns {', '.join(map(repr, names))}")
        found.append(as_numpy(frame[list(names)]))
    return found


def in_order(frame: Any, names: Sequence[str]) -> Any:
    """A frame with a series a row, its columns, which are the steps, in the order of ``names``; another X as it is.

    Raises InputError where a column is missing, or there is another.
    """
    own = column_names(frame)
    if not own or tuple(names) == own:
        return frame
    for name in (*names, *own):
        if name not in own or name not in names:
            raise InputError(
                f"X has {'no' if name not in own else 'the'} column {name!r}, but was fitted to {', '.join(names)}"
            )
    return frame[list(names)]


def _kind(first: Any) -> Kind:
    if isinstance(first, str):
        return "text"
    tokens = isinstance(first, (list, tuple)) or (isinstance(first, np.ndarray) and first.dtype.kind in "UO")
    return "tokens" if tokens and len(first) and isinstance(first[0], str) else "series"


def _text(kind: Kind, value: Any, index: int) -> str | list[str]:
    if kind == "text":
        if not isinstance(value, str):
            raise InputError(f"X[{index}] is {_shown(value)}, expected a str as X[0] is")
        return value
    tokens = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
        raise InputError(f"X[{index}] is {_shown(value)}, expected a list of str as X[0] is")
    return list(tokens)


def _series(X: Any, values: list[Any]) -> list[NDArray[np.float64]]:
    whole = np.asarray(X) if isinstance(X, np.ndarray) or hasattr(X, "to_numpy") else None
    if whole is not None and whole.dtype.kind != "O" and whole.ndim not in (2, 3):
        raise InputError(f"X has the shape {whole.shape}, expected (N, T, C) or (N, T)")
    found: list[NDArray[np.float64]] = []
    for index, value in enumerate(values):
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"X[{index}] is {_shown(value)}, expected numbers [T, C] or [T]") from None
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or not array.shape[1]:
            raise InputError(f"X[{index}] has the shape {array.shape}, expected (T, C) or (T,)")
        if found and array.shape[1] != found[0].shape[1]:
            raise InputError(f"X[{index}] has {array.shape[1]} channels, but X[0] has {found[0].shape[1]}")
        wild = np.abs(array) > LARGEST
        if wild.any():
            raise InputError(f"X[{index}] holds {array[wild][0]}, expected finite numbers, or NaN where one is missing")
        found.append(array)
    return found


def _with_labels(examples: Examples, y: Any) -> Examples:
    labels = _listed("y", _column(y, examples))
    if len(labels) != len(examples):
        raise InputError(f"y has {len(labels)} labels, but X has {len(examples)} sequences")
    if _is_list(labels[0]):
        _refuse_several(labels, examples)
        return replace(examples, labels=[_steps(row, examples, i) for i, row in enumerate(labels)], labelled="step")
    for i, label in enumerate(labels):
        if is_missing(label):
            raise InputError(f"y[{i}] is {label!r}, expected a label")
        if _is_list(label):
            raise InputError(f"y[{i}] is {_shown(label)}, but y[0] is one label for a whole sequence")
        if isinstance(label, (set, frozenset, dict)):
            raise InputError(f"y[{i}] is {_shown(label)}: {SEVERAL}")
    return replace(examples, labels=[plain(label, f"y[{i}]") for i, label in enumerate(labels)])


def _column(y: Any, examples: Examples) -> Any:
    """One column [N, 1] of labels as [N], unless it may be the label of each of the steps, where there is but one."""
    shape: tuple[int, ...] = getattr(y, "shape", ())
    steps = examples.kind != "text" and all(len(given) == 1 for given in examples.inputs)
    return as_numpy(y)[:, 0] if len(shape) == 2 and shape[1] == 1 and not steps else y


def _refuse_several(labels: list[Any], examples: Examples) -> None:
    """Raise InputError for labels that are several a sequence: one column a class, of 0 and 1, or lists for texts."""
    sizes = {len(row) for row in labels if _is_list(row)}
    steps = [len(given) for given in examples.inputs]
    if len(sizes) == 1 and not (examples.kind != "text" and sizes == set(steps)):
        flat = [value for row in labels if _is_list(row) for value in (as_numpy(row) if hasattr(row, "shape") else row)]
        numbers = all(isinstance(value, (int, float, np.number, np.bool_)) for value in flat)
        if len(flat) > 1 and numbers and {float(value) for value in flat} <= {0.0, 1.0}:
            one = all(sum(map(float, row)) == 1 for row in labels if _is_list(row))
            remedy = "y.argmax(axis=1) makes one label of it" if one else "fit a Classifier for each column"
            raise InputError(
                f"y has {sizes.pop()} columns of 0 and 1, a class each: Grus gives one label a sequence, or one a "
                f"step: {remedy}"
            )
    if examples.kind == "text":
        raise InputError(
            f"y has a list of labels for each text. Of several a text: {SEVERAL}. Of one a step: Grus has a label for "
            "each step too, so X needs the steps: lists of str, or series"
        )


def _steps(row: Any, examples: Examples, index: int) -> list[Any]:
    if not _is_list(row):
        raise InputError(f"y[{index}] is {row!r}, but y[0] has a label for each step")
    labels = list(as_numpy(row)) if hasattr(row, "shape") else list(row)
    if any(_is_list(label) for label in labels):
        raise InputError(f"y[{index}] is {_shown(row)}, expected one label for each step")
    steps = len(examples.inputs[index])
    if len(labels) != steps:
        raise InputError(f"y[{index}] has {len(labels)} labels, but X[{index}] has {steps} steps")
    missing = [t for t, label in enumerate(labels) if is_missing(label)]
    if missing:
        raise InputError(
            f"y[{index}][{missing[0]}] is {labels[missing[0]]!r}, expected a label, or {IGNORED} for a step without"
        )
    found = [plain(label, f"y[{index}][{t}]") for t, label in enumerate(labels)]
    return [None if label == IGNORED else label for label in found]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or len(getattr(value, "shape", ())) > 0


def as_numpy(given: Any) -> NDArray[Any]:
    """An array of what NumPy, pandas, PyTorch or another keeps as one."""
    if hasattr(given, "detach"):  # a tensor, which may want gradients or lie on a device
        given = given.detach().cpu()
    return np.asarray(given.to_numpy() if hasattr(given, "to_numpy") else given)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"a {type(value).__name__}"
