"""Pieces of C text: templates, arrays of numbers, loops."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from numpy.typing import NDArray

__all__ = ["fill", "loops", "numbers", "used"]

LANES = 16  # floats in the widest vectors


@cache
def _template(name: str) -> Template:
    return Template((files("grus.export.c99") / "templates" / name).read_text(encoding="utf-8"))


def fill(template: str, **values: object) -> str:
    """A file of ``templates`` with its $names replaced; KeyError where one is not given."""
    return _template(template).substitute(values)


def used(helpers: str, text: str) -> list[str]:
    """Of the functions in ``helpers``, with two empty lines between them, those that ``text`` needs, in order.

    A static function that nobody calls is a warning.
    """
    kept: list[str] = []
    for helper in reversed(helpers.strip("\n").split("\n\n\n")):
        name = re.findall(r"^static .*?(\w+)\(", helper, flags=re.MULTILINE)[-1]
        if re.search(rf"\b{name}\(", text):
            kept.insert(0, helper + "\n")
            text += helper
    return kept


def numbers(array: NDArray[Any], indent: str = "    ") -> str:
    """The elements as C constants, in lines. Float32 is written with the fewest digits that give it back exactly."""
    flat = array.reshape(-1)
    suffix = "f" if flat.dtype.kind == "f" else ""
    texts = [f"{v}{suffix}" for v in (map(repr, flat.tolist()) if not suffix else map(str, flat))]
    wide = 8 if suffix or flat.dtype.itemsize > 2 else 20
    return ",\n".join(indent + ", ".join(texts[i : i + wide]) for i in range(0, len(texts), wide))


def loops(variable: str, start: int, stop: int, body: str, indent: str) -> str:
    """A loop over [start, stop), its last steps apart.

    Compilers make vectors at -O2 only of loops whose number of steps is a known multiple of a vector's width.
    """
    main = stop - (stop - start) % LANES
    pieces = [(a, b) for a, b in ((start, main), (main, stop)) if b > a]
    return "\n".join(
        f"{indent}for ({variable} = {a}; {variable} < {b}; ++{variable}) {{\n{indent}    {body}\n{indent}}}"
        for a, b in pieces
    )
