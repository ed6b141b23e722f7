"""A fit as a script for torchrun: ``shared_fit.py FOLDER BATCH``, each process taking BATCH series a step.

Networks and batches are in float64, where a mistake cannot hide behind rounding. The first process writes the weights
of both trainings to FOLDER/weights.npz; every process its model's task to FOLDER/RANK.json.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from grus.tasks.forecast import fit as module
from grus.tasks.forecast.settings import Architecture, Optimiser, Settings, Trainer
from grus.tasks.forecast.table import Table
from grus.torch.network import Network
from grus.training import distributed, fitting

LENGTHS = (33, 15, 13, 12, 11)  # of some steps' batches the last process gets nothing


def table() -> Table:
    random = np.random.default_rng(0)
    ids = np.repeat([f"s{i}" for i in range(len(LENGTHS))], LENGTHS)
    ds = np.concatenate([np.arange(n) for n in LENGTHS])
    return Table({"unique_id": ids, "ds": ds, "y": np.exp(np.sin(ds / 2) + 0.3 * random.standard_normal(len(ds)))})


def fit(folder: Path, batch_size: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The weights, by training, and the task."""
    settings = Settings(
        horizon=4,
        window=8,
        architecture=Architecture(hidden_size=5),
        optimiser=Optimiser(learning_rate=1e-2, batch_size=batch_size, clip=0.5),
        trainer=Trainer(steps=10),
    )
    weights: dict[str, NDArray[Any]] = {}
    tensors, train = module._tensors, fitting.train

    def keep(*arguments: Any, name: str, **options: Any) -> Any:
        result = train(*arguments, name=name, **options)
        weights.update({f"{name}.{key}": array for key, array in result.arrays.items()})
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Network", lambda chain: Network(chain).double())
        patch.setattr(module, "_tensors", lambda batch: {n: t.double() for n, t in tensors(batch).items()})
        patch.setattr(fitting, "train", keep)
        model = module.fit(
            table(), settings, progress=False, checkpoint=folder / "checkpoint", metrics=folder / "metrics.jsonl"
        ).model
    assert model.spec.task is not None
    return weights, dataclasses.asdict(model.spec.task)


def main() -> None:
    torch.set_num_threads(1)
    folder, batch_size = Path(sys.argv[1]), int(sys.argv[2])
    weights, task = fit(folder, batch_size)
    processes = distributed.current()
    if processes.first:
        np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]
    (folder / f"{processes.rank}.json").write_text(json.dumps(task))


if __name__ == "__main__":
    main()
