"""Checks of what a person chose, for the settings of every task."""

from __future__ import annotations

import math
from typing import Any

from grus.errors import InputError

__all__ = ["PRECISIONS", "SCHEDULES", "choice", "flags", "integer", "integers", "keep", "number", "plain", "shares"]

SCHEDULES = ("cosine", "linear", "constant")  # of the learning rate, after its warm-up
PRECISIONS = ("float32", "bfloat16")  # of products


def plain(value: Any) -> Any:
    """NumPy's numbers, text and arrays (and pandas' columns) as Python's, which compare, hash and go to JSON."""
    return value.tolist() if hasattr(value, "tolist") else value


def integer(name: str, value: Any, least: int) -> int:
    """``value`` as a plain integer. Raises InputError unless it is one of at least ``least``."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}, expected an integer of at least {least}", name)
    return value


def number(name: str, value: Any, least: float, *, above: bool = False) -> float:
    """``value`` as a plain number. Raises InputError unless it is finite and of at least, or ``above``, ``least``."""
    value = plain(value)
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < least or (above and value == least):
        bound = "above" if above else "of at least"
        raise InputError(f"{name} is {value!r}, expected a number {bound} {least}", name)
    return float(value)


def keep(owner: object, name: str, value: object) -> None:
    """Set what ``owner``, which is frozen, was given for ``name`` to how it is kept."""
    object.__setattr__(owner, name, value)


def integers(owner: object, least: int, *names: str) -> None:
    """Keep the fields as integers of at least ``least``, or None where that is their default."""
    for name in names:
        if getattr(owner, name) is not None or getattr(type(owner), name) is not None:
            keep(owner, name, integer(name, getattr(owner, name), least))


def shares(owner: object, *names: str, what: str = "") -> None:
    """Keep the fields as numbers from 0 to below 1; ``what`` comes behind their names in a message."""
    for name in names:
        value = number(name + what, getattr(owner, name), 0)
        if value >= 1:
            raise InputError(f"{name}{what} is {value!r}, expected a number from 0 to below 1", name + what)
        keep(owner, name, value)


def flags(owner: object, *names: str) -> None:
    """Keep the fields as True or False."""
    for name in names:
        value = plain(getattr(owner, name))
        if not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}, expected True or False", name)
        keep(owner, name, value)


def choice(owner: object, name: str, *choices: str | None) -> None:
    """Keep the field as one of ``choices``."""
    value = plain(getattr(owner, name))
    if value not in choices:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}", name)
    keep(owner, name, value)
