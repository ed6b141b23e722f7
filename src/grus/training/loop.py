"""The training loop. It knows networks, losses and checkpoints, and nothing of any task."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grus.errors import InputError
from grus.torch.network import Network
from grus.training.checkpoint import Journal, Result, Running
from grus.training.interrupt import Interrupt, Interrupted
from grus.training.progress import Reporter
from grus.training.schedule import Optimisation, learning_rate

__all__ = ["Diverged", "seeded", "train"]


class Diverged(InputError):
    """A training whose loss or validation is no longer finite. It is repeatable: from its checkpoint it ends so too."""


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """PyTorch's generator seeded from ``key``, and put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        _seed(key)
        yield


def _seed(key: Sequence[int]) -> None:
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))


NUMBERS = ("best_step", "best_score", "lowest", "loss_sum", "loss_count", "curve")  # of a run, beside its arrays


class _Run:
    """One training under way: all that changes from step to step, and so all that a checkpoint must hold."""

    def __init__(self, network: Network, optimisation: Optimisation) -> None:
        self.network, self.optimisation = network, optimisation
        self.optimiser = torch.optim.AdamW(
            network.parameters(), betas=optimisation.betas, weight_decay=optimisation.weight_decay
        )
        self.average = copy.deepcopy(network).eval().requires_grad_(False) if optimisation.average else None
        self.step = 0
        self.best: dict[str, NDArray[Any]] = {}
        self.best_step, self.best_score, self.lowest = 0, math.inf, math.inf
        self.loss_sum, self.loss_count = 0.0, 0
        self.curve: list[dict[str, Any]] = []

    @property
    def kept(self) -> Network:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.network if self.average is None else self.average

    def advance(self, loss: Tensor) -> bool:
        """Update the weights; False, with nothing changed, when the loss or its gradient is not finite."""
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.optimisation.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            return False
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.optimisation, self.step)
        self.optimiser.step()
        self.step += 1
        if self.average is not None:
            # early on the average follows faster, so that it forgets the first weights
            decay = min(self.optimisation.average, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
                    mean.lerp_(weight, 1 - decay)
        self.loss_sum += loss.item()
        self.loss_count += 1
        return True

    def measure(self, validate: Callable[[Network], float] | None) -> float | None:
        """Add a row to the curve; with ``validate``, keep the weights that did best. A score that is not finite, with
        which the training must end, changes nothing.
        """
        score = None
        if validate is not None:
            was_training = self.kept.training
            self.kept.eval()
            with torch.no_grad():
                score = float(validate(self.kept))
            self.kept.train(was_training)
            if not math.isfinite(score):
                return score
            self.lowest = min(score, self.lowest)
            if score <= self.lowest + self.optimisation.tolerance * abs(self.lowest):
                self.best, self.best_step, self.best_score = arrays_of(self.kept), self.step, score
        row = {"step": self.step, "loss": self.loss_sum / max(1, self.loss_count)}
        if score is not None:
            row["validation"] = score
        self.curve.append(row)
        self.loss_sum, self.loss_count = 0.0, 0
        return score

    def to_running(self, name: str) -> Running:
        arrays = {f"network/{key}": array for key, array in arrays_of(self.network).items()}
        if self.average is not None:
            arrays |= {f"average/{key}": array for key, array in arrays_of(self.average).items()}
        arrays |= {f"best/{key}": array for key, array in self.best.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            arrays |= {f"optimiser/{index}/{key}": tensor.numpy().copy() for key, tensor in state.items()}
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return Running(name, self.step, arrays, {k: None if v == math.inf else v for k, v in numbers.items()})

    def restore(self, running: Running) -> None:
        arrays, numbers = running.arrays, running.numbers
        state: dict[int, dict[str, Tensor]] = {}
        for key, array in arrays.items():
            kind, _, rest = key.partition("/")
            if kind == "optimiser":
                index, _, entry = rest.partition("/")
                state.setdefault(int(index), {})[entry] = torch.tensor(array)
            elif kind == "best":
                self.best[rest] = array
        load_arrays(self.network, {k[8:]: a for k, a in arrays.items() if k.startswith("network/")})
        if self.average is not None:
            load_arrays(self.average, {k[8:]: a for k, a in arrays.items() if k.startswith("average/")})
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.step = running.step
        for name in NUMBERS:
            setattr(self, name, math.inf if numbers[name] is None else numbers[name])


def arrays_of(network: Network) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def load_arrays(network: Network, arrays: dict[str, NDArray[Any]]) -> None:
    network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})


def train(
    network: Network,
    loss: Callable[[Network, int], Tensor],
    optimisation: Optimisation,
    *,
    name: str,
    seed: Sequence[int],
    journal: Journal,
    interrupt: Interrupt,
    reporter: Reporter,
    validate: Callable[[Network], float] | None = None,
    stop: int | None = None,
) -> Result:
    """Train ``network`` in place for ``optimisation.steps`` updates, or until validation stops getting better.

    loss(network, step) gives the loss of that step's batch; it must be a pure function of the weights and the step
    (PyTorch's generator is seeded from ``seed`` and the step). validate(network) gives a metric, lower is better; the
    weights that did best are kept, else the last ones. ``stop`` ends the same training after fewer steps: the learning
    rate is still that of all of them. A training of this name that the journal has finished is not
    run again, one it has begun goes on where it was, to the same bits.

    Raises Interrupted (the checkpoint is written) when ``interrupt`` is requested, and Diverged when the loss is no
    longer finite (the checkpoint holds the state before that step) or the metric is not.
    """
    every, end = optimisation.validate_every, min(stop or optimisation.steps, optimisation.steps)
    if name in journal.finished:
        reporter.spare(end)
        result = journal.finished[name]
        load_arrays(network, dict(result.arrays))
        return result
    reporter.begin(name, end)
    run = _Run(network.train(), optimisation)
    if journal.running is not None and journal.running.name == name:
        run.restore(journal.running)
        reporter.skip(run.step)
    else:
        journal.update(run.to_running(name))
    advice = f"lower the learning rate (it is {optimisation.learning_rate:g}), or look for extreme values"
    with torch.random.fork_rng(devices=[]):
        while run.step < end and not _stalled(run, validate is not None):
            if interrupt.requested:
                journal.update(run.to_running(name))
                raise Interrupted(f"stopped at step {run.step} of {end} ({name})")
            if journal.due:
                journal.update(run.to_running(name))
            _seed([*seed, run.step])
            value = loss(network, run.step)
            if not run.advance(value):
                journal.update(run.to_running(name))
                raise Diverged(
                    f"the loss became {value.item():g} or its gradient infinite at step {run.step} ({name}): {advice}"
                )
            last = run.step == end
            score = run.measure(validate) if run.step % every == 0 or last else None
            if score is not None and not math.isfinite(score):
                raise Diverged(f"the validation became {score:g} at step {run.step} ({name}): {advice}")
            reporter.update(value.item(), score)
    reporter.spare(end - run.step)
    if run.best:
        load_arrays(network, run.best)
        result = Result(run.best, run.best_step, run.best_score, run.curve)
    else:
        load_arrays(network, arrays_of(run.kept))
        result = Result(arrays_of(network), run.step, None, run.curve)
    journal.finish(name, result)
    return result


def _stalled(run: _Run, validated: bool) -> bool:
    waited = run.step - run.best_step
    return validated and waited >= run.optimisation.patience * run.optimisation.validate_every
