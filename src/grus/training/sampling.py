"""Which sequences a step sees: a pure function of seed and step, so that no checkpoint need hold it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grus.errors import InputError

__all__ = ["Buckets"]


class Buckets:
    """Batches of sequences of similar length, every sequence once an epoch.

    lengths [N]: steps of each sequence. batch_size: sequences of one process in a step; a step's batch, of all
    processes, is batch_size · world, or a little less, so that an epoch's batches are of one size but for one sequence.
    seed: one or several integers of at least 0. rank, world: this process, and how many there are.
    buckets: batches that are sorted by length together: more pad less, and leave less to chance.

    An epoch is a permutation, cut into groups of ``buckets`` batches; each group is sorted by length and cut into
    batches, which come in a random order. What a step sees depends on ``world`` by batch_size · world alone (a batch
    size of 1 excepted: no process is ever left without a sequence).

    Raises InputError for fewer sequences than processes, or sizes below 1.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        batch_size: int,
        seed: int | Sequence[int],
        rank: int = 0,
        world: int = 1,
        *,
        buckets: int = 8,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        for name, value in (("batch_size", batch_size), ("world", world), ("buckets", buckets)):
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if not 0 <= rank < world:
            raise InputError(f"rank is {rank}, expected 0 to {world - 1}, for there are {world} processes")
        if self.lengths.ndim != 1 or len(self.lengths) < world:
            raise InputError(f"lengths has shape {self.lengths.shape}, expected (N,), at least one for each of {world}")
        self.seed = (seed,) if isinstance(seed, (int, np.integer)) else tuple(seed)
        self.rank, self.world, self.buckets = rank, world, buckets
        count = len(self.lengths)
        self.epoch_steps = min(-(-count // (batch_size * world)), count // world)
        self._epoch: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def indices(self, step: int) -> NDArray[np.int64]:
        """The sequences of this process in that step, at least one, from long to short."""
        epoch, index = divmod(step, self.epoch_steps)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        return self._epoch[1][index][self.rank :: self.world]

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        random = np.random.default_rng([*self.seed, epoch])
        order = random.permutation(len(self.lengths))
        ends = np.arange(self.epoch_steps + 1) * len(order) // self.epoch_steps  # batches of equal size but for one
        for first in range(0, self.epoch_steps, self.buckets):
            group = slice(ends[first], ends[min(first + self.buckets, self.epoch_steps)])
            order[group] = order[group][np.argsort(-self.lengths[order[group]], kind="stable")]
        batches = np.split(order, ends[1:-1])
        return [batches[index] for index in random.permutation(self.epoch_steps)]
