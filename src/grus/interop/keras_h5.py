"""HDF5 files of Keras: a whole model as Keras 2 writes it (.h5), and weights alone (.weights.h5 of Keras 3)."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from grus.errors import InputError
from grus.interop.keras_file import DAMAGED, Arrays, gives_ends, layers_of_step, open_h5py
from grus.interop.keras_graph import Step, chosen, steps
from grus.interop.keras_layers import check_reset, is_gru, weights_of
from grus.interop.layers import Layer, float32

__all__ = ["read_h5"]

_MOST_DEPTH = 20
_RANDOM = "seed_generator"  # of a Dropout: no weights


class _Found(NamedTuple):
    """A layer of a file of weights: layers of one ``kind`` stand in their order."""

    name: str
    kind: str
    arrays: list[Any]


def read_h5(
    path: str | os.PathLike[str], names: Sequence[str] | None, reset_after: bool | None
) -> tuple[list[Layer], bool]:
    """The layers in a file, and whether the last one's directions each give their last state.

    Weights alone say neither what options the layers have nor how they are joined: Keras' defaults and sequences are
    meant, and the order is that in which each takes what the one before gives.
    Raises InputError for what is neither of the two kinds, as :func:`grus.interop.keras.load` does, and for a choice
    left open.
    """
    h5py = open_h5py()
    try:
        with h5py.File(path, "r") as file:
            reader = Arrays(h5py, file, os.path.getsize(path))
            if "model_config" in file.attrs:
                if reset_after is not None:
                    raise InputError("reset_after is read from the file's configuration: expected None", "reset_after")
                return _whole(reader, json.loads(_text(file.attrs["model_config"])), names)
            if "layer_names" in file.attrs:
                found = list(_of_keras_2(reader))
            elif "layers" in file or "vars" in file:
                found = list(_of_keras_3(reader, "", "", 0))
            else:
                raise InputError("is an HDF5 file, but neither a whole model of Keras nor its weights")
            return _in_order(found, names, reset_after), False
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"this is not an HDF5 file of Keras, or is damaged: {error}") from None


def _whole(reader: Arrays, config: Any, names: Sequence[str] | None) -> tuple[list[Layer], bool]:
    taken = chosen(steps(config["class_name"], config["config"]), names)
    layers = [layer for step in taken for layer in layers_of_step(step, _stored(reader, step))]
    return layers, gives_ends(taken, layers)


def _stored(reader: Arrays, step: Step) -> list[Any]:
    """A layer's arrays, in order; those of a layer in an inner model are among that model's."""
    outer, *inner = step.path.split("/")
    place = f"model_weights/{outer}"
    names = _names(reader.group(place), "weight_names")
    if inner:
        names = [name for name in names if inner[-1] in name.split("/")[:-1]]
    return reader.read(*(f"{place}/{name}" for name in names))


def _of_keras_2(reader: Arrays) -> Iterator[_Found]:
    for layer in _names(reader.file, "layer_names"):
        names = _names(reader.group(layer), "weight_names")
        if names:
            yield _Found(layer, "", reader.read(*(f"{layer}/{name}" for name in names)))


def _of_keras_3(reader: Arrays, place: str, within: str, depth: int) -> Iterator[_Found]:
    """The arrays of each layer by its name, where the file has it, or its place."""
    if depth > _MOST_DEPTH:
        raise InputError(f"its models nest more than {_MOST_DEPTH} deep")
    members = sorted(reader.group(place + "layers"), key=_natural) if place + "layers" in reader.file else []
    for member in members:
        here = f"{place}layers/{member}/"
        own = reader.file.get(here + "vars")
        name = within + str(_text(own.attrs.get("name", member)) if own is not None else member)
        if here + "layers" in reader.file:
            yield from _of_keras_3(reader, here, name + "/", depth + 1)
            continue
        names = list(_datasets(reader, here.rstrip("/"), 0))
        if names:
            yield _Found(name, within + re.sub(r"_\d+$", "", member), reader.read(*names))


def _datasets(reader: Arrays, place: str, depth: int) -> Iterator[str]:
    """The names of all arrays below a layer; a forward direction before the backward one."""
    if depth > _MOST_DEPTH:
        raise InputError(f"its groups nest more than {_MOST_DEPTH} deep")
    group = reader.group(place)
    for name in sorted(group, key=lambda n: (n == "backward_layer", _natural(n))):
        if name == _RANDOM:
            continue
        if isinstance(group.get(name), reader.h5py.Group):
            yield from _datasets(reader, f"{place}/{name}", depth + 1)
        else:
            yield f"{place}/{name}"


def _in_order(found: Sequence[_Found], names: Sequence[str] | None, reset_after: bool | None) -> list[Layer]:
    grus = {each.name: parts for each in found if (parts := _parts(each.arrays))}
    listed = ", ".join(map(repr, grus)) or "(it has none)"
    if names is not None:
        if not names or any(name not in grus for name in names):
            raise InputError(f"layers is {list(names)}, expected names of GRU layers: {listed}", "layers")
        return [_layer(name, grus[name], reset_after) for name in names]
    for each in found:
        if each.name not in grus:
            shapes = [tuple(array.shape) for array in each.arrays[:4]]
            raise InputError(
                f"{each.name} has arrays of shapes {shapes}, expected GRU layers alone; choose with layers= from "
                f"{listed}",
                "layers",
            )
    queues: dict[str, list[Layer]] = {}
    for each in found:
        queues.setdefault(each.kind, []).append(_layer(each.name, grus[each.name], reset_after))
    orders = list(itertools.islice(_orders([*queues.values()], None), 2))
    if len(orders) != 1:
        why = "leave the order of its layers open" if orders else "are not those of one chain"
        raise InputError(f"the sizes of its layers {why}: name them in order with layers=, of {listed}", "layers")
    return orders[0]


def _orders(queues: Sequence[Sequence[Layer]], size: int | None) -> Iterator[list[Layer]]:
    """The ways to take all layers, those of a kind in their order, so that each takes what the one before gives."""
    if not any(queues):
        yield []
    for i, queue in enumerate(queues):
        if queue and size in (None, queue[0].block.input_size):
            rest = [*queues[:i], queue[1:], *queues[i + 1 :]]
            yield from ([queue[0], *order] for order in _orders(rest, queue[0].block.output_size))


def _parts(arrays: Sequence[Any]) -> list[Sequence[Any]] | None:
    """A layer's arrays by direction, where they are a GRU's."""
    for size in (3, 2):
        parts = [arrays[i : i + size] for i in range(0, len(arrays), size)]
        if len(parts) <= 2 and parts and all(len(p) == size and is_gru([a.shape for a in p]) for p in parts):
            return parts
    return None


def _layer(name: str, parts: Sequence[Sequence[Any]], reset_after: bool | None) -> Layer:
    every = [[float32(f"array {i} of {name}", array) for i, array in enumerate(part)] for part in parts]
    return Layer(tuple(weights_of(part, check_reset(part, reset_after)) for part in every), len(every[0]) == 3)


def _names(group: Any, attribute: str) -> list[str]:
    """A list in an attribute, which Keras cuts into several where it is long."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    parts = itertools.takewhile(group.attrs.__contains__, (f"{attribute}{i}" for i in itertools.count()))
    return [_text(name) for part in parts for name in group.attrs[part]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
