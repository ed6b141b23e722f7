"""Checks of the fields of a spec's dataclasses. Each raises InputError that names class, field and value."""

from __future__ import annotations

import sys

from grus.errors import InputError

__all__ = ["LEFT_OUT", "MAX_DEPTH", "MAX_SIZE", "check", "check_flags", "check_sizes", "is_tuple", "shown", "within"]

MAX_SIZE = 1 << 24  # no size in a spec is larger: a hostile file cannot make products overflow
MAX_DEPTH = 16  # blocks inside blocks
LEFT_OUT = {"left_out": True}  # a field's metadata: not written at its default, so that old files keep their bytes
LONGEST = 400  # characters of a value in a message


def shown(value: object) -> str:
    """A value for a message, a long one cut."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def check_sizes(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise InputError(
                f"{type(owner).__name__}.{name} is {shown(value)}, expected an integer from 1 to {MAX_SIZE}"
            )


def check_flags(owner: object, *names: str) -> None:
    for name in names:
        if type(getattr(owner, name)) is not bool:
            raise InputError(f"{type(owner).__name__}.{name} is {shown(getattr(owner, name))}, expected True or False")


def check(owner: object, name: str, good: bool, expected: str) -> None:
    if not good:
        raise InputError(f"{type(owner).__name__}.{name} is {shown(getattr(owner, name))}, expected {expected}")


def is_tuple(value: object, *kinds: type) -> bool:
    return isinstance(value, tuple) and all(type(v) in kinds for v in value)


def within(value: object, least: float, most: float = sys.float_info.max) -> bool:
    return type(value) in (int, float) and least <= value <= most  # type: ignore[operator]
