"""The one rule by which float32 results are judged. No test chooses a tolerance of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grus.export.agreement import FLOOR, allowance, furthest

__all__ = ["EXACT", "FLOOR", "check_float32", "check_float64", "errors", "is_right", "largest"]

EXACT = 1e-12  # float64 against float64, of the largest value but at least 1


def largest(array: NDArray[np.float64]) -> float:
    return float(np.abs(array).max(initial=0.0))


def check_float64(name: str, got: NDArray[np.float64], exact: NDArray[np.float64]) -> None:
    assert got.shape == exact.shape, f"{name} has shape {got.shape}, expected {exact.shape}"
    error = largest(got - exact)
    assert error <= EXACT * max(1.0, largest(exact)), f"{name}: error {error:.2e} in float64"


def errors(
    got: NDArray[np.float32], exact: NDArray[np.float64], *baselines: NDArray[np.float32]
) -> tuple[float, float, float]:
    """The error, that of the furthest baseline, and what is allowed."""
    return largest(got - exact), furthest(exact, baselines), allowance(exact, baselines)


def is_right(got: NDArray[np.float32], exact: NDArray[np.float64], *baselines: NDArray[np.float32]) -> bool:
    error, _, allowed = errors(got, exact, *baselines)
    return error <= allowed


def check_float32(
    name: str, got: NDArray[np.float32], exact: NDArray[np.float64], *baselines: NDArray[np.float32]
) -> None:
    """The error against float64 is at most twice that of the furthest baseline, plus the floor."""
    assert got.dtype == np.float32 and all(a.shape == got.shape for a in (exact, *baselines)), (
        name,
        got.dtype,
        got.shape,
    )
    error, theirs, allowed = errors(got, exact, *baselines)
    assert error <= allowed, f"{name}: error {error:.2e}, the furthest baseline's {theirs:.2e}, allowed {allowed:.2e}"
