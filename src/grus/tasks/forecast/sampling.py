"""Which windows a training step sees: a pure function of the seed and the step, so that no checkpoint need hold it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.forecast.windows import LEAST_COUNT, Windows

__all__ = ["Sampler"]

BUCKET = 8  # batches that are sorted by length together: little padding, and still much chance

Rows = NDArray[np.int64]


class Sampler:
    """Every series once an epoch, one longer than ``window`` as often as it has windows, cut elsewhere each time.

    batch_size: series of one process in a step. rank, world: this process, and how many there are: what a step sees in
    all of them depends on batch_size · world alone.

    Raises InputError when no series has a step to train on.
    """

    def __init__(
        self, windows: Windows, window: int, batch_size: int, seed: Sequence[int], rank: int = 0, world: int = 1
    ) -> None:
        steps = windows.panel.steps
        # the last step has nothing after it to learn from
        self.end = max(steps - 1, 1)
        self.rows = np.flatnonzero(windows.origins.any(axis=1))
        if not self.rows.size:
            raise InputError(
                f"nothing to learn from: no series has {LEAST_COUNT} values of y and another within "
                f"{windows.task.horizon} steps after them; bring more data, or a longer horizon"
            )
        self.spans = np.maximum(windows.panel.lengths[self.rows] - (steps - self.end), 1)
        self.window, self.batch_size, self.seed = window, batch_size * world, tuple(seed)
        self.rank, self.world = rank, world
        self.cuts = -(-self.spans // window)  # windows a series gives in an epoch
        self.epoch_steps = int(-(-self.cuts.sum() // self.batch_size))
        self._epoch: tuple[int, list[tuple[Rows, Rows, int]]] = (-1, [])

    def __call__(self, step: int) -> tuple[Rows, Rows, int]:
        """(series [B], stop [B], length): the ``length`` steps before column ``stop`` of each series.

        Those of this process, none where a step has too few; ``length`` is that of all processes, for the steps before
        a series' first change the state it begins in.
        """
        epoch, index = divmod(step, self.epoch_steps)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        series, stop, length = self._epoch[1][index]
        return series[self.rank :: self.world], stop[self.rank :: self.world], length

    def _batches(self, epoch: int) -> list[tuple[Rows, Rows, int]]:
        random = np.random.default_rng([*self.seed, epoch])
        items = np.repeat(np.arange(len(self.rows)), self.cuts)
        number = np.arange(len(items)) - np.repeat(np.cumsum(self.cuts) - self.cuts, self.cuts)
        shift = random.integers(0, self.window, len(self.rows))[items]
        # as many cuts as cover the series, moved by the shift, each a whole window of it where it has one
        spans = self.spans[items]
        back = np.clip(number * self.window - shift, 0, np.maximum(spans - self.window, 0))
        order = random.permutation(len(items))
        size = self.batch_size * BUCKET
        lengths = np.minimum(spans, self.window)
        batches = []
        for start in range(0, len(order), size):
            bucket = order[start : start + size]
            bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
            for first in range(0, len(bucket), self.batch_size):
                chosen = bucket[first : first + self.batch_size]
                batches.append((self.rows[items[chosen]], self.end - back[chosen], int(lengths[chosen].max())))
        return [batches[i] for i in random.permutation(len(batches))]
