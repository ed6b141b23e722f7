"""The blocks of a float32 model made ready to run with NumPy and the kernels: what ``grus.runtime.session`` calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.runtime import kernels
from grus.runtime.pool import Pooling
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual
from grus.spec.chains import last_to_look_back
from grus.weights import GRUWeights

__all__ = ["Chain", "Operation", "final_step"]

Array = NDArray[np.float32]
Ends = NDArray[np.int64]


class Operation(Protocol):
    """One block. x is [T, B, F], or [B, F] for a step; states are read from ``h`` and appended to ``h_n``.

    With ``last`` only the output of the last step is wanted, [1, B, F]. ``ends`` [B]: row b has the first ends[b] steps
    of x; its state is that after its own last one, ``last`` means that one, and what stands behind says nothing.
    """

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array: ...


def final_step(x: Array, ends: Ends | None) -> Array:
    """Each row's own last step of x [T, B, F], as [1, B, F]."""
    return x[-1:] if ends is None else x[ends - 1, np.arange(len(ends))][None]


class Chain:
    """Blocks one after the other."""

    def __init__(self, blocks: Sequence[Block], arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.operations = [_operation(b, arrays, f"{prefix}{i}.", isa) for i, b in enumerate(blocks)]
        self.final = last_to_look_back(blocks)  # what comes after it works step by step, only for the steps wanted

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        if last and self.final < 0:
            x, ends = final_step(x, ends), None
        for index, operation in enumerate(self.operations):
            x = operation(x, h, h_n, last and index >= self.final, ends)
            if last and index == self.final:
                ends = None  # one step is left
        return x


class _Recurrent:
    def __init__(self, block: GRU, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.layers: list[list[kernels.Layer]] = []
        zeros = np.zeros(3 * block.hidden_size, np.float32)
        for layer in range(block.num_layers):
            self.layers.append([])
            for suffix in block.suffixes(layer):
                weights = GRUWeights(
                    arrays[f"{prefix}weight_ih{suffix}"],
                    arrays[f"{prefix}weight_hh{suffix}"],
                    arrays.get(f"{prefix}bias_ih{suffix}", zeros),
                    arrays.get(f"{prefix}bias_hh{suffix}", zeros),
                    block.reset_after,
                )
                self.layers[-1].append(kernels.Layer(weights, isa=isa, training=False))

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        for directions in self.layers:
            if x.ndim == 2:
                assert h is not None  # a step always has a state
                x = directions[0].step(x, next(h))
                h_n.append(x)
                continue
            outputs = []
            for layer, reverse in zip(directions, (False, True), strict=False):
                h0 = None if h is None else next(h)
                forward = (
                    layer.forward(x, h0, reverse=reverse) if ends is None else _ending(layer, x, h0, reverse, ends)
                )
                outputs.append(forward[0])
                h_n.append(forward[1])
            x = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
        return final_step(x, ends) if last else x


def _ending(layer: kernels.Layer, x: Array, h0: Array | None, reverse: bool, ends: Ends) -> tuple[Array, Array]:
    """``layer.forward`` of rows that end early; x has a step and a row at least, and y is zero behind a row's end."""
    (steps, batch, _), size = x.shape, layer.hidden_size
    y, h_n = np.empty((steps, batch, size), np.float32), np.empty((batch, size), np.float32)
    marks = (np.arange(steps)[:, None] >= ends).astype(np.uint8) * np.uint8(kernels.SKIP)
    x = np.ascontiguousarray(x)
    first = (0, 0) if h0 is None else (h0.ctypes.data, size)
    places: Any = [(a.ctypes.data, a.strides[0] // 4, a.strides[1] // 4) for a in (x, y)]
    more = kernels.Extras(marks.ctypes.data)
    layer.forward_at(
        kernels.ForwardCall(steps, batch, places[0], first, places[1], h_n.ctypes.data, reverse, None, more),
        limited=False,
    )
    return y, h_n


class _Embedding:
    def __init__(self, block: Embedding, arrays: Mapping[str, Array], prefix: str) -> None:
        self.weight = arrays[prefix + "weight"]

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        ids = x[..., 0] if ends is None else np.where(np.arange(len(x))[:, None] < ends, x[..., 0], 0)
        good = (ids >= 0) & (ids < len(self.weight)) & (ids == np.trunc(ids))
        if not good.all():
            bad = ids[~good][0]
            raise InputError(f"x has the id {bad:g}, expected integers from 0 to {len(self.weight) - 1}")
        return self.weight[ids.astype(np.int64)]


class _Pool:
    def __init__(self, block: Pool, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.pooling = Pooling(block, arrays, prefix, isa)

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        y, after = self.pooling(x if x.ndim == 3 else x[None], None if h is None else next(h), last, ends)
        h_n.append(after)
        return y if x.ndim == 3 else y[0]


class _Linear:
    def __init__(self, block: Linear, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.dense = kernels.Dense(arrays[prefix + "weight"], arrays.get(prefix + "bias"), isa=isa)

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        return self.dense(x)


class _Activation:
    """Without NumPy's elementary functions: the bits they give may depend on where in an array an element lies.

    NumPy promises nothing here, and its expm1 and log1p do differ at the ends of arrays and where they are strided.
    """

    def __init__(self, block: Activation, isa: str | None) -> None:
        self.function, self.isa = block.function, isa

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        if self.function == "relu":
            return np.where(x <= 0, np.float32(0), x)  # NaN stays, −0 becomes 0: maximum() may give either zero
        return kernels.activate(x, self.function, isa=self.isa)


class _Bypass:
    def __init__(self, block: Bypass, chain: Chain) -> None:
        self.size, self.chain = block.size, chain

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        y = self.chain(x[..., : -self.size], h, h_n, last, ends)
        around = final_step(x, ends) if last else x
        return np.concatenate([y, around[..., -self.size :]], axis=-1)


class _Residual:
    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        return (final_step(x, ends) if last else x) + self.chain(x, h, h_n, last, ends)


class _Mean:
    def __init__(self, chains: list[Chain]) -> None:
        self.chains = chains

    def __call__(
        self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool, ends: Ends | None = None
    ) -> Array:
        total = self.chains[0](x, h, h_n, last, ends)
        for chain in self.chains[1:]:  # one after the other: the order of the sum is fixed
            total = total + chain(x, h, h_n, last, ends)
        mean: Array = total / np.float32(len(self.chains))
        return mean


def _operation(block: Block, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> Operation:
    match block:
        case GRU():
            return _Recurrent(block, arrays, prefix, isa)
        case Linear():
            return _Linear(block, arrays, prefix, isa)
        case Activation():
            return _Activation(block, isa)
        case Embedding():
            return _Embedding(block, arrays, prefix)
        case Pool():
            return _Pool(block, arrays, prefix, isa)
        case Bypass():
            return _Bypass(block, Chain(block.blocks, arrays, prefix, isa))
        case Residual():
            return _Residual(Chain(block.blocks, arrays, prefix, isa))
        case Mean():
            return _Mean([Chain(member, arrays, f"{prefix}{i}.", isa) for i, member in enumerate(block.members)])
