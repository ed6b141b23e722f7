"""Run a model with NumPy and the kernels alone: whole sequences, or as a stream, one step at a time.

A state is a value: every call takes one and returns a new one, so that one session serves any number of streams and
threads at once. The bits of a sequence's output do not depend on its batch, on how it is cut, or on streaming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grus import kernels, quantized
from grus.errors import InputError
from grus.model import Model
from grus.spec import GRU, Activation, Block, Bypass, Linear, Mean, Residual
from grus.state import State, as_float32, from_bytes, state_of, to_bytes
from grus.weights import GRUWeights

__all__ = ["Session", "State"]

Array = NDArray[np.float32]


class Session:
    """A model made ready to run: weights packed once, nothing changed afterwards, so threads may share it.

    ``isa`` picks the kernels' instruction set; by default the best one here, or GRUS_ISA.
    """

    def __init__(self, model: Model, *, isa: str | None = None) -> None:
        if not isinstance(model, Model):
            raise InputError(f"model is a {type(model).__name__}, expected a grus.Model: grus.load(path) reads one")
        self._chain: _Operation = (
            _Chain(model.spec.blocks, model.arrays, "", isa)
            if model.spec.precision == "float32"
            else quantized.Chain(model.spec, model.arrays)
        )
        self._input_size = model.spec.input_size
        self._hidden_sizes = tuple(_hidden_sizes(model.spec.blocks))
        self._streams = not _has(model.spec.blocks, lambda gru: gru.bidirectional)
        self._hash = bytes.fromhex(model.hash)

    def initial_state(self, batch: int) -> State:
        """The state before the first step of ``batch`` streams: zeros. Raises InputError for a model not to stream."""
        self._check_streams()
        if not isinstance(batch, (int, np.integer)) or batch < 0:
            raise InputError(f"batch is {batch!r}, expected an integer of at least 0")
        return state_of([np.zeros((int(batch), size), np.float32) for size in self._hidden_sizes])

    def step(self, x: ArrayLike, state: State | None = None) -> tuple[Array, State]:
        """The next step of every stream: x [B, I] and a state to y [B, O] and the state after it.

        Without a state the streams begin. Raises InputError for a wrong shape, a state of other hidden sizes or of
        another batch, and for a model with a bidirectional GRU, which needs the whole sequence. A State does not know
        its model: one of another model of equal sizes is taken (:meth:`state_from_bytes` tells it by the hash).
        """
        values = self._input(x, "(B, {})")
        self._check_streams()
        return self._call(values, self.initial_state(len(values)) if state is None else state, False)

    def run(self, x: ArrayLike, state: State | None = None, *, last: bool = False) -> tuple[Array, State]:
        """Whole sequences: x [T, B, I] to y [T, B, O], or with ``last`` to the last step's y [B, O], and the state.

        With a state the sequences go on from there. Raises InputError as :meth:`step` does, for a state given to a
        bidirectional model, and for ``last`` with T = 0, where there is no last step.
        """
        values = self._input(x, "(T, B, {})")
        if state is not None:
            self._check_streams()
        if last and not len(values):
            raise InputError(f"x has shape {values.shape}: with last=True expected at least one step")
        y, after = self._call(values, state, last)
        return (y[-1] if last else y), after

    def state_to_bytes(self, state: State) -> bytes:
        """A state as bytes, for another process, machine or day; they hold the model's hash and a checksum.

        Raises InputError for a state of other hidden sizes, and where the model is not to be streamed.
        """
        self._check_streams()
        self._check_state(state, None)
        return to_bytes(state, self._hash)

    def state_from_bytes(self, data: bytes) -> State:
        """The state in the bytes of :meth:`state_to_bytes`, to the bit. Nothing in them is ever executed.

        Raises InputError for bytes that are damaged, of another model (by its hash), or of a newer format.
        """
        self._check_streams()
        return from_bytes(data, self._hash, self._hidden_sizes)

    def _call(self, x: Array, state: State | None, last: bool) -> tuple[Array, State]:
        if state is not None:
            self._check_state(state, x.shape[-2])
        h_n: list[Array] = []
        y = self._chain(x, None if state is None else iter(state.arrays), h_n, last)
        if any(h is y for h in h_n):  # a step that ends with a GRU: the caller may write into y
            y = y.copy()
        return y, state_of(h_n)

    def _input(self, x: ArrayLike, expected: str) -> Array:
        values = as_float32("x", x)
        if values.ndim != expected.count(",") + 1 or values.shape[-1] != self._input_size:
            raise InputError(f"x has shape {values.shape}, expected {expected.format(self._input_size)}")
        return values if values.strides[-1] == values.itemsize else np.ascontiguousarray(values)

    def _check_streams(self) -> None:
        if not self._streams:
            raise InputError(
                "this model has a bidirectional GRU, which reads the whole sequence before its first output: it cannot "
                "be streamed or given a state; call run(x)"
            )

    def _check_state(self, state: State, batch: int | None) -> None:
        if not isinstance(state, State):
            raise InputError(f"state is a {type(state).__name__}, expected a State from initial_state, step or run")
        sizes = tuple(a.shape[1] for a in state.arrays)
        if sizes != self._hidden_sizes:
            raise InputError(f"state is of another model: hidden sizes {sizes}, expected {self._hidden_sizes}")
        if state.arrays and batch not in (None, state.batch):
            raise InputError(f"state is for a batch of {state.batch}, but x has a batch of {batch}")


class _Operation(Protocol):
    """One block. x is [T, B, F], or [B, F] for a step; states are read from ``h`` and appended to ``h_n``.

    With ``last`` only the output of the last step is wanted, [1, B, F].
    """

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array: ...


class _Chain:
    def __init__(self, blocks: Sequence[Block], arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.operations = [_operation(b, arrays, f"{prefix}{i}.", isa) for i, b in enumerate(blocks)]
        # what comes after the last GRU works step by step, and so only for the steps wanted
        self.final = max((i for i, b in enumerate(blocks) if _has((b,), lambda gru: True)), default=-1)

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array:
        for index, operation in enumerate(self.operations):
            if last and index > self.final:
                x = x[-1:]
            x = operation(x, h, h_n, last and index == self.final)
        return x


class _Recurrent:
    def __init__(self, block: GRU, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.layers: list[list[kernels.Layer]] = []
        zeros = np.zeros(3 * block.hidden_size, np.float32)
        for layer in range(block.num_layers):
            self.layers.append([])
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: block.directions]:
                weights = GRUWeights(
                    arrays[f"{prefix}weight_ih{suffix}"],
                    arrays[f"{prefix}weight_hh{suffix}"],
                    arrays.get(f"{prefix}bias_ih{suffix}", zeros),
                    arrays.get(f"{prefix}bias_hh{suffix}", zeros),
                    block.reset_after,
                )
                self.layers[-1].append(kernels.Layer(weights, isa=isa, training=False))

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array:
        for directions in self.layers:
            if x.ndim == 2:
                assert h is not None  # a step always has a state
                x = directions[0].step(x, next(h))
                h_n.append(x)
                continue
            outputs = []
            for layer, reverse in zip(directions, (False, True), strict=False):
                y, after = layer.forward(x, None if h is None else next(h), reverse=reverse)
                outputs.append(y)
                h_n.append(after)
            x = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
        return x[-1:] if last else x


class _Linear:
    def __init__(self, block: Linear, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> None:
        self.dense = kernels.Dense(arrays[prefix + "weight"], arrays.get(prefix + "bias"), isa=isa)

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array:
        return self.dense(x)


class _Activation:
    """Without NumPy's elementary functions: the bits they give may depend on where in an array an element lies.

    NumPy promises nothing here, and its expm1 and log1p do differ at the ends of arrays and where they are strided.
    """

    def __init__(self, block: Activation, isa: str | None) -> None:
        self.function, self.isa = block.function, isa

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array:
        if self.function == "relu":
            return np.where(x <= 0, np.float32(0), x)  # NaN stays, −0 becomes 0: maximum() may give either zero
        return kernels.activate(x, self.function, isa=self.isa)


class _Bypass:
    def __init__(self, block: Bypass, chain: _Chain) -> None:
        self.size, self.chain = block.size, chain

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array:
        y = self.chain(x[..., : -self.size], h, h_n, last)
        around = x[-1:] if last else x
        return np.concatenate([y, around[..., -self.size :]], axis=-1)


class _Residual:
    def __init__(self, chain: _Chain) -> None:
        self.chain = chain

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array:
        return (x[-1:] if last else x) + self.chain(x, h, h_n, last)


class _Mean:
    def __init__(self, chains: list[_Chain]) -> None:
        self.chains = chains

    def __call__(self, x: Array, h: Iterator[Array] | None, h_n: list[Array], last: bool) -> Array:
        total = self.chains[0](x, h, h_n, last)
        for chain in self.chains[1:]:  # one after the other: the order of the sum is fixed
            total = total + chain(x, h, h_n, last)
        mean: Array = total / np.float32(len(self.chains))
        return mean


def _operation(block: Block, arrays: Mapping[str, Array], prefix: str, isa: str | None) -> _Operation:
    match block:
        case GRU():
            return _Recurrent(block, arrays, prefix, isa)
        case Linear():
            return _Linear(block, arrays, prefix, isa)
        case Activation():
            return _Activation(block, isa)
        case Bypass():
            return _Bypass(block, _Chain(block.blocks, arrays, prefix, isa))
        case Residual():
            return _Residual(_Chain(block.blocks, arrays, prefix, isa))
        case Mean():
            return _Mean([_Chain(member, arrays, f"{prefix}{i}.", isa) for i, member in enumerate(block.members)])


def _grus(blocks: Sequence[Block]) -> Iterator[GRU]:
    for block in blocks:
        match block:
            case GRU():
                yield block
            case Bypass() | Residual():
                yield from _grus(block.blocks)
            case Mean():
                for member in block.members:
                    yield from _grus(member)


def _has(blocks: Sequence[Block], condition: Callable[[GRU], bool]) -> bool:
    return any(condition(gru) for gru in _grus(blocks))


def _hidden_sizes(blocks: Sequence[Block]) -> Iterator[int]:
    for gru in _grus(blocks):
        yield from [gru.hidden_size] * (gru.num_layers * gru.directions)
