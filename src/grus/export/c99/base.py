"""What the files of an export are made of: sizes, weights, the plan of a step and its C."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grus.export.c99.fixed import Fixed
from grus.export.c99.plan import plan
from grus.export.c99.single import Single
from grus.model import Model

__all__ = ["Base"]


@dataclass
class Base:
    """One export: the model, the plan of its step, and the C of that.

    ``examples`` [T, input_size] are what the self-test runs on.
    """

    model: Model
    name: str
    in_file: bool
    examples: NDArray[np.float32]
    version: str

    def __post_init__(self) -> None:
        self.fixed = self.model.spec.format.integers
        self.plan = plan(self.model.spec, self.model.arrays)
        self.code: Single | Fixed = (Fixed if self.fixed else Single)(self.plan, self.model.arrays)
        self.weights = self.code.weights()
        self.padding = -sum(a.nbytes for a in self.weights.values()) % 4 if self.in_file else 0

    @property
    def weight_bytes(self) -> int:
        return sum(a.nbytes for a in self.weights.values()) + (8 + self.padding if self.in_file else 0)

    @property
    def state_bytes(self) -> int:
        return (2 if self.fixed else 4) * sum(self.plan.states.values()) or 1

    @property
    def work(self) -> int:
        """Floats of work memory for each step of a run; C has no arrays of none."""
        return max(1, self.plan.scratch)
