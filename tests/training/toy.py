"""A fit of two small members, for the tests to break off.

What a step does depends on what the steps before it left behind, as with the carried state of a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grus.model import Model
from grus.spec import GRU, Linear, Spec
from grus.torch.network import Network, to_model
from grus.training.checkpoint import Journal
from grus.training.interrupt import Interrupt
from grus.training.loop import seeded, train
from grus.training.metrics import Metrics
from grus.training.objective import Part
from grus.training.progress import Reporter
from grus.training.schedule import Optimisation

SPEC = Spec((GRU(2, 5), Linear(5, 1)))
OPTIMISATION = Optimisation(steps=30, average=0.9, validate_every=7, weight_decay=0.01)


def batch(key: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(key))
    return x, x.sum(dim=(0, 2))[:, None]


def loss(network: Network, key: int) -> Tensor:
    x, y = batch(key)
    return (network(x, last=True) - y).square().sum()


class Toy:
    """Four sequences a step, in two micro-batches; the state carried adds to the loss, and so to the gradient."""

    def __init__(self, offset: int = 0, each_step: Callable[[int], None] = lambda step: None) -> None:
        self.offset, self.each_step = offset, each_step
        self.state = np.zeros(1, np.float32)

    def parts(self, step: int) -> list[Part]:
        self.each_step(step)
        return [Part(2.0, lambda network, half=half: self._total(network, step, half)) for half in (0, 1)]

    def _total(self, network: Network, step: int, half: int) -> Tensor:
        x, y = (tensor[..., 2 * half :, :][..., :2, :] for tensor in batch(self.offset + step))
        output = network(x, last=True) + torch.tensor(self.state)
        self.state = np.tanh(output.detach().numpy().mean(axis=0))
        return (output - y).square().sum()

    def carried(self) -> dict[str, NDArray[Any]]:
        return {"state": self.state}

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        self.state = carried["state"]


class Plain:
    """Losses that carry nothing: ``mean(network, step)`` is that of the step."""

    def __init__(self, mean: Callable[[Network, int], Tensor]) -> None:
        self.mean = mean

    def parts(self, step: int) -> list[Part]:
        return [Part(1.0, lambda network: self.mean(network, step))]

    def carried(self) -> dict[str, NDArray[Any]]:
        return {}

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        assert not carried


def validate(network: Network) -> float:
    return float(loss(network, 999)) / 4


def fit(
    checkpoint: Path | None,
    *,
    resume: bool = False,
    optimisation: Optimisation = OPTIMISATION,
    interval: float = 20.0,
    each_step: Callable[[Interrupt, int, int], None] = lambda interrupt, member, step: None,
    metrics: Metrics | None = None,
) -> Model:
    journal = Journal.open(checkpoint, {"settings.steps": optimisation.steps, "data": "toy"}, resume=resume)
    journal.interval = interval
    model = None
    with Interrupt() as interrupt, Reporter(2 * optimisation.steps, show=False) as reporter:
        for member in range(2):
            with seeded(0, member):
                network = Network(SPEC.blocks, dropout=0.1)
            train(
                network,
                Toy(1000 * member, lambda step, member=member: each_step(interrupt, member, step)),  # type: ignore[misc]
                optimisation,
                name=f"member {member}",
                seed=(0, member),
                journal=journal,
                interrupt=interrupt,
                reporter=reporter,
                validate=validate,
                metrics=metrics,
            )
            model = to_model(network, SPEC)
    assert model is not None
    return model
