"""Two trainings, as a script for torchrun: ``together.py FOLDER BATCH [EVENT:STEP …]``.

One labels the steps of sequences of unequal length, the other reads streams with carried state; both clip and
accumulate gradients, in float64, where a mistake cannot hide behind rounding. Each process takes BATCH sequences a
step. The first writes the weights to FOLDER/weights.npz. An EVENT is what the last process does to itself at STEP of
the second training, one in each of the lives that torchrun gives it: "stop" (SIGTERM), "fill" (its memory) or "kill".
Each process writes how its life ended to FOLDER/LIFE.RANK.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from grus.errors import InputError
from grus.spec import GRU, Block, Embedding, Linear
from grus.torch.network import Network
from grus.training import distributed
from grus.training.checkpoint import Journal
from grus.training.interrupt import Interrupt, Interrupted
from grus.training.loop import seeded, train
from grus.training.metrics import Metrics
from grus.training.objective import Part
from grus.training.progress import Reporter
from grus.training.sampling import Buckets
from grus.training.schedule import Optimisation

STEPS = 12
OPTIMISATION = Optimisation(
    steps=STEPS, learning_rate=2e-2, clip_norm=0.05, weight_decay=0.01, average=0.9, validate_every=5
)
LABELLING: tuple[Block, ...] = (GRU(3, 6, bidirectional=True), Linear(12, 4))
READING: tuple[Block, ...] = (Embedding(7, 4), GRU(4, 6), Linear(6, 7))


class Labelling:
    """40 sequences of 3 to 20 steps, a label for each step."""

    def __init__(self, batch_size: int) -> None:
        random = np.random.default_rng(0)
        self.lengths = random.integers(3, 21, 40)
        self.x = torch.tensor(random.standard_normal((20, 40, 3)))
        self.labels = torch.tensor(random.integers(0, 4, (20, 40)))
        processes = distributed.current()
        self.buckets = Buckets(self.lengths, batch_size, 0, processes.rank, processes.world, buckets=2)

    def parts(self, step: int) -> list[Part]:
        halves = np.array_split(self.buckets.indices(step), 2)
        return [
            Part(float(self.lengths[rows].sum()), lambda network, rows=rows: self.total(network, rows))
            for rows in halves
            if rows.size
        ]

    def total(self, network: Network, rows: NDArray[np.int64]) -> Tensor:
        lengths = torch.tensor(self.lengths[rows])
        steps = int(lengths.max())
        y = network(self.x[:steps, rows], lengths=lengths)
        known = torch.arange(steps)[:, None] < lengths
        return cross_entropy(y[known], self.labels[:steps, rows][known], reduction="sum")

    def carried(self) -> dict[str, NDArray[Any]]:
        return {}

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        assert not carried


class Reading:
    """Twelve streams of ids, five steps at a time."""

    def __init__(self, batch_size: int, event: str) -> None:
        rank = distributed.current().rank
        ids = np.random.default_rng(1).integers(0, 7, (5 * STEPS + 1, 12))
        self.ids = torch.tensor(ids[:, rank * batch_size :][:, :batch_size])
        self.event, _, step = event.partition(":")
        self.at = int(step or -1)
        self.rows = np.array_split(np.arange(batch_size), 2)
        self.states: list[list[Tensor] | None] = [None, None]

    def parts(self, step: int) -> list[Part]:
        if step == self.at and distributed.current().rank == distributed.current().world - 1:
            if self.event == "fill":
                raise MemoryError
            for _ in range(2):  # torchrun repeats what a terminal has sent already
                os.kill(os.getpid(), signal.SIGKILL if self.event == "kill" else signal.SIGTERM)
        return [
            Part(5.0 * len(rows), lambda network, half=half: self.total(network, step, half))
            for half, rows in enumerate(self.rows)
        ]

    def total(self, network: Network, step: int, half: int) -> Tensor:
        ids = self.ids[5 * step : 5 * step + 6, self.rows[half]]
        y, state = network.stream(ids[:-1, :, None].double(), self.states[half])
        self.states[half] = [tensor.detach() for tensor in state]
        return cross_entropy(y.flatten(0, 1), ids[1:].flatten(), reduction="sum")

    def carried(self) -> dict[str, NDArray[Any]]:
        return {f"{half}.{i}": t.numpy() for half, state in enumerate(self.states) for i, t in enumerate(state or ())}

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        self.states = [[torch.tensor(carried[f"{half}.0"])] if carried else None for half in (0, 1)]


def network_of(chain: tuple[Block, ...]) -> Network:
    with seeded(3):
        return Network(chain).double()


def size(network: Network) -> float:
    """A score that gets better on the way: the weights shrink."""
    return sum(float(weight.square().sum()) for weight in network.parameters())


def fit(folder: Path, batch_size: int, event: str = "") -> dict[str, NDArray[Any]]:
    """The weights of both trainings."""
    checkpoint = folder / "checkpoint"
    journal = Journal.open(checkpoint, {}, resume=checkpoint.exists())
    metrics = Metrics(folder / "metrics.jsonl")
    weights: dict[str, NDArray[Any]] = {}
    with Interrupt() as interrupt, Reporter(2 * STEPS, show=False) as reporter:
        for name, chain in (("labelling", LABELLING), ("reading", READING)):
            journal.interval = 20.0 if name == "labelling" else 0.0
            objective = Labelling(batch_size) if name == "labelling" else Reading(batch_size, event)
            network = network_of(chain)
            train(
                network,
                objective,
                OPTIMISATION,
                name=name,
                seed=(0,),
                journal=journal,
                interrupt=interrupt,
                reporter=reporter,
                validate=None if name == "labelling" else size,
                metrics=metrics,
            )
            weights |= {f"{name}.{key}": tensor.numpy() for key, tensor in network.state_dict().items()}
    return weights


def refusal(path: Path | None, identity: dict[str, Any], *, resume: bool) -> str:
    """What a process is told of a journal that cannot be."""
    try:
        Journal.open(path, identity, resume=resume)
    except InputError as error:
        return str(error)
    return ""


def main() -> int:
    torch.set_num_threads(1)
    folder, batch_size = Path(sys.argv[1]), int(sys.argv[2])
    life = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    processes = distributed.start()
    last = processes.rank == processes.world - 1
    ending = {
        "error": "",
        "message": "",
        "no file": refusal(folder, {}, resume=True),  # only the first process looks
        "other settings": refusal(None, {"data": "abc", "seed": int(last)}, resume=False),
        "other data": refusal(None, {"data": "abd" if last else "abc"}, resume=False),
        "other options": refusal(folder / "none" if last else None, {}, resume=last),
    }
    try:
        weights = fit(folder, batch_size, *sys.argv[3:][life : life + 1])
        if processes.first:
            np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]
    except (InputError, Interrupted) as error:
        ending |= {"error": type(error).__name__, "message": str(error)}
    (folder / f"{life}.{processes.rank}.json").write_text(json.dumps(ending))
    return 2 if ending["error"] else 0


if __name__ == "__main__":
    ended = main()
    distributed.leave(ended)
    sys.exit(ended)
