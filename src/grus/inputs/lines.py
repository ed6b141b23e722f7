"""Steps as text: a line of numbers in, a line of numbers out, in the same manner."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError

__all__ = ["Line", "lines", "most_bytes", "read", "stacked", "written"]


class Line:
    """A step that was read: where, its numbers, and what stood between them (", ", " " or "json")."""

    def __init__(self, text: str, size: int, where: str) -> None:
        self.where = where
        if text.startswith("["):
            self.between, values = "json", _json(text, where)
        else:
            self.between = "," if "," in text else " "
            values = [_number(part, where) for part in text.split("," if "," in text else None)]
        if len(values) != size:
            raise InputError(f"{where} has {len(values)} numbers, the model takes {size}")
        with np.errstate(over="ignore"):
            self.values = np.array(values, np.float64).astype(np.float32)


def written(y: NDArray[np.float32], between: str) -> str:
    """Numbers as a line, each with the fewest digits that give it back exactly."""
    if between == "json":
        return "[" + ", ".join(_json_number(v) for v in y) + "]"
    return between.join(str(v) for v in y)


def lines(file: BinaryIO, size: int, name: str) -> Iterator[Line]:
    """The steps in a file, one a line, in constant memory; empty lines are left out.

    Raises InputError that names the line for one that is too long, is not text, or has not ``size`` numbers.
    """
    most, number = most_bytes(size), 0
    while raw := file.readline(most + 1):
        number += 1
        where = f"{name}, line {number}"
        if len(raw) > most:
            raise InputError(f"{where} has more than {most:,} bytes, expected {size} numbers")
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()  # some programs begin a file with a mark
        except UnicodeDecodeError:
            raise InputError(f"{where} is not text") from None
        if text:
            yield Line(text, size, where)


def most_bytes(size: int) -> int:
    """The longest line that is read for a step of ``size`` numbers."""
    return 64 * size + 4096


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where} has {text.strip()[:40]!r}, expected a number") from None


def _json(text: str, where: str) -> list[float]:
    try:
        values = json.loads(text)
        if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
            raise InputError(f"{where} is JSON, but not a list of numbers")
        return [float(v) for v in values]
    except (RecursionError, OverflowError):
        raise InputError(f"{where} is JSON, but not a list of numbers") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from None


def _json_number(value: np.float32) -> str:
    if math.isfinite(value):
        return str(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def stacked(steps: Sequence[Line], name: str) -> NDArray[np.float32]:
    """[T, 1, I] of all the steps of one sequence."""
    if not steps:
        raise InputError(f"{name} has no steps")
    return np.stack([step.values for step in steps])[:, None]


def read(path: Path, size: int) -> NDArray[Any]:
    """x [T, B, I] of a file: a .npy of such an array, or of [T, I], else lines as :func:`lines` reads them."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    if path.suffix.lower() != ".npy":
        with open(path, "rb") as file:
            return stacked(list(lines(file, size, str(path))), str(path))
    try:  # mapped: what its header says of its size is compared with the file before anything is made
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, SyntaxError, TypeError) as error:
        raise InputError(f"{str(path)!r} is not a NumPy file, or is damaged: {error}") from None
    if x.dtype.kind not in "fiu" or x.ndim not in (2, 3):
        raise InputError(f"{str(path)!r} holds {x.dtype}{x.shape}, expected numbers [T, I] or [T, B, I]")
    return np.array(x[:, None] if x.ndim == 2 else x)
