"""One training under way: all that changes from step to step, and so all that a checkpoint must hold."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from grus.errors import InputError
from grus.torch.network import Network
from grus.training import distributed
from grus.training.checkpoint import Running
from grus.training.objective import Objective, Part
from grus.training.schedule import Optimisation, learning_rate

__all__ = ["Run", "arrays_of", "load_arrays"]

# of a run, beside its arrays
NUMBERS = ("best_step", "best_score", "lowest", "loss_sum", "loss_count", "curve", "seconds")


class _Total(nn.Module):
    """What DistributedDataParallel wraps: it wants the network inside a module whose forward pass is the loss."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, total: Callable[[Network], Tensor]) -> Tensor:
        return total(self.network)


def _nothing(network: Network) -> Tensor:
    """The total of no losses, so that a process without a part takes its place in the reduction of the gradients."""
    return torch.stack([(weight * 0).sum() for weight in network.parameters()]).sum()


def _reduced(total: _Total) -> DistributedDataParallel:
    """``total`` with its gradients averaged over the processes, by sums whose order is the same at every step.

    DistributedDataParallel orders the gradients anew after the first backward pass, in which they come, and with three
    or more processes the order decides how sums are rounded. A pass that moves nothing has it do so before the first
    step, so that a step's bits do not depend on how many steps this process has made before.
    """
    reduced = DistributedDataParallel(total)
    reduced(_nothing).backward()
    total.zero_grad()
    return reduced


class Run:
    """The training of ``network`` under way. ``intact``: the state is that after ``step`` whole updates."""

    def __init__(self, network: Network, objective: Objective, optimisation: Optimisation) -> None:
        self.network, self.objective, self.optimisation = network, objective, optimisation
        self.processes = distributed.current()
        self.optimiser = torch.optim.AdamW(
            network.parameters(), betas=optimisation.betas, weight_decay=optimisation.weight_decay
        )
        self.average = copy.deepcopy(network).eval().requires_grad_(False) if optimisation.average else None
        self.total = _Total(network)
        self.reduced = _reduced(self.total) if self.processes.world > 1 else None
        self.step = 0
        self.intact = True
        self.carried = objective.carried()
        self.best: dict[str, NDArray[Any]] = {}
        self.best_step, self.best_score, self.lowest = 0, math.inf, math.inf
        self.loss_sum, self.loss_count = 0.0, 0
        self.curve: list[dict[str, Any]] = []
        self.seconds, self._since = 0.0, time.monotonic()

    @property
    def kept(self) -> Network:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.network if self.average is None else self.average

    @property
    def stalled(self) -> bool:
        """Whether validation has brought nothing new for so long that the training is to end."""
        return self.step - self.best_step >= self.optimisation.patience * self.optimisation.validate_every

    def elapsed(self) -> float:
        """Seconds of this training, without those between an interruption and its resumption."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        return self.seconds

    def gradient(self, parts: Sequence[Part], count: float) -> float:
        """Set the gradient of Σ totals / ``count``; gives the loss: in one process that value, in several this one's
        share of it times their number. Where it is not finite, neither is the gradient, in any process.
        """
        self.optimiser.zero_grad()
        value = torch.zeros((), device=self.processes.device)
        totals = [part.total for part in parts] or [_nothing]
        for index, total in enumerate(totals):
            with self._reduction(last=index == len(totals) - 1):
                with self._autocast():
                    # gradients are averaged over the processes, which takes their number out again
                    loss = self._forward(total) / ((count or 1.0) / self.processes.world)
                finite = torch.isfinite(loss.detach())
                loss.backward(torch.where(finite, 1.0, math.nan).to(loss.dtype))  # type: ignore[no-untyped-call]
            value = value + loss.detach()
        return value.item()

    def _forward(self, total: Callable[[Network], Tensor]) -> Tensor:
        loss: Tensor = (self.total if self.reduced is None else self.reduced)(total)
        return loss

    def _reduction(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last or self.reduced is None else self.reduced.no_sync()

    def _autocast(self) -> AbstractContextManager[None]:
        if self.optimisation.precision == "float32":
            return nullcontext()
        return torch.autocast(self.processes.device.type, torch.bfloat16)

    def update(self, value: float) -> bool:
        """Update the weights; False, with nothing changed, when the loss ``value`` or its gradient is not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.optimisation.clip_norm)
        if not (math.isfinite(value) and torch.isfinite(norm)):
            return False
        self.intact = False
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
        self.loss_sum += value
        self.loss_count += 1
        return True

    def measure(self, validate: Callable[[Network], float] | None) -> float | None:
        """Add a row to the curve; with ``validate``, keep the weights that did best. A score that is not finite, with
        which the training must end, changes nothing.
        """
        score = 0.0
        if validate is not None and self.processes.first:
            was_training = self.kept.training
            self.kept.eval()
            with torch.no_grad():
                score = float(validate(self.kept))
            self.kept.train(was_training)
        loss, score = distributed.add([self.loss_sum, score])
        row = {"step": self.step, "loss": loss / self.processes.world / max(1, self.loss_count)}
        if validate is not None:
            if not math.isfinite(score):
                return score
            row["validation"] = score
            self.lowest = min(score, self.lowest)
            if score <= self.lowest + self.optimisation.tolerance * abs(self.lowest):
                self.best, self.best_step, self.best_score = arrays_of(self.kept), self.step, score
        self.curve.append(row)
        self.loss_sum, self.loss_count = 0.0, 0
        return None if validate is None else score

    def to_running(self, name: str) -> Running:
        """All of it, with what every process carries: all of them must ask."""
        arrays = {f"network/{key}": array for key, array in arrays_of(self.network).items()}
        if self.average is not None:
            arrays |= {f"average/{key}": array for key, array in arrays_of(self.average).items()}
        arrays |= {f"best/{key}": array for key, array in self.best.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            arrays |= {f"optimiser/{index}/{key}": tensor.cpu().numpy().copy() for key, tensor in state.items()}
        carried = {key: np.ascontiguousarray(array) for key, array in self.carried.items()}
        for rank, data in enumerate(distributed.gather(save(carried))):
            arrays |= {f"carried/{rank}/{key}": array for key, array in load(data).items()}
        self.elapsed()
        numbers = {name: getattr(self, name) for name in NUMBERS}
        numbers["loss_sum"] = distributed.add([self.loss_sum])[0] / self.processes.world
        numbers = {key: None if value == math.inf else value for key, value in numbers.items()}
        return Running(name, self.step, arrays, numbers | {"processes": self.processes.world})

    def restore(self, running: Running) -> None:
        """Go on from ``running``. Raises InputError when that was a training of another number of processes."""
        arrays, numbers = running.arrays, running.numbers
        if numbers["processes"] != self.processes.world:
            raise InputError(
                f"the checkpoint is of a training in {numbers['processes']} processes, this one has "
                f"{self.processes.world}: resume with as many"
            )

        def below(prefix: str) -> dict[str, NDArray[Any]]:
            return {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}

        state: dict[int, dict[str, Tensor]] = {}
        for key, array in below("optimiser/").items():
            index, _, entry = key.partition("/")
            state.setdefault(int(index), {})[entry] = torch.tensor(array)
        load_arrays(self.network, below("network/"))
        if self.average is not None:
            load_arrays(self.average, below("average/"))
        self.best = below("best/")
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.carried = below(f"carried/{self.processes.rank}/")
        self.objective.restore(self.carried)
        self.step = running.step
        for name in NUMBERS:
            setattr(self, name, math.inf if numbers[name] is None else numbers[name])


def arrays_of(network: Network) -> dict[str, NDArray[Any]]:
    """The weights of ``network``, copied."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def load_arrays(network: Network, arrays: dict[str, NDArray[Any]]) -> None:
    """Set the weights of ``network``."""
    network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
