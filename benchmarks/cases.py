"""What is timed: the shapes, the numbers each contestant gets, and the work a shape cannot do without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from grus.weights import GRUWeights

Array = NDArray[np.float32]
Pass = Literal["forward", "train", "step"]
PASSES: tuple[Pass, ...] = get_args(Pass)


@dataclass(frozen=True)
class Case:
    """T steps, batch B, I inputs, H units. ``train`` is forward and backward; ``step`` one call with a state, T = 1."""

    T: int
    B: int
    I: int  # noqa: E741
    H: int
    layers: int = 1
    bidirectional: bool = False
    reset_before: bool = False
    mode: Pass = "forward"

    def __post_init__(self) -> None:
        if min(self.T, self.B, self.I, self.H, self.layers) < 1:
            raise ValueError(f"T, B, I, H and layers must be at least 1, got {self}")
        if self.mode == "step" and (self.T != 1 or self.layers != 1 or self.bidirectional):
            raise ValueError("the pass 'step' is one step of one layer in one direction: T must be 1")

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def plain(self) -> bool:
        """One layer in one direction."""
        return self.layers == 1 and not self.bidirectional

    @property
    def variant(self) -> str:
        names = [f"{self.layers} layers"] if self.layers > 1 else []
        names += ["two directions"] if self.bidirectional else []
        names += ["reset before"] if self.reset_before else []
        return ", ".join(names)

    def __str__(self) -> str:
        sizes = f"{self.mode} T={self.T} B={self.B} I={self.I} H={self.H}"
        return f"{sizes} ({self.variant})" if self.variant else sizes

    @property
    def inputs(self) -> list[int]:
        """The input size of each layer."""
        return [self.I] + [self.H * self.directions] * (self.layers - 1)

    @property
    def projection_flops(self) -> int:
        """Of the products W x, forward."""
        return sum(2 * self.T * self.B * 3 * self.H * size for size in self.inputs) * self.directions

    @property
    def recurrent_flops(self) -> int:
        """Of the products U h, forward."""
        return 2 * self.T * self.B * 3 * self.H * self.H * self.layers * self.directions

    @property
    def flops(self) -> int:
        """2·T·B·3H·(I+H) a layer and direction, three times that with the backward pass; recomputing is not counted."""
        return (self.projection_flops + self.recurrent_flops) * (3 if self.mode == "train" else 1)


@dataclass(frozen=True)
class Problem:
    """The numbers of a case, the same in every process."""

    case: Case

    def _draw(self, what: int) -> np.random.Generator:
        case = self.case
        return np.random.default_rng([what, case.T, case.B, case.I, case.H])

    @cached_property
    def x(self) -> Array:
        return self._draw(0).standard_normal((self.case.T, self.case.B, self.case.I), np.float32)

    @cached_property
    def h0(self) -> Array | None:
        """[B, H] for a step; sequences start from zeros."""
        shape = (self.case.B, self.case.H)
        return self._draw(1).uniform(-0.9, 0.9, shape).astype(np.float32) if self.case.mode == "step" else None

    @cached_property
    def dy(self) -> Array:
        """The gradient of the loss by the output [T, B, directions · H]."""
        case = self.case
        return self._draw(2).standard_normal((case.T, case.B, case.directions * case.H), np.float32)

    @cached_property
    def weights(self) -> dict[str, Array]:
        """By the names of ``torch.nn.GRU``; U(−1/√H, 1/√H), as it draws them."""
        case, rng = self.case, self._draw(3)
        bound, rows = case.H**-0.5, 3 * case.H
        arrays = {}
        for suffix, columns in self._suffixes():
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, columns), "weight_hh": (rows, case.H)}
            for name, shape in (shapes | {"bias_ih": (rows,), "bias_hh": (rows,)}).items():
                arrays[name + suffix] = rng.uniform(-bound, bound, shape).astype(np.float32)
        return arrays

    def _suffixes(self) -> Iterator[tuple[str, int]]:
        for layer, columns in enumerate(self.case.inputs):
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: self.case.directions]:
                yield suffix, columns

    @cached_property
    def layers(self) -> list[list[tuple[str, GRUWeights]]]:
        """For each layer its directions: the suffix of the names, and the weights."""
        flat = [(suffix, self._weights_of(suffix)) for suffix, _ in self._suffixes()]
        step = self.case.directions
        return [flat[start : start + step] for start in range(0, len(flat), step)]

    def _weights_of(self, suffix: str) -> GRUWeights:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        W, U, b_i, b_h = (self.weights[name + suffix] for name in names)
        return GRUWeights(W, U, b_i, b_h, reset_after=not self.case.reset_before)


_SEQUENCES = [  # T, B, I, H
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (100, 1, 512, 512),
    (100, 16, 128, 128),
    (100, 32, 256, 256),
    (100, 64, 512, 512),
    (50, 128, 1024, 1024),
    (784, 64, 1, 128),
]
_ODD = [(100, 1, 100, 100), (100, 1, 40, 200), (100, 20, 100, 100), (100, 33, 40, 200)]
_DEEP = {"layers": 2}, {"bidirectional": True}, {"layers": 2, "bidirectional": True}, {"reset_before": True}
_MODES: tuple[Pass, ...] = ("forward", "train")

SHAPES: list[Case] = [
    *(Case(1, 1, size, size, mode="step") for size in (64, 256, 512)),
    Case(1, 1, 256, 256, reset_before=True, mode="step"),
    Case(1, 16, 128, 128, mode="step"),
    *(Case(*sizes, mode=mode) for mode in _MODES for sizes in (*_SEQUENCES, *_ODD)),
    *(
        Case(*sizes, **options, mode=mode)
        for mode in _MODES
        for options in _DEEP
        for sizes in ((100, 1, 256, 256), (100, 16, 128, 128))
    ),
    *(Case(100, 32, 256, 256, reset_before=True, mode=mode) for mode in _MODES),
]

QUICK: list[Case] = [
    Case(1, 1, 64, 64, mode="step"),
    Case(20, 1, 64, 64),
    Case(10, 4, 17, 33, layers=2, bidirectional=True),
    Case(20, 16, 32, 32, mode="train"),
    Case(10, 4, 17, 33, reset_before=True, mode="train"),
]
