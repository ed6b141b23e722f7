"""Whether two backends agree, by the one rule of docs/decisions/0005-tolerance-rule.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus import exact
from grus.model import Model
from grus.quantized import Chain
from grus.spec.chains import count_ids

__all__ = ["Agreement", "Expected", "random_inputs"]

Array = NDArray[Any]

FLOOR = 2.0**-21  # eight roundings of float32 at the largest value but at least 1


@dataclass(frozen=True)
class Agreement:
    """The largest error of some outputs against float64, and what the rule allows; for w8a16 both are of bits."""

    error: float
    allowed: float
    numbers: int

    @property
    def good(self) -> bool:
        return self.error <= self.allowed  # False for NaN

    def __str__(self) -> str:
        return f"{self.numbers:,} numbers, largest error {self.error:.3g}, allowed {self.allowed:.3g}"


class Expected:
    """What a model gives for x [T, B, I], every stream from zeros: by the equations in float64, or in w8a16's bits."""

    def __init__(self, model: Model, x: Array) -> None:
        spec, arrays = model.spec, model.arrays
        match spec.precision:
            case "float32":
                self.right = exact.run(spec.blocks, arrays, x)
                plain = exact.run(spec.blocks, arrays, x, dtype=np.float32)
                self.allowed = 2 * _largest(plain - self.right) + FLOOR * max(1.0, _largest(self.right))
            case "w8a16":
                self.right = np.asarray(Chain(spec, arrays)(x, None, [], False), np.float64)
                self.allowed = 0.0

    def compare(self, y: Array) -> Agreement:
        if y.shape != self.right.shape:
            return Agreement(float("nan"), self.allowed, y.size)
        return Agreement(_largest(y - self.right), self.allowed, y.size)


def random_inputs(model: Model, steps: int, batch: int, seed: int = 0) -> NDArray[np.float32]:
    """x [T, B, I], normal; ids where an Embedding reads them; for a w8a16 model within what its inputs may be."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, batch, model.spec.input_size))
    if model.spec.format.integers:
        x = np.clip(x / 4, -0.9, 0.9) * np.ldexp(32768.0, -model.arrays["input.exponent"].astype(int))
    if count := count_ids(model.spec.blocks):
        x[..., 0] = rng.integers(0, count, x.shape[:2])
    return x.astype(np.float32)


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))
