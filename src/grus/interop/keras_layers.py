"""Keras' GRU layers by their configuration: what they are made of, and how their arrays are stored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from grus.errors import InputError
from grus.interop.layers import Array, Layer, float32
from grus.weights import GRUWeights, from_convention, to_convention

__all__ = ["Cell", "check_reset", "is_gru", "layer_of", "places", "planned", "stored", "weights_of"]

_OPTIONS = {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False}


class Cell(NamedTuple):
    """One GRU in one direction: its options, and the group that holds its arrays in a file of Keras."""

    options: Mapping[str, Any]
    group: str

    @property
    def arrays(self) -> int:
        """How many arrays it has."""
        return 3 if self.options.get("use_bias", True) else 2


def stored(weights: GRUWeights, bias: bool) -> Iterator[Array]:
    """kernel [I, 3H], recurrent_kernel [H, 3H] and, where there are biases, bias [2, 3H] or [3H]."""
    convention = "keras" if weights.reset_after else "keras_reset_before"
    kernel, recurrent_kernel, bias_ih, bias_hh = to_convention(weights, convention)
    yield kernel
    yield recurrent_kernel
    if bias:
        yield bias_ih if bias_hh is None else np.stack([bias_ih, bias_hh])


def weights_of(arrays: Sequence[Array], reset_after: bool) -> GRUWeights:
    """The inverse of :func:`stored`."""
    kernel, recurrent_kernel, *bias = arrays
    convention = "keras" if reset_after else "keras_reset_before"
    biases = tuple(bias[0]) if bias and reset_after else tuple(bias)
    return from_convention(convention, kernel, recurrent_kernel, *biases, reset_after=reset_after)


def is_gru(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether arrays of these shapes are one GRU's, in the order of :func:`stored`."""
    kernel, recurrent_kernel, *bias = shapes
    if len(kernel) != 2 or len(recurrent_kernel) != 2:
        return False
    hidden = recurrent_kernel[0]
    fits = recurrent_kernel[1] == kernel[1] == 3 * hidden
    return fits and (not bias or bias[0] in ((3 * hidden,), (2, 3 * hidden)))


def check_reset(part: Sequence[Array], given: bool | None) -> bool:
    """``reset_after`` of one GRU's arrays, which the shape of its bias tells; without one it has to be given."""
    if len(part) == 2:
        if given is None:
            raise InputError(
                "without a bias the arrays do not say where the reset acts: give reset_after=True or False"
            )
        return given
    found = part[2].ndim == 2
    if given not in (None, found):
        raise InputError(f"reset_after is {given}, but a bias of shape {part[2].shape} is that of reset_after={found}")
    return found


def layer_of(cells: Sequence[Cell], arrays: Iterable[Sequence[Any]]) -> Layer:
    """The layer of these cells, one for each direction; each takes its arrays from ``arrays``."""
    directions = []
    for cell, given in zip(cells, arrays, strict=True):
        options, name = cell.options, cell.options["name"]
        named = zip(("kernel", "recurrent_kernel", "bias"), given, strict=False)
        part = [float32(f"{name}.{kind}", array) for kind, array in named]
        if len(part) != cell.arrays or not is_gru([a.shape for a in part]):
            shapes = [a.shape for a in part]
            raise InputError(f"{name} has arrays of shapes {shapes}, which is no GRU: is the layer built?")
        after = options.get("reset_after", part[-1].ndim == 2 and len(part) == 3)  # Keras before 2.2 had no choice
        directions.append(weights_of(part, check_reset(part, after)))
    return Layer(tuple(directions), cells[0].arrays == 3)


def planned(kind: str, config: Mapping[str, Any], group: str = "") -> Iterator[tuple[Cell, ...]]:
    """The layers of a Keras object by its class and ``get_config()``: for each, its cell in every direction.

    Raises InputError for a class or an option that is no part of a Model.
    """
    name = config.get("name", kind)
    match kind:
        case "Bidirectional":
            _check(name, config, {"merge_mode": "concat"})
            forward = config["layer"]
            backward = config.get("backward_layer") or _turned(forward)  # Keras 2 leaves out what it made itself
            turned = _turned(backward)["config"]
            halves = [
                *planned(forward["class_name"], forward["config"], group + "forward_layer/"),
                *planned(backward["class_name"], turned, group + "backward_layer/"),
            ]
            if len(halves) != 2:
                raise InputError(f"{name} has several cells a direction, which meet only at the end: expected one")
            yield halves[0] + halves[1]
        case "RNN":
            _check(name, config, {"go_backwards": False})
            yield from planned(config["cell"]["class_name"], config["cell"]["config"], group + "cell/")
        case "StackedRNNCells":
            for place, cell in zip(places(config["cells"]), config["cells"], strict=True):
                yield from planned(cell["class_name"], cell["config"], f"{group}cells/{place}/")
        case "GRU" | "GRUCell":
            _check(name, config, _OPTIONS)
            yield (Cell(config, group + ("cell/vars" if kind == "GRU" else "vars")),)
        case _:
            raise InputError(f"{name} is a {kind}, expected a GRU layer")


def _turned(layer: Mapping[str, Any]) -> dict[str, Any]:
    config = layer["config"]
    return {**layer, "config": config | {"go_backwards": not config.get("go_backwards", False)}}


def places(members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How a file of Keras calls the members of a container, by their class: gru, gru_1, bidirectional, …"""
    seen: Counter[str] = Counter()
    for member in members:
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", member["class_name"]).lower()
        yield f"{snake}_{seen[snake]}" if seen[snake] else snake
        seen[snake] += 1


def _check(name: str, config: Mapping[str, Any], expected: Mapping[str, object]) -> None:
    for option, value in expected.items():
        if config.get(option, value) != value:
            raise InputError(f"{name}: {option} is {config[option]!r}, expected {value!r}")
