"""The learning rate as a pure function of the step, so that a resumed run needs no state for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from grus.errors import InputError

__all__ = ["Optimisation", "learning_rate"]


@dataclass(frozen=True)
class Optimisation:
    """How a network is trained: AdamW with clipped gradients, and a learning rate that rises, then follows a schedule.

    warm_up: the share of the steps over which the learning rate rises, in a straight line.
    schedule: "cosine" or "linear" decay to zero, or "constant".
    precision: "bfloat16" computes what gains from it in bfloat16 (PyTorch's autocast); weights stay float32.
    betas, weight_decay: of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
    clip_norm: the largest norm of all gradients together (Pascanu et al. 2013, arXiv:1211.5063).
    average: decay of the moving average of the weights, which is then what is validated and kept; 0 for none.
    validate_every, patience: steps between validations, and how many of them may bring nothing new.
    tolerance: the share by which a later validation may be worse than the best and still count as good: of weights
        that validation cannot tell apart, those that were trained longer are kept.
    """

    steps: int = 1000
    learning_rate: float = 2e-3
    warm_up: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    average: float = 0.0
    validate_every: int = 100
    patience: int = 5
    tolerance: float = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "patience"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}, expected an integer of at least 1")
        for name, most in (("learning_rate", 1.0), ("clip_norm", math.inf)):
            if not 0 < getattr(self, name) <= most:
                limit = "" if most == math.inf else f" and at most {most:g}"
                raise InputError(f"{name} is {getattr(self, name)!r}, expected a number above 0{limit}")
        for name in ("warm_up", "average", "tolerance"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}, expected a number from 0 to below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay is {self.weight_decay!r}, expected a number of at least 0")
        for name, choices in (("schedule", ("cosine", "linear", "constant")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(choices)}")


def learning_rate(optimisation: Optimisation, step: int) -> float:
    """The rate of the update that follows ``step`` others: never 0, so that every step counts."""
    done = (step + 1) / (optimisation.steps + 1)
    rising = min(1.0, done / optimisation.warm_up) if optimisation.warm_up else 1.0
    match optimisation.schedule:
        case "cosine":
            falling = 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            falling = 1 - done
        case "constant":
            falling = 1.0
    return optimisation.learning_rate * rising * falling
