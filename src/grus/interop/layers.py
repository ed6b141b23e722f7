"""Recurrent layers, one above the other: what every library can say, between its arrays and a Model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.model import Model
from grus.spec import GRU, Pool, Spec
from grus.spec.blocks import gru_parameters
from grus.spec.chains import walk
from grus.spec.limits import LIMITS, refuse
from grus.weights import GRUWeights

__all__ = ["Array", "Layer", "float32", "layers_of", "model_of"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """One layer: its weights forward, or forward and reverse; ``bias`` is False where it was made without any.

    Raises InputError where the two directions are not alike.
    """

    directions: tuple[GRUWeights, ...]
    bias: bool = True

    def __post_init__(self) -> None:
        kinds = [(w.input_size, w.hidden_size, w.reset_after) for w in self.directions]
        if len(set(kinds)) != 1:
            raise InputError(
                f"the directions differ in (input_size, hidden_size, reset_after): {kinds}, expected equal"
            )

    @property
    def block(self) -> GRU:
        one = self.directions[0]
        return GRU(one.input_size, one.hidden_size, 1, self.bias, len(self.directions) == 2, one.reset_after)


def float32(name: str, value: object) -> Array:
    """An array, or a tensor of any library, as float32 without a change of value.

    Raises InputError where it is not of real floating-point numbers, or float32 would round it.
    """
    dtype = str(getattr(value, "dtype", ""))
    try:
        for method in ("detach", "cpu", "float") if "bfloat16" in dtype else ("detach", "cpu"):  # PyTorch's tensors
            value = getattr(value, method)() if hasattr(value, method) else value
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} is not an array: {error}") from None
    if array.dtype.name != "bfloat16" and array.dtype.kind != "f":
        raise InputError(f"{name} is {array.dtype}, expected floating-point numbers")
    with np.errstate(over="ignore", under="ignore"):
        exact = array.astype(np.float32)
    if array.dtype.itemsize > 4 and not np.array_equal(exact, array, equal_nan=True):
        raise InputError(f"{name} is {array.dtype} and float32 would round it: round it yourself, if that is meant")
    return exact


def model_of(layers: Iterable[Layer], ends: bool = False) -> Model:
    """The Model of layers in order; neighbours that are alike become the layers of one GRU block.

    With ``ends`` the last layer's two directions each give their last state: a Pool follows.

    Raises InputError where a layer does not take what the one before it gives.
    """
    blocks: list[GRU] = []
    arrays: dict[str, Array] = {}
    for position, layer in enumerate(layers):
        block = layer.block
        before = blocks[-1] if blocks else None
        if before and before.output_size != block.input_size:
            raise InputError(
                f"layer {position} takes {block.input_size} features, but the one before it gives {before.output_size}"
            )
        if before and before == replace(block, input_size=before.input_size, num_layers=before.num_layers):
            blocks[-1] = replace(before, num_layers=before.num_layers + 1)
        else:
            blocks.append(block)
        index, number = len(blocks) - 1, blocks[-1].num_layers - 1
        for suffix, weights in zip(block.suffixes(number), layer.directions, strict=True):
            for key in _keys(layer.bias):
                arrays[f"{index}.{key}{suffix}"] = float32(key, getattr(weights, key))
    if not blocks:
        raise InputError("there are no layers, expected at least one")
    pool = [Pool(blocks[-1].output_size, "ends")] if ends else []
    return Model(Spec((*blocks, *pool)), arrays)


def layers_of(model: Model, block: str | None = None) -> list[Layer]:
    """The layers of a Model that is nothing but GRU blocks, or of its one GRU ``block``, named as its arrays are.

    Raises InputError for a Model with other blocks where none is named, and for a name that is no GRU's.
    """
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}, expected a grus.Model: grus.load(path) reads one")
    refuse("weights", model.spec)
    named = {name.removesuffix("."): gru for name, gru in walk(model.spec.blocks) if isinstance(gru, GRU)}
    if block is not None:
        if block not in named:
            raise InputError(f"block is {block!r}, expected the name of a GRU in the model: {_list(named)}", "block")
        return _layers(model, block, named[block])
    why = LIMITS["all weights"].refused
    others = {type(b).__name__: why[type(b)] for b in model.spec.blocks if type(b) in why}
    if others:
        raise InputError(
            f"the model has {', '.join(sorted(others))} beside GRU, and {next(iter(others.values()))}: "
            f"name the one to take with block=, one of {_list(named)}",
            "block",
        )
    return [layer for name, gru in named.items() for layer in _layers(model, name, gru)]


def _layers(model: Model, name: str, gru: GRU) -> list[Layer]:
    arrays = (model.arrays[f"{name}.{key}"] for key, _ in gru_parameters(gru))
    zeros = np.zeros(3 * gru.hidden_size, np.float32)
    size = len(_keys(gru.bias))
    every = []
    for _ in range(gru.num_layers * gru.directions):
        given = list(itertools.islice(arrays, size))
        W, U, b_i, b_h = given if gru.bias else (*given, zeros, zeros)
        every.append(GRUWeights(W, U, b_i, b_h, gru.reset_after))
    pairs = [every[i : i + gru.directions] for i in range(0, len(every), gru.directions)]
    return [Layer(tuple(pair), gru.bias) for pair in pairs]


def _keys(bias: bool) -> tuple[str, ...]:
    return ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if bias else ("weight_ih", "weight_hh")


def _list(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names)) or "(it has none)"
