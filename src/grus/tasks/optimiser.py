"""How the weights move: one dataclass for every task, whose settings give it their own defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grus.errors import InputError
from grus.tasks.options import Options, option

__all__ = ["Optimiser"]


@dataclass(frozen=True)
class Optimiser(Options):
    """How the weights move: AdamW, the norm of the gradient held below ``clip``, the learning rate on a schedule.

    batch_size: of what a step is made of, in each process; accumulate: in how many parts it is computed, one after the
    other. schedule: to zero, but for "constant". precision: "bfloat16" for products in it, on devices that have it.
    """

    too_many = "expected at most batch_size, {}"  # parts of a batch

    learning_rate: float = option(4e-3, "the highest rate of the schedule", above=0)
    weight_decay: float = option(0.0, "of AdamW", least=0)
    batch_size: int = option(32, "sequences a step, in each process", least=1)
    clip: float = option(1.0, "the largest norm of a gradient", above=0)
    accumulate: int = option(1, "parts a batch is computed in, for less memory", least=1)
    schedule: Literal["cosine", "linear", "constant"] = option("cosine", "of the learning rate after its warm-up")
    precision: Literal["float32", "bfloat16"] = option("float32", "of products, on devices that have it")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate > self.batch_size:
            told = self.too_many.format(self.batch_size)
            raise InputError(f"accumulate is {self.accumulate}, {told}", "accumulate", "batch_size")
