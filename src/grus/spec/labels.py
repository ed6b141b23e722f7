"""Labels of classes: each has a name, which is text, and a value of a kind that the name can say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Literal, TypeAlias

__all__ = ["KINDS", "Kind", "Label", "kind_of", "read_label"]

Kind: TypeAlias = Literal["text", "integer", "number", "boolean", "date", "time"]
Label: TypeAlias = str | int | float | bool | date | datetime


def _number(name: str) -> float:
    value = float(name)
    if not math.isfinite(value):
        raise ValueError("no finite number")
    return value


def _boolean(name: str) -> bool:
    return {"true": True, "false": False}[name.lower()]


# the name of a value is str(value); this is the way back
KINDS: Mapping[Kind, tuple[type[Label], Callable[[str], Label]]] = MappingProxyType(
    {
        "text": (str, str),
        "integer": (int, int),
        "number": (float, _number),
        "boolean": (bool, _boolean),
        "date": (date, date.fromisoformat),
        "time": (datetime, datetime.fromisoformat),
    }
)
_OF_TYPE: Mapping[type, Kind] = MappingProxyType({cls: kind for kind, (cls, _) in KINDS.items()})


def kind_of(value: object) -> Kind | None:
    """The kind of a value of exactly one of the types above; None for any other, and for what is no finite number."""
    if type(value) is float and not math.isfinite(value):
        return None
    return _OF_TYPE.get(type(value))


def read_label(kind: Kind, name: str) -> Label | None:
    """The value a name says; None where it says none of that kind."""
    try:
        return KINDS[kind][1](name)
    except (ValueError, KeyError):
        return None
