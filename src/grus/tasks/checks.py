"""Checks of what a person chose, for the settings of every task, and of names that may be one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from grus.errors import InputError

__all__ = ["alike", "integer", "keep", "number", "plain"]

SCHEDULES = ("cosine", "linear", "constant")  # of the learning rate, after its warm-up
WHOLE = re.compile(r"\d+(\.0+)?")
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


def alike(what: str, names: Iterable[str]) -> tuple[str, ...]:
    """A note of the first two names that only blanks, capitals, or the noughts of a whole number tell apart, if any."""
    seen: dict[str, str] = {}
    for name in names:
        key = " ".join(name.split()).casefold()
        other = seen.setdefault(re.sub(r"^0+(?=\d)|(?<=\d)\.0+$", "", key) if WHOLE.fullmatch(key) else key, name)
        if other != name and max(len(other), len(name)) > 1:  # "a" and "A" may well be two
            return (f"{what} {other!r} and {name!r} differ in how they are written alone: are they one?",)
    return ()


def keep(owner: object, name: str, value: object) -> None:
    """Set what ``owner``, which is frozen, was given for ``name`` to how it is kept."""
    object.__setattr__(owner, name, value)
