"""The training loop. It knows networks, objectives and checkpoints, and nothing of any task."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from grus.errors import InputError
from grus.torch.network import Network
from grus.training import distributed
from grus.training.checkpoint import Journal, Result
from grus.training.failures import Diverged, LostWorker, OutOfMemory, is_lost_worker, is_out_of_memory
from grus.training.interrupt import Interrupt, Interrupted
from grus.training.metrics import Metrics
from grus.training.objective import Objective
from grus.training.progress import Reporter
from grus.training.run import Run, arrays_of, load_arrays
from grus.training.schedule import Optimisation, learning_rate

__all__ = ["Diverged", "seeded", "train"]


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """PyTorch's generator seeded from ``key``, and put back afterwards."""
    with _own_generators():
        _seed(key)
        yield


@contextmanager
def _own_generators() -> Iterator[None]:
    device = distributed.current().device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _seed(key: Sequence[int]) -> None:
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    if distributed.current().device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # torch.manual_seed gives the same, but prepares GPUs for 0.6 ms
    else:
        torch.manual_seed(seed)


def train(
    network: Network,
    objective: Objective,
    optimisation: Optimisation,
    *,
    name: str,
    seed: Sequence[int],
    journal: Journal,
    interrupt: Interrupt,
    reporter: Reporter,
    validate: Callable[[Network], float] | None = None,
    stop: int | None = None,
    metrics: Metrics | None = None,
) -> Result:
    """Train ``network`` in place for ``optimisation.steps`` updates, or until validation stops getting better.

    objective: the losses of each step; PyTorch's generator is seeded from ``seed``, the step and the rank before it is
    asked. validate(network) gives a metric, lower is better, of the first process; the weights that did best are kept,
    else the last ones. ``stop`` ends the same training after fewer steps: the learning rate is still that of all of
    them. A training of this name that the journal has finished is not run again, one it has begun goes on where it
    was, to the same bits. The processes that ``distributed.start`` found train together; the network is on their
    device meanwhile, and on the CPU afterwards.

    Raises Interrupted (the checkpoint is written) when ``interrupt`` is requested in any process, Diverged when the
    loss is no longer finite (the checkpoint holds the state before that step) or the metric is not, OutOfMemory (the
    checkpoint holds the state before that step in one process, in several it is the last written) and LostWorker when
    another process ended (the last written checkpoint stands).
    """
    end = min(stop or optimisation.steps, optimisation.steps)
    if name in journal.finished:
        reporter.spare(end)
        result = journal.finished[name]
        load_arrays(network, dict(result.arrays))
        return result
    processes = distributed.current()
    _check_precision(optimisation, processes.device)
    reporter.begin(name, end)
    run: Run | None = None
    try:
        with _own_generators():
            run = Run(network.to(processes.device).train(), objective, optimisation)
            loop = _Loop(run, name, end, seed, journal, interrupt, reporter, validate, metrics)
            loop.begin()
            while run.step < end and not (validate is not None and run.stalled):
                loop.step()
            return loop.finish()
    except (MemoryError, RuntimeError) as error:
        where = f"at step {reporter.step} of {end} ({name})"
        if is_out_of_memory(error):
            if run is not None and run.intact and processes.world == 1:
                traceback.clear_frames(error.__traceback__)  # they hold what the step computed
                run.optimiser.zero_grad()
                journal.update(run.to_running(name))
            raise OutOfMemory(f"out of memory {where}: take a smaller batch{_way_on(journal)}") from error
        if processes.world > 1 and is_lost_worker(error):
            raise LostWorker(f"another process of the training was lost {where}{_way_on(journal)}") from error
        raise
    finally:
        network.cpu()
        if metrics is not None:
            metrics.end()


def _way_on(journal: Journal) -> str:
    if journal.path is None or journal.running is None:
        return "; no checkpoint was kept"
    return f"; the checkpoint {str(journal.path)!r} holds step {journal.running.step}: resume goes on from there"


def _check_precision(optimisation: Optimisation, device: torch.device) -> None:
    if optimisation.precision == "float32":
        return
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:
        able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not able:
        raise InputError(f"precision is 'bfloat16', which this machine's {device.type} does not have: take 'float32'")


@dataclass
class _Loop:
    """A run, and what :func:`train` was given around it. ``end``: the step it ends at."""

    run: Run
    name: str
    end: int
    seed: Sequence[int]
    journal: Journal
    interrupt: Interrupt
    reporter: Reporter
    validate: Callable[[Network], float] | None
    metrics: Metrics | None

    def begin(self) -> None:
        if self.journal.running is not None and self.journal.running.name == self.name:
            self.run.restore(self.journal.running)
            self.reporter.skip(self.run.step)
        else:
            self.save()
        if self.metrics is not None:
            self.metrics.begin(self.name, self.run.step, self.journal.finished)

    def save(self) -> None:
        self.journal.update(self.run.to_running(self.name))

    def step(self) -> None:
        run, rank = self.run, self.run.processes.rank
        run.carried = run.objective.carried()
        _seed([*self.seed, run.step, rank] if rank else [*self.seed, run.step])
        parts = run.objective.parts(run.step)
        # all that the processes must agree on before they begin a step
        count, stopped, due = distributed.add(
            [sum(part.count for part in parts), float(self.interrupt.requested), float(self.journal.due)]
        )
        if stopped or due:
            self.save()
        if stopped:
            raise Interrupted(f"stopped at step {run.step} of {self.end} ({self.name})")
        value = run.gradient(parts, count)
        if not run.update(value):
            self.save()
            raise self._diverged(f"the loss became {value:g} or its gradient infinite")
        last = run.step == self.end
        score = self._measure() if run.step % run.optimisation.validate_every == 0 or last else None
        run.intact = True
        self.reporter.update(value, score)

    def _measure(self) -> float | None:
        score = self.run.measure(self.validate)
        if score is not None and not math.isfinite(score):
            raise self._diverged(f"the validation became {score:g}")
        if self.metrics is not None:
            rate = learning_rate(self.run.optimisation, self.run.step - 1)
            row = {"training": self.name, **self.run.curve[-1], "learning_rate": rate, "seconds": self.run.elapsed()}
            self.metrics.write(row)
        return score

    def _diverged(self, what: str) -> Diverged:
        rate = self.run.optimisation.learning_rate
        advice = f"lower the learning rate (it is {rate:g}), or look for extreme values"
        return Diverged(f"{what} at step {self.run.step} ({self.name}): {advice}")

    def finish(self) -> Result:
        run = self.run
        self.reporter.spare(self.end - run.step)
        early = "" if run.step == self.end else f"; ended early: no better since, of {self.end} steps at most"
        best = f"the best was step {run.best_step}, which is kept, of {run.step}" if run.best else f"{run.step} steps"
        self.reporter.message(f"{self.name}: {best}{early}")
        if run.best:
            result = Result(run.best, run.best_step, run.best_score, run.curve)
        else:
            result = Result(arrays_of(run.kept), run.step, None, run.curve)
        load_arrays(run.network, dict(result.arrays))
        self.journal.finish(self.name, result)
        return result
