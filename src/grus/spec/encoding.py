"""Frozen dataclasses as JSON and back: each an object with its class under "type"."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from grus.errors import InputError
from grus.spec.fields import MAX_DEPTH, shown

__all__ = ["classes_in", "decode", "encode"]

MAX_ITEMS, MAX_OBJECTS = 1 << 19, 1 << 14  # of a spec as JSON


def classes_in(cls: type) -> dict[type, None]:
    """The dataclasses that the fields of ``cls`` may hold, in order."""
    found: dict[type, None] = {}
    hints = list(get_type_hints(cls).values())
    for hint in hints:
        hints += get_args(hint)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found |= {hint: None} | classes_in(hint)
    return found


def encode(value: Any) -> str:
    return json.dumps(_encode(value), separators=(",", ":"), allow_nan=False)


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        written = {f.name: _encode(v) for f, v in given if "left_out" not in f.metadata or v != f.default}
        return {"type": type(value).__name__, **written}
    return [_encode(v) for v in value] if isinstance(value, (tuple, list)) else value


def decode(text: str, types: Mapping[str, Any]) -> Any:
    """What a JSON text describes, of these classes by name. Raises InputError that says what is wrong with it."""
    items, objects = sum(map(text.count, ",[")), text.count("{")
    if items > MAX_ITEMS or objects > MAX_OBJECTS:
        most = f"at most {MAX_ITEMS:,} and {MAX_OBJECTS:,}"
        raise InputError(f"the spec has {items:,} items and {objects:,} objects, expected {most}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the spec is not JSON: {error}") from None
    return _decode(value, types, 0)


def _decode(value: Any, types: Mapping[str, Any], depth: int) -> Any:
    if depth > 4 * MAX_DEPTH:  # a block in a Mean is three levels of JSON below it
        raise InputError(f"the spec nests more than {MAX_DEPTH} blocks deep")
    if isinstance(value, list):
        return tuple(_decode(v, types, depth + 1) for v in value)
    if isinstance(value, str):
        return _unicode(value)
    if not isinstance(value, dict):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"the spec holds {value}, expected finite numbers")
        return value
    kind = value.get("type")
    cls = types.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise InputError(f"the spec has an object of type {kind!r}, expected one of {', '.join(types)}")
    fields = {key: _decode(v, types, depth + 1) for key, v in value.items() if key != "type"}
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(fields) - set(known))
    missing = [n for n, f in known.items() if n not in fields and f.default is dataclasses.MISSING]
    if unknown or missing:
        raise InputError(f"{kind} in the spec has unknown fields {unknown} and lacks the fields {missing}")
    return cls(**fields)


def _unicode(text: str) -> str:
    """A string of the spec. Raises InputError for half a surrogate pair, which JSON can write and no file can hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"the spec holds {shown(text)}, which is no Unicode: half a surrogate pair") from None
    return text
