"""Labels as they came: their types, what they are called, and which class a label is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError, note
from grus.spec import Classify
from grus.spec.labels import Kind, Label, kind_of, read_label
from grus.tasks.checks import alike

__all__ = ["as_array", "check_classes", "finder", "is_missing", "kinds_of", "plain"]


def is_missing(value: object) -> bool:
    """Whether a label, or a cell, holds nothing."""
    return value is None or (not isinstance(value, str) and str(value) in ("nan", "NaT", "<NA>")) or value == ""


def plain(label: Any, where: str) -> Label:
    """A label as text, an int, a float, a bool, a date or a datetime: NumPy's scalars, tensors of one number, pandas'
    times and subclasses become these. Raises InputError that names ``where`` it stands for anything else.
    """
    value = _plain(label)
    if kind_of(value) is not None:
        return value  # type: ignore[no-any-return]
    hint = ": decode it, as y.astype(str) does" if isinstance(value, bytes) else "; str(label) makes it text"
    raise InputError(
        f"{where} is {str(label)[:60]}, a {type(label).__name__}, expected text, a finite number, True or False, a "
        f"date or a time{hint}"
    )


def _plain(label: Any) -> Any:
    if kind_of(label) is not None:
        return label
    if isinstance(label, np.datetime64):
        exact = label.astype("datetime64[us]")  # finer ones would become integers
        return label.item() if not isinstance(label.item(), int) else exact.item() if exact == label else label
    if hasattr(label, "item") and getattr(label, "shape", None) == ():
        return label.item()
    if isinstance(label, str):  # as a member of an Enum is
        return str.__str__(label)
    if isinstance(label, int):
        return int(label)
    if isinstance(label, datetime) and not getattr(label, "nanosecond", 0):
        return datetime.fromisoformat(label.isoformat())
    if isinstance(label, date) and not isinstance(label, datetime):
        return date(label.year, label.month, label.day)
    return label


def check_classes(labels: Sequence[Label], classes: Sequence[Label]) -> None:
    """Raise InputError where the labels are numbers to be predicted, not names of classes; a note where there are
    almost as many classes as labels, or two that may be one.
    """
    numbers = [v if type(v) is float else read_label("number", str(v)) for v in classes]
    broken = [v for v in numbers if isinstance(v, float) and not v.is_integer()]
    many = len(classes) > 20 or (len(classes) > 2 and 2 * len(classes) > len(labels))
    if broken and many and None not in numbers:
        raise InputError(
            f"y has {len(classes):,} different numbers, such as {broken[0]}: Grus gives one of a few classes, not a "
            "number; cut them into ranges, as np.digitize and pd.cut(…).astype(str) do"
        )
    for said in alike("the classes", [c for c in classes if isinstance(c, str)]):
        note(said)
    if len(classes) > 20 and 2 * len(classes) > len(labels):
        note(
            f"there are {len(classes):,} classes for {len(labels):,} labels: few can be learned; is this the column of "
            "labels?"
        )


def kinds_of(labels: Sequence[Label]) -> tuple[Kind, ...]:
    """The kind of each, () where all are text: so that models of text have the file they always had."""
    kinds = tuple(kind_of(label) or "text" for label in labels)
    return () if set(kinds) <= {"text"} else kinds


def as_array(values: Sequence[Label]) -> NDArray[Any]:
    """[N] in NumPy's own type where that holds them as they are: numbers, text, dates, times without a zone."""
    types = {type(value) for value in values}
    units: dict[type, str] = {date: "datetime64[D]", datetime: "datetime64[us]"}
    dtype: Any = units.get(next(iter(types)))
    zoned = any(isinstance(value, datetime) and value.tzinfo is not None for value in values)
    if not zoned and (len(types) == 1 or types == {int, float}):
        found = np.array(values, dtype=dtype)
        if found.tolist() == list(values):  # not so of integers beyond 64 bits
            return found
    whole = np.empty(len(values), dtype=object)
    whole[:] = values
    return whole


def finder(task: Classify) -> Callable[[Any], int | None]:
    """What gives the position of a label in the task's classes, None for one it has not: the same value, or the same
    name (as in a table, whose cells are text), or a name that says the same value in another way.
    """
    by_value = {value: i for i, value in enumerate(task.values)}
    by_name = {name: i for i, name in enumerate(task.classes)}
    kinds: set[Kind] = set(task.kinds) - {"text"}
    if "integer" in kinds:
        kinds.add("number")  # 1.0 is 1

    def find(label: Any) -> int | None:
        if label in by_value:
            return by_value[label]
        name = str(label)
        if name in by_name:
            return by_name[name]
        said = [read_label(kind, name) for kind in kinds]
        if "date" in kinds and isinstance(midnight := read_label("time", name), datetime):
            said += [midnight.date()] * (midnight == datetime(midnight.year, midnight.month, midnight.day))
        return next((by_value[value] for value in said if value is not None and value in by_value), None)

    return find
