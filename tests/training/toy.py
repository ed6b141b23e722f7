"""A fit of two small members, as a script: ``toy.py CHECKPOINT OUTPUT [resume]``; the tests break it off."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from grus.model import Model
from grus.spec import GRU, Linear, Spec
from grus.torch.network import Network, to_model
from grus.training.checkpoint import Journal
from grus.training.interrupt import Interrupt
from grus.training.loop import seeded, train
from grus.training.progress import Reporter
from grus.training.schedule import Optimisation

SPEC = Spec((GRU(2, 5), Linear(5, 1)))
OPTIMISATION = Optimisation(steps=30, average=0.9, validate_every=7, weight_decay=0.01)


def batch(key: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(key))
    return x, x.sum(dim=(0, 2))[:, None]


def validate(network: Network) -> float:
    x, y = batch(999)
    return float((network(x, last=True) - y).square().mean())


def fit(
    checkpoint: Path | None,
    *,
    resume: bool = False,
    optimisation: Optimisation = OPTIMISATION,
    interval: float = 20.0,
    each_step: Callable[[Interrupt, int, int], None] = lambda interrupt, member, step: None,
) -> Model:
    journal = Journal.open(checkpoint, {"settings.steps": optimisation.steps, "data": "toy"}, resume=resume)
    journal.interval = interval
    model = None
    with Interrupt() as interrupt, Reporter(2 * optimisation.steps, show=False) as reporter:
        for member in range(2):

            def loss(network: Network, step: int, member: int = member) -> Tensor:
                each_step(interrupt, member, step)
                x, y = batch(1000 * member + step)
                return (network(x, last=True) - y).square().mean()

            with seeded(0, member):
                network = Network(SPEC.blocks, dropout=0.1)
            train(
                network,
                loss,
                optimisation,
                name=f"member {member}",
                seed=(0, member),
                journal=journal,
                interrupt=interrupt,
                reporter=reporter,
                validate=validate,
            )
            model = to_model(network, SPEC)
    assert model is not None
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    pause = float(os.environ.get("TOY_PAUSE", "0"))
    interval = 0.0 if pause else 20.0  # a paused run is one to kill: it keeps every step
    model = fit(
        Path(sys.argv[1]), resume="resume" in sys.argv, interval=interval, each_step=lambda *_: time.sleep(pause)
    )
    model.save(sys.argv[2])
