"""The one rule by which float32 results are judged. No test chooses a tolerance of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXACT = 1e-12  # float64 against float64, of the largest value but at least 1
FLOOR = 2.0**-21  # eight roundings of float32 at the largest value but at least 1


def largest(array: NDArray[np.float64]) -> float:
    return float(np.abs(array).max(initial=0.0))


def check_float64(name: str, got: NDArray[np.float64], exact: NDArray[np.float64]) -> None:
    assert got.shape == exact.shape, f"{name} has shape {got.shape}, expected {exact.shape}"
    error = largest(got - exact)
    assert error <= EXACT * max(1.0, largest(exact)), f"{name}: error {error:.2e} in float64"


def errors(
    got: NDArray[np.float32], exact: NDArray[np.float64], baseline: NDArray[np.float32]
) -> tuple[float, float, float]:
    """The error, the baseline's, and what is allowed."""
    theirs = largest(baseline - exact)
    return largest(got - exact), theirs, 2 * theirs + FLOOR * max(1.0, largest(exact))


def is_right(got: NDArray[np.float32], exact: NDArray[np.float64], baseline: NDArray[np.float32]) -> bool:
    error, _, allowed = errors(got, exact, baseline)
    return error <= allowed


def check_float32(
    name: str, got: NDArray[np.float32], exact: NDArray[np.float64], baseline: NDArray[np.float32]
) -> None:
    """The error against float64 is at most twice PyTorch's in float32 on the same inputs, plus the floor."""
    assert got.dtype == np.float32 and got.shape == exact.shape == baseline.shape, (name, got.dtype, got.shape)
    error, theirs, allowed = errors(got, exact, baseline)
    assert error <= allowed, f"{name}: error {error:.2e}, PyTorch's {theirs:.2e}, allowed {allowed:.2e}"
