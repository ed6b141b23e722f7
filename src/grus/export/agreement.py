"""Whether two backends agree, by the one rule of docs/decisions/0005-tolerance-rule.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus import exact
from grus.export.chained import Chained
from grus.model import Model
from grus.quantized import Chain
from grus.spec.chains import count_ids

__all__ = ["FACTOR", "FLOOR", "Agreement", "Expected", "allowance", "furthest", "moved", "random_inputs"]

Array = NDArray[Any]

FACTOR = 2.0
FLOOR = 2.0**-21  # eight roundings of float32 at the largest value but at least 1
RUNS = 4  # in each of three orders; of one, luck decides


@dataclass(frozen=True)
class Agreement:
    """The error of some outputs against float64 where it is nearest to what the rule allows there; w8a16: of bits."""

    error: float
    allowed: float
    numbers: int

    @property
    def good(self) -> bool:
        return self.error <= self.allowed  # False for NaN

    @property
    def share(self) -> float:
        """Of what is allowed; inf for NaN, and where nothing is."""
        if self.good:
            return self.error / self.allowed if self.allowed else 0.0
        return self.error / self.allowed if self.allowed and self.error > 0 else float("inf")

    def __str__(self) -> str:
        return f"{self.numbers:,} numbers, largest error {self.error:.3g}, allowed {self.allowed:.3g}"


class Expected:
    """What a model gives for x [T, B, I], every stream from zeros: by the equations in float64, or in w8a16's bits.

    right: [T, B, O]. allowed: [T], of the errors at every step.
    """

    def __init__(self, model: Model, x: Array) -> None:
        spec, arrays = model.spec, model.arrays
        match spec.precision:
            case "float32":
                self.right = exact.run(spec.blocks, arrays, x)
                self.allowed = allowance(self.right, float32_runs(model, x), by_step=True)
            case "w8a16":
                self.right = np.asarray(Chain(spec, arrays)(x, None, [], False), np.float64)
                self.allowed = np.zeros(len(x))

    def compare(self, y: Array) -> Agreement:
        if y.shape != self.right.shape:
            return Agreement(float("nan"), float(self.allowed.max(initial=0.0)), y.size)
        errors = by_steps(y - self.right)
        return max(
            (Agreement(float(e), float(a), y.size) for e, a in zip(errors, self.allowed, strict=True)),
            key=lambda one: one.share,
            default=Agreement(0.0, 0.0, 0),
        )


def allowance(right: Array, runs: Iterable[Array], by_step: bool = False) -> Any:
    """What the error of a float32 result may be: that of the furthest of ``runs`` twice, and a few roundings.

    ``by_step``: for every step of [T, …] that of the steps so far, for an error grows as it is handed on, and what a
    late step may have would hide what is wrong at the first.
    """
    if not by_step:
        return FACTOR * furthest(right, runs) + FLOOR * max(1.0, _largest(right))
    so_far = np.maximum.accumulate(np.max([by_steps(run - right) for run in runs], axis=0))
    return FACTOR * so_far + FLOOR * np.maximum.accumulate(np.maximum(1.0, by_steps(right)))


def furthest(right: Array, runs: Iterable[Array]) -> float:
    """The error of the run that rounding took furthest: how far it takes a single one is chance."""
    return max(_largest(run - right) for run in runs)


def float32_runs(model: Model, x: Array) -> Iterable[Array]:
    """The equations in float32, by the matrix library and as C has them from either end, of what float32 cannot tell.

    The first run of each order is of the numbers as they are, in the others every second weight and input is exchanged
    for a neighbour. What rounding does to a model is between these; the sums of a right export may be in any order.
    """
    ids = bool(count_ids(model.spec.blocks))
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        arrays, inputs = dict(model.arrays), np.asarray(x, np.float32)
        if run:
            arrays = {name: moved(array, rng) for name, array in arrays.items()}
            inputs = np.concatenate([x[..., :ids], moved(inputs[..., ids:], rng)], axis=-1)
        for arithmetic in (None, Chained(turned=False), Chained(turned=True)):
            yield exact.run(model.spec.blocks, arrays, inputs, dtype=np.float32, arithmetic=arithmetic)


def moved(array: Array, rng: np.random.Generator) -> Array:
    """Every second number exchanged for one of its neighbours in float32: half an ulp away, on average."""
    array = np.asarray(array, np.float32)
    where = rng.integers(4, size=array.shape)
    towards = np.where(where == 1, np.float32(np.inf), np.float32(-np.inf))
    return np.where(where < 2, np.nextafter(array, towards), array)


def random_inputs(model: Model, steps: int, batch: int, seed: int = 0) -> NDArray[np.float32]:
    """x [T, B, I], normal; ids where an Embedding reads them; for a w8a16 model within what its inputs may be."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, batch, model.spec.input_size))
    if model.spec.format.integers:
        x = np.clip(x / 4, -0.9, 0.9) * np.ldexp(32768.0, -model.arrays["input.exponent"].astype(int))
    if count := count_ids(model.spec.blocks):
        x[..., 0] = rng.integers(0, count, x.shape[:2])
    return x.astype(np.float32)


def by_steps(array: Array) -> Array:
    """The largest at every step of [T, …]; NaN where there is one."""
    flat: Array = np.abs(array).reshape(len(array), -1).max(axis=1, initial=0.0)
    return flat


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))
