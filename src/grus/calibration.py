"""From a float32 model and a few real inputs to one with int8 weights and 16-bit activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grus import exact
from grus.errors import InputError, assert_never
from grus.model import Model
from grus.quantized import EXPONENTS, GUARD, ROW, SPREAD, STATE, exponents_after, layout
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual
from grus.spec.limits import refuse

__all__ = ["quantize"]

Array = NDArray[Any]

INPUT_ROOM = 2.0  # inputs may grow to this much of the largest seen before they saturate
OUTPUT_ROOM = 4.0  # likewise what blocks give, unless a smaller limit can be proved


def quantize(model: Model, x: ArrayLike) -> Model:
    """``model`` with ``precision`` "w8a16", its ranges taken from x [T, B, I], inputs as the model will meet them.

    A few hundred steps are enough if they hold the largest values that matter: an input beyond twice the largest
    seen of its feature saturates. Raises InputError for a model that is not float32 or is bidirectional, and for x of
    another shape, without a step, all zeros, or with NaN or infinity.
    """
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}, expected a grus.Model: grus.load(path) reads one")
    refuse("quantize", model.spec)
    values = np.asarray(x, np.float64)
    if values.ndim != 3 or values.shape[2] != model.spec.input_size or not values.size:
        raise InputError(f"x has shape {values.shape}, expected (T, B, {model.spec.input_size}) with at least one step")
    if not np.isfinite(values).all():
        raise InputError("x holds NaN or infinity, expected inputs as the model will meet them")
    if not values.any():
        raise InputError("x is all zeros, which says nothing of how large inputs are: expected some as the model meets")
    spec = dataclasses.replace(model.spec, precision="w8a16")
    layout(spec)  # refuses what can not be
    seen: dict[str, float] = {}
    exact.run(model.spec.blocks, model.arrays, values, observe=lambda n, y: seen.update({n: float(np.abs(y).max())}))
    best: tuple[float, dict[str, Array]] | None = None
    for exponents in _input_exponents(np.abs(values).max(axis=(0, 1))):
        attempt = _Quantizer(model.arrays, seen)
        attempt.put("input.", exponents)
        power = np.sqrt(np.square(values).mean(axis=(0, 1)))
        attempt.chain(model.spec.blocks, "", exponents.astype(np.int64), power)
        if best is None or attempt.error < best[0]:
            best = attempt.error, attempt.arrays
    assert best is not None
    return Model(spec, best[1])


def _input_exponents(largest: Array) -> list[Array]:
    """Candidates: each feature its own range, all the widest one, and half-way.

    A weight's column is multiplied by its feature's range before its row is rounded to int8: one range for all
    keeps the weights' own proportions, which is better where large inputs are rare; ranges of their own are better
    where the features have different units.
    """
    own = np.array([_exponent(INPUT_ROOM * m) for m in largest])
    least = own[largest > 0].min(initial=EXPONENTS[1])
    own[largest == 0] = least
    return [
        np.maximum(least, exponents).astype(np.int8)
        for exponents in (own, np.full_like(own, least), (own + least + 1) // 2)
    ]


def _exponent(limit: float) -> int:
    """The largest e with limit · 2^e in 16 bits."""
    if limit <= 0:
        return STATE
    return int(np.clip(np.floor(np.log2(32767 / limit)), *EXPONENTS))


class _Quantizer:
    """Walks the blocks as the model runs, with each tensor's exponents and the root mean square of its inputs.

    ``error`` adds up, over the rows that read the model's input, the mean square of what rounding its weights does,
    relative to what the row says: the measure by which input ranges are compared.
    """

    def __init__(self, arrays: Mapping[str, Array], seen: Mapping[str, float]) -> None:
        self.given, self.seen = arrays, seen
        self.arrays: dict[str, Array] = {}
        self.error = 0.0

    def put(self, name: str, exponents: Any) -> None:
        self.arrays[name + "exponent"] = np.atleast_1d(np.asarray(exponents, np.int8))

    def chain(self, blocks: Sequence[Block], prefix: str, before: Array, power: Array | None) -> Array:
        """The exponents of the chain's output. ``power`` [I] is of the chain's input, where that is the model's."""
        for index, block in enumerate(blocks):
            name = f"{prefix}{index}."
            before = self.block(block, name, before, power)
            power = None
        return before

    def block(self, block: Block, name: str, before: Array, power: Array | None) -> Array:
        match block:
            case GRU():
                self.gru(block, name, before, power)
            case Linear():
                limit = self.matrix(name + "weight", before, power)
                if block.bias:
                    self.arrays[name + "bias"] = self.given[name + "bias"]
                    limit = limit + np.abs(self.given[name + "bias"])
                self.rescale(name, float(limit.max()), [])
            case Activation():
                pass
            case Bypass():
                inner = None if power is None else power[: -block.size]
                self.chain(block.blocks, name, before[: -block.size], inner)
            case Residual():
                inside = self.chain(block.blocks, name, before, power)
                self.rescale(name, _limit(before) + _limit(inside), [before, inside])
            case Mean():
                parts = [self.chain(m, f"{name}{i}.", before, power) for i, m in enumerate(block.members)]
                self.rescale(name, sum(map(_limit, parts)) / len(parts), parts)
            case Embedding() | Pool():
                raise AssertionError("layout() refuses it")
            case _:
                assert_never(block)
        return exponents_after(block, self.arrays, name, before)

    def rescale(self, name: str, limit: float, parts: Sequence[Array]) -> None:
        """Choose the exponent of a block's output, whose values stay within ``limit``."""
        exponent = _exponent(min(limit, OUTPUT_ROOM * self.seen[name] or limit))
        for part in parts:  # a sum whose parts differ by more than 16 bits is left to the larger of them
            exponent = int(np.clip(exponent, part.max() - GUARD - SPREAD, part.min() - GUARD + SPREAD))
        self.put(name, exponent)

    def gru(self, block: GRU, name: str, before: Array, power: Array | None) -> None:
        for layer in range(block.num_layers):
            self.matrix(f"{name}weight_ih_l{layer}", before, power)
            self.matrix(f"{name}weight_hh_l{layer}", np.full(block.hidden_size, STATE), None)
            for bias in (f"{name}bias_ih_l{layer}", f"{name}bias_hh_l{layer}"):
                if block.bias:
                    self.arrays[bias] = self.given[bias]
            before, power = np.full(block.hidden_size, STATE), None

    def matrix(self, name: str, before: Array, power: Array | None) -> Array:
        """Quantise a matrix that reads activations of these exponents; the most each row can give."""
        real = np.ldexp(self.given[name].astype(np.float64), -before)  # of the integers it will read
        scale = np.abs(real).max(axis=1) / 127
        scale = np.maximum(scale, np.abs(real).sum(axis=1) / (ROW - real.shape[1]))  # rounding adds 1/2 to each at most
        scale = scale.astype(np.float32)
        used = np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
        whole = np.clip(np.rint(real / used), -127, 127) * (scale > 0)[:, None]
        self.arrays[name], self.arrays[name + ".scale"] = whole.astype(np.int8), scale
        if power is not None:
            off, said = ((np.ldexp(m, before) * power) ** 2 for m in (whole * used - real, real))
            self.error += float((off.sum(axis=1) / np.maximum(said.sum(axis=1), 1e-30)).sum())
        limit: Array = 32768.0 * (np.abs(whole) * used).sum(axis=1)
        return limit


def _limit(exponents: Array) -> float:
    return float(np.ldexp(32768.0, -exponents.min()))
