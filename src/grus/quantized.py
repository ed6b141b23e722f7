"""Models with int8 weights and 16-bit activations ("w8a16"), in integers that are the same on every machine.

A real number v is held as the integer q = v · 2^e; e is its exponent. Weights are int8 with one float32 scale a row,
activations int16, a GRU's state int16 with e = 15 (Q15), sums of products int32. :class:`Chain` emulates with NumPy,
bit for bit, what the exported C computes. The arithmetic is written down in docs/c99.md.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual, Spec, parameters
from grus.spec.chains import walk
from grus.spec.facts import Shape
from grus.spec.limits import refuse

__all__ = ["Chain", "Dense", "Recurrent", "check", "exponents_after", "layout", "table"]

Array = NDArray[Any]
Integers = NDArray[np.int64]

EXPONENTS = (-32, 47)  # of an activation: 2^e and 2^-e are normal float32
ROW = 65535  # the most that |w| may add up to in a row: times 2^15 it stays below 2^31
GATE = 20  # exponent of the arguments of σ and tanh
LARGEST = 1 << 28  # of an argument's parts: four of them fit into 31 bits
GUARD = 8  # bits below an output's last one while its parts are added
SPREAD = 24  # the most bits by which the parts of a sum are shifted
STATE = 15  # exponent of a state and of every σ and tanh
TABLE_STEP = 128  # entries for each 1 of the argument of tanh
TABLE_END = 6  # from here on tanh is 1 in 16 bits


def layout(spec: Spec) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """The name of every array of a model, with its shape and type.

    A float32 model has ``parameters(spec.blocks)``. With ``precision`` "w8a16" the matrices are int8, "….scale"
    float32 is the scale of each of their rows, and there are int8 exponents: "input.exponent", one a feature, and
    "….exponent", one for what each Linear, Residual and Mean block gives. Raises InputError for a w8a16 model with a
    bidirectional GRU, an Embedding or a Pool.
    """
    shapes = parameters(spec.blocks)
    match spec.precision:
        case "float32":
            return {name: (shape, np.dtype(np.float32)) for name, shape in shapes.items()}
        case "w8a16":
            return _with_exponents(spec, shapes)


def _with_exponents(spec: Spec, shapes: Mapping[str, Shape]) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    refuse("w8a16", spec)
    single, byte = np.dtype(np.float32), np.dtype(np.int8)
    arrays: dict[str, tuple[Shape, np.dtype[Any]]] = {"input.exponent": ((spec.input_size,), byte)}
    for name, shape in shapes.items():
        arrays[name] = (shape, byte if len(shape) == 2 else single)
        if len(shape) == 2:
            arrays[name + ".scale"] = (shape[:1], single)
    return arrays | {name + "exponent": ((1,), byte) for name, block in walk(spec.blocks) if block.facts.sums}


def check(spec: Spec, arrays: Mapping[str, Array]) -> None:
    """Raise InputError where a model in integers could overflow, or cannot be run: nothing later checks again."""
    if not spec.format.integers:
        return
    for name, array in arrays.items():
        if name.endswith(".scale") and (array < 0).any():
            raise InputError(f"array {name!r} holds a scale below 0")
        if array.dtype == np.int8 and name.endswith("exponent"):
            if array.min() < EXPONENTS[0] or array.max() > EXPONENTS[1]:
                raise InputError(f"array {name!r} holds exponents beyond {EXPONENTS[0]} to {EXPONENTS[1]}")
        elif array.dtype == np.int8:
            row = np.abs(array.astype(np.int64)).sum(axis=1).max()
            if row > ROW:
                raise InputError(f"array {name!r} has a row whose |w| add up to {row}, expected at most {ROW}")
    Chain(spec, arrays)


def exponents_after(block: Block, arrays: Mapping[str, Array], name: str, before: Integers) -> Integers:
    """The exponents of what a block gives, one a feature, from those of what it takes."""
    match block:
        case GRU():
            return np.full(block.output_size, STATE)
        case Activation():
            return before if block.function == "relu" else np.full(block.size, STATE)
        case Bypass():
            inner = before[: -block.size]
            for index, part in enumerate(block.blocks):
                inner = exponents_after(part, arrays, f"{name}{index}.", inner)
            return np.concatenate([inner, before[-block.size :]])
        case Linear() | Residual() | Mean():
            return np.full(block.output_size, int(arrays[name + "exponent"][0]))
        case Embedding() | Pool():
            raise AssertionError("layout() refuses it")


def multipliers(scale: Array, exponent: int) -> tuple[NDArray[np.int32], int]:
    """m and a shift such that sum · scale, with ``exponent``, is sum · m / 2^shift. The largest m has 30 bits."""
    real = np.ldexp(scale.astype(np.float64), exponent)
    shift = int(np.clip(30 - np.frexp(real.max())[1], 1, 62))
    return np.minimum(np.rint(np.ldexp(real, shift)), 1 << 30).astype(np.int32), shift


def round_shift(values: Any, shift: int) -> Any:
    """values / 2^shift, rounded to the nearest, halves upwards; times 2^-shift where it is negative."""
    return (values + (1 << shift >> 1)) >> shift if shift >= 0 else values << -shift


def rescale(total: Any, m: Array, shift: int) -> Any:
    return np.clip(round_shift(total * m.astype(np.int64), shift), -LARGEST, LARGEST)


def narrow(values: Any) -> Any:
    return np.clip(values, -32768, 32767)


def fixed(real: Array, exponent: int) -> NDArray[np.int32]:
    scaled = np.rint(np.ldexp(real.astype(np.float64), exponent))
    return np.clip(scaled, -LARGEST, LARGEST).astype(np.int32)


@lru_cache(maxsize=1)
def table() -> NDArray[np.uint16]:
    """tanh(i / 128) · 2^16 for i from 0 to 768, in decimal arithmetic, which no machine's library changes."""
    with decimal.localcontext(decimal.Context(prec=30)):
        powers = [(decimal.Decimal(2 * i) / TABLE_STEP).exp() for i in range(TABLE_END * TABLE_STEP + 1)]
        return np.array([int((e - 1) / (e + 1) * 65536 + decimal.Decimal("0.5")) for e in powers], np.uint16)


def _curve(v: Integers) -> Integers:
    """tanh of v ≥ 0 with exponent 21, as an integer with exponent 16: a table, straight lines between its entries."""
    entries = table().astype(np.int64)
    inside = np.minimum(v, (TABLE_END << 21) - 1)
    i, rest = inside >> 14, inside & 16383
    value = entries[i] + round_shift((entries[i + 1] - entries[i]) * rest, 14)
    return np.where(v == inside, value, 65536)


def sigmoid(a: Integers) -> Integers:
    """σ(a) = (1 + tanh(a/2)) / 2 of a with exponent 20, as an integer from 0 to 2^15."""
    t = _curve(np.abs(a))
    return (65536 + np.where(a < 0, -t, t) + 2) >> 2


def tanh(a: Integers) -> Integers:
    t = (_curve(2 * np.abs(a)) + 1) >> 1
    return np.where(a < 0, -t, t)


def to_integers(x: NDArray[np.float32], exponents: Integers) -> Integers:
    """The nearest integers to x · 2^e, halves away from zero, within 16 bits; NaN becomes 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        v = np.nan_to_num(x * np.ldexp(np.float32(1), exponents), nan=0.0, posinf=32767.0, neginf=-32768.0)
    v = np.clip(v, np.float32(-32768), np.float32(32767))
    whole = np.trunc(v)
    rest = v - whole
    return whole.astype(np.int64) + (rest >= 0.5) - (rest <= -0.5)


def to_floats(q: Integers, exponents: Integers) -> NDArray[np.float32]:
    return q.astype(np.float32) * np.ldexp(np.float32(1), -exponents)


def product(x: Integers, weight: Array) -> Integers:
    """x [..., K] times weight [N, K] transposed; below 2^53 a sum in float64 is exact in any order."""
    y: Integers = (x.astype(np.float64) @ weight.T).astype(np.int64)
    return y


@dataclass(frozen=True, eq=False)
class Recurrent:
    """The integers of one GRU layer: W and U int8 with the multipliers and shifts of their products.

    bias int32 with exponent 20: b_r, b_z, b_in and b_hn; with the reset before b_hn is 0, and b_in both.
    """

    W: Array
    U: Array
    W_m: NDArray[np.int32]
    U_m: NDArray[np.int32]
    W_shift: int
    U_shift: int
    bias: NDArray[np.int32]
    reset_after: bool

    @staticmethod
    def of(block: GRU, arrays: Mapping[str, Array], name: str, layer: int) -> Recurrent:
        W, U = f"{name}weight_ih_l{layer}", f"{name}weight_hh_l{layer}"
        zeros, H = np.zeros(3 * block.hidden_size), block.hidden_size
        b_i, b_h = (arrays.get(f"{name}bias_{kind}_l{layer}", zeros).astype(np.float64) for kind in ("ih", "hh"))
        last = [b_i[2 * H :], b_h[2 * H :]] if block.reset_after else [(b_i + b_h)[2 * H :], np.zeros(H)]
        bias = fixed(np.concatenate([(b_i + b_h)[: 2 * H], *last]), GATE)
        W_m, W_shift = multipliers(arrays[W + ".scale"], GATE)
        U_m, U_shift = multipliers(arrays[U + ".scale"], GATE)
        return Recurrent(arrays[W], arrays[U], W_m, U_m, W_shift, U_shift, bias, block.reset_after)

    def run(self, x: Integers, h: Integers) -> Integers:
        """x [T, B, I] and h [B, H] to the states [T, B, H]."""
        parts = rescale(product(x, self.W), self.W_m, self.W_shift)
        y, U = np.empty((*x.shape[:2], h.shape[1]), np.int64), self.U.astype(np.float64)
        for t, part in enumerate(parts):
            y[t] = h = self._step(part, h, U)
        return y

    def _step(self, a: Integers, h: Integers, U: Array) -> Integers:
        H = h.shape[1]
        b, b_hn = self.bias[: 3 * H], self.bias[3 * H :].astype(np.int64)
        rows = 3 * H if self.reset_after else 2 * H
        u = rescale(product(h, U[:rows]), self.U_m[:rows], self.U_shift)
        r, z = np.split(sigmoid(a[:, : 2 * H] + u[:, : 2 * H] + b[: 2 * H]), 2, axis=1)
        if self.reset_after:
            u_n = round_shift(r * (u[:, 2 * H :] + b_hn), 15)
        else:
            u_n = rescale(product(round_shift(r * h, 15), U[rows:]), self.U_m[rows:], self.U_shift)
        n = tanh(a[:, 2 * H :] + b[2 * H :] + u_n)
        after: Integers = np.clip(round_shift(z * h + (32768 - z) * n, 15), -32767, 32767)
        return after


@dataclass(frozen=True, eq=False)
class Dense:
    """The integers of a Linear block; ``bias`` is int32 with the output's exponent and GUARD more bits."""

    weight: Array
    m: NDArray[np.int32]
    shift: int
    bias: NDArray[np.int32]

    @staticmethod
    def of(arrays: Mapping[str, Array], name: str) -> Dense:
        exponent = int(arrays[name + "exponent"][0]) + GUARD
        weight = arrays[name + "weight"]
        m, shift = multipliers(arrays[name + "weight.scale"], exponent)
        bias = arrays.get(name + "bias", np.zeros(len(weight)))
        return Dense(weight, m, shift, fixed(bias, exponent))

    def __call__(self, x: Integers) -> Integers:
        parts = rescale(product(x, self.weight), self.m, self.shift) + self.bias
        y: Integers = narrow(round_shift(parts, GUARD))
        return y


def alignment(name: str, before: Integers, after: int) -> Integers:
    """By how many bits the parts of a sum are shifted left to have its exponent and GUARD more bits."""
    shifts: Integers = np.int64(after + GUARD) - before
    if np.abs(shifts).max() > SPREAD:
        raise InputError(f"array '{name}exponent' is {after}, too far from the exponents of what is added")
    return shifts


def _aligned(x: Integers, shifts: Integers) -> Integers:
    right: Integers = np.maximum(-shifts, 0)
    left: Integers = np.maximum(shifts, 0)
    y: Integers = ((x << left) + (np.int64(1) << right >> np.int64(1))) >> right
    return y


Operation = Callable[[Integers, "Iterator[Integers] | None", "list[Integers]"], Integers]


class Chain:
    """A whole w8a16 model, as ``grus.runtime.session`` runs its blocks: float32 in and out, integers in between.

    x is [T, B, I], or [B, I] for a step; states are float32 too, q · 2^-15, so that nothing is lost in them.
    """

    def __init__(self, spec: Spec, arrays: Mapping[str, Array]) -> None:
        self._before = arrays["input.exponent"].astype(np.int64)
        self._run, self._after = _chain(spec.blocks, arrays, "", self._before)

    def __call__(
        self, x: Any, h: Iterator[Any] | None, h_n: list[Any], last: bool, ends: Integers | None = None
    ) -> Any:
        """As ``grus.runtime.operations.Operation`` says."""
        if ends is not None:
            return self._ending(x, None if h is None else list(h), h_n, last, ends)
        state = np.array([STATE], np.int64)
        given = None if h is None else (np.maximum(to_integers(a, state), -32767) for a in h)
        sequence = x if x.ndim == 3 else x[None]
        after: list[Integers] = []
        y = self._run(to_integers(sequence, self._before), given, after)
        h_n += [to_floats(end, state) for end in after]
        result = to_floats(y[-1:] if last else y, self._after)
        return result if x.ndim == 3 else result[0]

    def _ending(self, x: Any, h: list[Any] | None, h_n: list[Any], last: bool, ends: Integers) -> Any:
        """Rows of one length at a time, each as if alone."""
        y: NDArray[np.float32] | None = None
        for end in np.unique(ends):
            rows = ends == end
            after: list[Any] = []
            part = self(x[:end, rows], None if h is None else (a[rows] for a in h), after, last)
            if y is None:
                y = np.zeros((1 if last else len(x), len(ends), part.shape[2]), np.float32)
                h_n += [np.empty((len(ends), a.shape[1]), np.float32) for a in after]
            y[: len(part), rows] = part
            for whole, own in zip(h_n, after, strict=True):
                whole[rows] = own
        return y


def _chain(
    blocks: Sequence[Block], arrays: Mapping[str, Array], prefix: str, before: Integers
) -> tuple[Operation, Integers]:
    operations = []
    for index, block in enumerate(blocks):
        name = f"{prefix}{index}."
        operations.append(_operation(block, arrays, name, before))
        before = exponents_after(block, arrays, name, before)

    def run(x: Integers, h: Iterator[Integers] | None, h_n: list[Integers]) -> Integers:
        for operation in operations:
            x = operation(x, h, h_n)
        return x

    return run, before


def _operation(block: Block, arrays: Mapping[str, Array], name: str, before: Integers) -> Operation:
    match block:
        case GRU():
            return _gru(block, arrays, name)
        case Linear():
            dense = Dense.of(arrays, name)
            return lambda x, h, h_n: dense(x)
        case Activation():
            return _activation(block.function, before)
        case Bypass():
            inner, _ = _chain(block.blocks, arrays, name, before[: -block.size])
            size = block.size
            return lambda x, h, h_n: np.concatenate([inner(x[..., :-size], h, h_n), x[..., -size:]], axis=-1)
        case Residual():
            inner, after = _chain(block.blocks, arrays, name, before)
            return _sum(name, arrays, [(None, before), (inner, after)])
        case Mean():
            chains = [_chain(m, arrays, f"{name}{i}.", before) for i, m in enumerate(block.members)]
            return _sum(name, arrays, chains, len(chains))
        case Embedding() | Pool():
            raise AssertionError("layout() refuses it")


def _gru(block: GRU, arrays: Mapping[str, Array], name: str) -> Operation:
    layers = [Recurrent.of(block, arrays, name, layer) for layer in range(block.num_layers)]

    def run(x: Integers, h: Iterator[Integers] | None, h_n: list[Integers]) -> Integers:
        for layer in layers:
            h0 = np.zeros((x.shape[1], block.hidden_size), np.int64) if h is None else next(h)
            x = layer.run(x, h0)
            h_n.append(x[-1] if len(x) else h0)
        return x

    return run


def to_gate(before: Integers) -> Integers:
    """By how many bits an activation is shifted left to the exponent of arguments; 28 of them saturate whatever is."""
    return np.minimum(GATE - before, 28)


def _activation(function: str, before: Integers) -> Operation:
    if function == "relu":
        return lambda x, h, h_n: np.maximum(x, 0)
    shifts, curve = to_gate(before), {"tanh": tanh, "sigmoid": sigmoid}[function]
    return lambda x, h, h_n: narrow(curve(np.clip(_aligned(x, shifts), -LARGEST, LARGEST)))


def _sum(
    name: str, arrays: Mapping[str, Array], parts: Sequence[tuple[Operation | None, Integers]], count: int = 1
) -> Operation:
    """The sum of the parts divided by ``count``; a part without an operation is x itself."""
    shifts = [alignment(name, exponents, int(arrays[name + "exponent"][0])) for _, exponents in parts]

    def run(x: Integers, h: Iterator[Integers] | None, h_n: list[Integers]) -> Integers:
        total = np.zeros((), np.int64)
        for (operation, _), shift in zip(parts, shifts, strict=True):
            total = total + _aligned(x if operation is None else operation(x, h, h_n), shift)
        y: Integers = narrow((total + (count << GUARD >> 1)) // (count << GUARD))
        return y

    return run
