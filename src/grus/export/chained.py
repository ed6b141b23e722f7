"""The equations in float32 as plain C spells them: every sum one chain, from its first term or from its last.

A product of a matrix library goes in blocks, and ``grus.reference`` has its sigmoid by tanh. What rounding does differs
with both, and where a sum is large or a gate nearly shut, by more than from run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chained"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Chained:
    """What ``grus.exact.run`` takes for its arithmetic. ``turned``: from the last term."""

    turned: bool

    def product(self, x: Array, W: Array) -> Array:
        """x [..., K] and W [N, K] to x W^T [..., N]."""
        sums = self._sums(x.reshape(-1, x.shape[-1]), self._columns(W))[:, : len(W)]
        return sums.reshape(*x.shape[:-1], len(W))

    def cell(self, W: Array, U: Array, b_i: Array, b_h: Array, reset_after: bool) -> Callable[[Array, Array], Array]:
        """A step: x [B, I] and h [B, H] to the next h, as in ``grus.reference``."""
        H, both = U.shape[1], b_i + b_h
        gates = self._columns(np.c_[both, W, U][: 2 * H])
        if reset_after:
            inputs, states = self._columns(np.c_[b_i, W][2 * H :]), self._columns(np.c_[b_h, U][2 * H :])
        else:
            inputs = self._columns(np.c_[both, W, U][2 * H :])

        def step(x: Array, h: Array) -> Array:
            one = np.ones((len(x), 1), x.dtype)
            r, z = np.split(sigmoid(self._sums(np.hstack([one, x, h]), gates)[:, : 2 * H]), 2, axis=1)
            if reset_after:
                u = self._sums(np.hstack([one, h]), states)[:, :H]
                n = np.tanh(self._sums(np.hstack([one, x]), inputs)[:, :H] + r * u)
            else:
                n = np.tanh(self._sums(np.hstack([one, x, r * h]), inputs)[:, :H])
            after: Array = (1 - z) * n + z * h
            return after

        return step

    def _columns(self, W: Array) -> Array:
        """[K, N], of at least two sums: a single one would be taken in lanes."""
        columns = W.T if len(W) > 1 else np.repeat(W.T, 2, axis=1)
        return np.ascontiguousarray(columns[::-1] if self.turned else columns)

    def _sums(self, terms: Array, columns: Array) -> Array:
        if self.turned:
            terms = np.ascontiguousarray(terms[:, ::-1])
        sums: Array = np.einsum("bk,kn->bn", terms, columns)
        return sums


def sigmoid(a: Array) -> Array:
    with np.errstate(over="ignore"):  # 1 / (1 + inf) is 0
        return 1 / (1 + np.exp(-a))
