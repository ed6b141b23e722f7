"""Cells of a table: which are empty, which are numbers, and what to say of one that is neither."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["cell_text", "is_absent", "is_number", "missing", "numbers", "remedy"]

# a cell without a value, in any case: what pandas' read_csv takes for one
MISSING = frozenset(
    (
        *("", "na", "n/a", "nan", "-nan", "nat", "null", "none", "<na>", "#na", "#n/a", "#n/a n/a"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    )
)
TRUTHS = {"true": 1.0, "false": 0.0}
SEPARATORS = ",'’_ \u00a0\u202f"  # of thousands, and the comma of decimals


def is_absent(value: object) -> bool:
    """Whether a cell of a frame holds nothing: None, NaN, NaT or pandas' NA."""
    return value is None or (str(value) in ("nan", "NaT", "<NA>") and not isinstance(value, str))


def cell_text(value: object) -> str:
    """What a cell says as the name of something: a frame makes floats of integers where a cell is empty."""
    if is_absent(value):
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def is_number(value: object) -> bool:
    """Whether a cell is read as a number."""
    return not math.isnan(_number(value))


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which cells say that there is no value."""
    return np.array([str(v).strip().lower() in MISSING for v in values.tolist()], dtype=bool)


def numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """float64 where a cell is a number, NaN elsewhere."""
    return np.array([_number(value) for value in values.tolist()], dtype=np.float64)


def remedy(value: object) -> str:
    """How to mend a cell that is no number; "" where that depends on what it means."""
    text = str(value)
    whole, _, rest = text.partition(",")
    if is_number(f"{whole}.{rest}") and len(rest) != 3:
        return "use a point for decimals"
    if is_number("".join(c for c in text if c not in SEPARATORS)):
        return "use a point for decimals, and nothing between thousands"
    return ""


def _number(value: Any) -> float:
    if isinstance(value, str) and value.strip().lower() in TRUTHS:
        return TRUTHS[value.strip().lower()]
    try:
        return float(value) if not (isinstance(value, str) and "_" in value) else math.nan  # Python reads 1_000
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:  # an integer that no float64 is near to
        return math.inf
