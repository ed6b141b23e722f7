"""Running pooling with NumPy: ``grus.spec.Pool`` on float32, whole or as a stream.

Sums run in the order of time (NumPy's reduce would add in pairs), and e^a goes through the kernels: so the bits depend
neither on the batch nor on how a sequence is cut. The equations are in docs/spec.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from grus.runtime import kernels
from grus.spec.blocks import Pool

__all__ = ["Pooling"]

Array = NDArray[np.float32]

MOST_STEPS = np.float32(1 << 24)  # that float32 can count one by one: here the count of a longer stream stops


class Pooling:
    """A Pool block and its arrays, ready to run."""

    def __init__(self, block: Pool, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.size, self.function, self.state_size, self.isa = block.size, block.function, block.state_size, isa
        if block.function == "attention":
            self.hidden = kernels.Dense(arrays[prefix + "weight"], arrays[prefix + "bias"], isa=isa)
            self.query = kernels.Dense(arrays[prefix + "query"][None], isa=isa)

    def __call__(
        self, x: Array, state: Array | None, last: bool, ends: NDArray[np.int64] | None
    ) -> tuple[Array, Array]:
        """x [T, B, F] and a state [B, S] (None: zeros) to y [T, B, F] and the state after it.

        With ``last`` y is [1, B, F], of the last step. ``ends`` [B]: row b has the first ends[b] steps, and what y is
        behind them says nothing.
        """
        if state is None:
            state = np.zeros((x.shape[1], self.state_size), np.float32)
        if not len(x):
            return x.copy(), state.copy()
        held, weight, most = (self._attend if self.function == "attention" else self._gather)(x, state)
        final = -1 if ends is None else (np.maximum(ends - 1, 0), np.arange(x.shape[1]))
        parts = [held[final], weight[final][:, None], *(() if most is None else (most[final][:, None],))]
        after = np.concatenate(parts, axis=-1)
        if ends is not None:
            after[ends == 0] = state[ends == 0]
        if last:
            held, weight = held[final][None], weight[final][None]
        with np.errstate(all="ignore"):
            y = held / weight[..., None] if self.function in ("mean", "attention") else held.copy()
        return y, after

    def _gather(self, x: Array, state: Array) -> tuple[Array, Array, None]:
        """The maximum, the sum or the ends so far [T, B, F], and the number of steps [T, B]."""
        start, seen = state[:, : self.size], state[:, self.size]
        steps = np.arange(1, len(x) + 1, dtype=np.float32)[:, None]
        count = np.minimum(seen + steps, MOST_STEPS)
        held = x + np.float32(0)  # −0 becomes 0: maximum() may give either zero
        if self.function == "ends":
            half = self.size // 2
            held[:, :, half:] = np.where(seen[:, None] == 0, held[0, :, half:], start[:, half:])
            return held, count, None
        with np.errstate(all="ignore"):
            if self.function == "max":
                held[0] = np.where(seen[:, None] == 0, held[0], np.maximum(start, held[0]))
            else:
                held[0] += start
            combine = np.maximum if self.function == "max" else np.add
            for t in range(1, len(x)):  # several times quicker than accumulate along the first axis
                combine(held[t - 1], held[t], out=held[t])
        return held, count, None

    def _attend(self, x: Array, state: Array) -> tuple[Array, Array, Array]:
        """Σ e^(s − m) x [T, B, F], Σ e^(s − m) [T, B] and m [T, B], the largest score so far."""
        start, seen, before = state[:, : self.size], state[:, self.size], state[:, self.size + 1]
        scores = self.query(kernels.activate(self.hidden(x), "tanh", isa=self.isa))[..., 0] + np.float32(0)
        with np.errstate(all="ignore"):
            most = scores.copy()
            most[0] = np.where(seen == 0, scores[0], np.maximum(before, scores[0]))
            np.maximum.accumulate(most, axis=0, out=most)
            new = self._exp(scores - most)
            old = self._exp(np.concatenate([before[None], most[:-1]]) - most)
            old[0][seen == 0] = 0
            held, weight = x * new[..., None], new
            held[0] += start * old[0][:, None]
            weight[0] += seen * old[0]
            for t in range(1, len(x)):
                held[t] += held[t - 1] * old[t][:, None]
                weight[t] += weight[t - 1] * old[t]
        return held, weight, most

    def _exp(self, a: Array) -> Array:
        """e^a = σ(a) / σ(−a) of a ≤ 0, with the bits the kernels promise and NumPy's exp does not; 0 gives 1."""
        above, below = (kernels.activate(each, "sigmoid", isa=self.isa) for each in (a, -a))
        ratio: Array = above / below
        return ratio
