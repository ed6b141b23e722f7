"""Training a forecaster. The only module of the task that needs PyTorch.

The network reads a series and gives, at every step, all quantiles of all horizons (forking sequences: Wen et al. 2017,
arXiv:1711.11053), so that one pass over a series trains on each of its steps. First one member is trained without the
last ``horizon`` values of every series: they show when to stop and how wide the intervals must be. Then every member is
trained on all values for that many steps.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grus.errors import note
from grus.spec import GRU, Activation, Block, Bypass, Forecast, Linear, Residual
from grus.tasks.fitted import Fitted
from grus.tasks.forecast.panel import Panel
from grus.tasks.forecast.prepare import prepare
from grus.tasks.forecast.sampling import Sampler
from grus.tasks.forecast.settings import Architecture, Settings
from grus.tasks.forecast.sound import left_out
from grus.tasks.forecast.table import Table
from grus.tasks.forecast.windows import LEAST_COUNT, Batch, Windows, bypass_size, input_size, output_size
from grus.torch.network import Network
from grus.training import distributed
from grus.training.checkpoint import Result
from grus.training.fitting import Around, Fitting, Trained, identity, numbered, optimisation
from grus.training.loop import seeded
from grus.training.objective import Part
from grus.training.schedule import Optimisation

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["fit", "make_chain"]

EPOCHS = 15
FEWEST, MOST = 300, 5000  # steps, where the settings leave them to the data
AVERAGE = 0.99  # of the weights, so that those of an early step are comparable with those of a late one
PATIENCE = 8  # looks at the held-back values that may bring nothing new
TOLERANCE = 0.01  # losses on the held-back values that are this near to the best are as good
MEASURED = 2000  # series the held-back values are looked at of, at most
FEATURES = 1 << 25  # and numbers that takes, at most
PRIOR = 20  # series that the intervals' width as trained is worth, beside those that are held back
WIDEST = 3.0  # no interval is made wider by more than this factor


def fit(table: Table, settings: Settings, **around: Unpack[Around]) -> Fitted:
    """A model trained on the series of ``table``. validation: the loss of the search's weights on what it did not see.

    around: progress, checkpoint, resume, metrics, device, and what a fit raises: :class:`grus.training.fitting.Around`.
    """
    fitting = Fitting(**around)
    panel, task = prepare(table, settings)
    windows = Windows(panel, task)
    short = ~windows.origins.any(axis=1)
    for said in (*panel.notes, *[left_out(panel.ids[short], "too short to learn from")] * bool(short.any())):
        note(said)
    held_back = _HeldBack(windows) if settings.trainer.early_stopping else None
    chain, members = make_chain(task, settings.architecture), settings.architecture.members
    how = _optimisation(settings, _sampler(windows, settings).epoch_steps)
    search = held_back is not None and held_back.learnable
    best: int | None = None
    validation: dict[str, float] = {}

    def run(name: str, member: int, windows: Windows, held_back: _HeldBack | None) -> tuple[Network, Result]:
        seed = (settings.trainer.seed, member, int(held_back is not None))
        windows.keep_ready()
        with seeded(*seed[:2]):
            network = Network(chain)
        objective = _Objective(windows, _sampler(windows, settings, seed), task, settings.optimiser.accumulate)
        validate = None if held_back is None else held_back.loss
        return network, fitting.train(name, network, objective, how, seed, validate=validate, stop=best)

    with fitting.trainings(identity("forecast", settings, _digest(table, settings)), (members + search) * how.steps):
        if held_back is not None and not search:
            fitting.reporter.message(
                f"note: the series are too short to hold their last {task.horizon} values back: "
                "no early stopping, and no calibration of the intervals"
            )
        if search and held_back is not None:
            network, result = run("search", 0, held_back.training, held_back)
            best, validation = result.step, {} if result.score is None else {"loss": result.score}
            fitting.reporter.spare(members * (how.steps - best))
            task = dataclasses.replace(task, calibration=held_back.calibration(network))
            held_back = None  # its windows are as large as those of all values
        name = "member" if members > 1 else "training"
        networks = [run(numbered(name, member, members), member, windows, None)[0] for member in range(members)]
    told = (
        f"trained on {np.sum(~short):,} series in {{took}} (window {task.window}, frequency {task.frequency}, "
        f"season {task.season}, {task.scale} scale)"
    )
    return Fitted(Trained(networks, task, fitting.history, validation).model(), fitting.history, validation, told)


def make_chain(task: Forecast, architecture: Architecture) -> tuple[Block, ...]:
    """The blocks of one member: every layer but the first adds to what the one below it gives (He et al. 2016,
    arXiv:1512.03385). Where the future is known it meets the GRU's state in a hidden layer.
    """
    hidden, around = architecture.hidden_size, bypass_size(task)
    upper = (Residual((GRU(hidden, hidden),)),) * (architecture.num_layers - 1)
    layers: tuple[Block, ...] = (GRU(input_size(task) - around, hidden), *upper)
    if not around:
        return *layers, Linear(hidden, output_size(task))
    head = (Linear(hidden + around, hidden), Activation(hidden, "relu"), Linear(hidden, output_size(task)))
    return Bypass(around, layers), *head


def _optimisation(settings: Settings, epoch_steps: int) -> Optimisation:
    steps = settings.trainer.steps or min(max(EPOCHS * epoch_steps, FEWEST), MOST)
    return optimisation(settings.optimiser, steps, patience=PATIENCE, average=AVERAGE, tolerance=TOLERANCE)


def _sampler(windows: Windows, settings: Settings, seed: Sequence[int] = ()) -> Sampler:
    processes = distributed.current()
    size = settings.optimiser.batch_size
    return Sampler(windows, windows.task.window, size, seed, processes.rank, processes.world)


def _pinball(output: Tensor, batch: Mapping[str, Tensor], task: Forecast) -> Tensor:
    """Sum of the pinball losses (Koenker & Bassett 1978) of the known targets, in units of the series (log: relative),
    each the mean over the quantiles.

    output [..., horizon · quantiles]; target and mask [..., horizon], weight [...].
    """
    target = batch["target"]
    levels = torch.tensor(task.quantiles, dtype=torch.float32, device=target.device)
    missed = target.unsqueeze(-1) - _by_step(output, task).to(target.dtype)
    losses = torch.maximum(levels * missed, (levels - 1) * missed).mean(dim=-1)
    return (losses * batch["mask"] * batch["weight"].unsqueeze(-1)).sum()


def _by_step(output: Tensor, task: Forecast) -> Tensor:
    """[..., horizon · quantiles] as [..., horizon, quantiles]."""
    return output.view(*output.shape[:-1], task.horizon, len(task.quantiles))


class _Objective:
    """The mean pinball loss of the windows the sampler gives."""

    def __init__(self, windows: Windows, sampler: Sampler, task: Forecast, accumulate: int) -> None:
        self.windows, self.sampler, self.task, self.accumulate = windows, sampler, task, accumulate

    def parts(self, step: int) -> list[Part]:
        series, stop, length = self.sampler(step)
        rows = np.array_split(np.arange(len(series)), self.accumulate)
        return [self._part(self.windows.batch(series[some], stop[some], length)) for some in rows if some.size]

    def _part(self, chosen: Batch) -> Part:
        batch = _tensors(chosen)

        def total(network: Network) -> Tensor:
            there = _beside(network, batch)
            return _pinball(network(there["x"]), there, self.task)

        return Part(batch["mask"].sum().item(), total)

    def carried(self) -> dict[str, NDArray[Any]]:
        return {}

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        pass


def _tensors(batch: Batch) -> dict[str, Tensor]:
    # copied, not shared: PyTorch aligns its own memory, and some matrix products' bits depend on the alignment
    return {field.name: torch.tensor(getattr(batch, field.name)) for field in dataclasses.fields(batch)}


def _beside(network: Network, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch on the network's device."""
    device = next(network.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


class _HeldBack:
    """The last ``horizon`` values of every series, kept from a training to judge it."""

    def __init__(self, windows: Windows) -> None:
        self.task, panel = windows.task, windows.panel
        self.training = Windows(panel.before(self.task.horizon), self.task)
        known = panel.lengths - self.task.horizon
        self.learnable = int(known.max()) >= self.task.horizon + LEAST_COUNT and bool(self.training.origins.any())
        self.batches = self._batches(windows, panel, known) if self.learnable else []
        self.learnable = any(bool(batch["mask"].any()) for batch in self.batches)
        if not distributed.current().first:  # which alone looks at them
            self.batches = []

    def _batches(self, windows: Windows, panel: Panel, known: NDArray[np.int64]) -> list[dict[str, Tensor]]:
        rows = np.flatnonzero(known >= LEAST_COUNT)
        size = min(int(known.max()), self.task.window) * input_size(self.task)
        count = min(len(rows), MEASURED, max(FEATURES // size, 16))
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
        rows = rows[np.argsort(known[rows], kind="stable")]
        batches = []
        for start in range(0, count, 256):
            chosen = rows[start : start + 256]
            length = min(int(known[chosen].max()), self.task.window)
            tensors = _tensors(windows.batch(chosen, panel.steps - self.task.horizon, length))
            # of the targets only what the last step sees ahead was held back
            batches.append({name: tensor if name == "x" else tensor[-1] for name, tensor in tensors.items()})
        return batches

    def loss(self, network: Network) -> float:
        """The training loss on the held-back values."""
        total = count = 0.0
        for batch in self.batches:
            known, there = batch["mask"].sum().item(), _beside(network, batch)
            mean = _pinball(network(there["x"], last=True), there, self.task) / max(1.0, known)
            total += mean.item() * known
            count += known
        return total / count

    def calibration(self, network: Network) -> tuple[float, ...]:
        """:meth:`factors` as the first process finds them, in all of them."""
        data = distributed.from_first(lambda: json.dumps(self.factors(network)).encode())
        return tuple(json.loads(data))

    def factors(self, network: Network) -> tuple[float, ...]:
        """For each quantile the factor on its distance from the median that makes it true of the held-back values.

        A level and its mirror image share one, so that a trend of the held-back values does not tilt the interval. It
        is never below 1, for what was trained on looks more certain than what is to come, and the fewer series there
        are, the nearer to 1 it stays.
        """
        levels, middle = np.array(self.task.quantiles), self.task.quantiles.index(0.5)
        outputs, targets = [], []
        with torch.no_grad():
            for batch in self.batches:
                known = batch["mask"] > 0
                quantiles = _by_step(network(batch["x"], last=True), self.task)
                outputs.append(quantiles[known].sort(dim=-1).values)
                targets.append(batch["target"][known])
        output, target = torch.cat(outputs).double().numpy(), torch.cat(targets).double().numpy()
        distance = output - output[:, middle : middle + 1]
        # y <= median + c · distance where (y - median) / distance is at most c, or, below the median, at least
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (target - output[:, middle])[:, None] / distance
        weight = sum(int(batch["mask"].any(dim=1).sum()) for batch in self.batches)
        factors = np.ones(len(levels))
        for size in np.unique(np.abs(levels - 0.5).round(9)):
            pair = np.flatnonzero(np.abs(np.abs(levels - 0.5) - size) < 1e-9)
            ratios = ratio[:, pair][np.abs(distance[:, pair]) > 1e-9]
            if size and ratios.size:
                factor = np.clip(np.quantile(ratios, 0.5 + size), 1.0, WIDEST)
                factors[pair] = (factor * weight + PRIOR) / (weight + PRIOR)
        return tuple(factors.tolist())


def _digest(table: Table, settings: Settings) -> hashlib._Hash:
    """Of the columns that are read."""
    digest = hashlib.sha256()
    for name in ("unique_id", "ds", "y", *settings.past, *settings.future, *settings.static):
        column = table[name]
        plain = column.astype(str) if column.dtype.kind == "O" else column
        digest.update(f"{name} {plain.dtype.str} {plain.shape}".encode() + np.ascontiguousarray(plain).tobytes())
    return digest
