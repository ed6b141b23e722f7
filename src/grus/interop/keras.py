"""Keras 3: the weights of GRU layers, as ``get_weights()`` gives them, or the layers themselves.

A layer's arrays are kernel [I, 3H], recurrent_kernel [H, 3H] and, unless ``use_bias=False``, bias: [2, 3H] with
``reset_after=True``, [3H] without. ``Bidirectional`` has those of its forward layer, then those of its backward layer.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grus.errors import InputError
from grus.files import write_whole
from grus.interop.keras_file import gives_ends, layers_of_step, read_layers, to_bytes
from grus.interop.keras_graph import CONTAINERS, chosen, steps
from grus.interop.keras_h5 import read_h5
from grus.interop.keras_layers import check_reset, is_gru, stored, weights_of
from grus.interop.layers import Array, Layer, float32, layers_of, model_of
from grus.model import Model
from grus.spec import GRU, Pool, Spec
from grus.weights import GRUWeights

_HDF5 = b"\x89HDF\r\n\x1a\n"

__all__ = ["load", "load_file", "save", "save_file"]


def load(source: object, *, reset_after: bool | None = None, bidirectional: bool | None = None) -> Model:
    """GRU layers as a Model.

    ``source`` is what ``get_weights()`` gives, for one layer or for several one above the other. How they were made is
    then read from the shapes, and where these leave a choice it has to be given: ``reset_after`` where there is no
    bias, ``bidirectional`` where two layers of equal size may be two directions. Activations, ``go_backwards`` and
    ``merge_mode`` are not in the arrays: Keras' defaults are meant.
    Or it is a Keras layer or model (GRU, Bidirectional, RNN of GRUCell, Sequential of these), or a list of layers; then
    nothing has to be told, and every option is checked.
    Raises InputError for a wrong shape, a choice left open, an option that is no part of a Model, or where float32
    would round.
    """
    if hasattr(source, "get_config"):
        source = [source]
    if not isinstance(source, Iterable) or isinstance(source, (str, bytes, Mapping)):
        raise InputError(
            f"source is a {type(source).__name__}, expected get_weights(), a Keras layer or a list of them"
        )
    given = list(source)
    if any(hasattr(item, "get_config") for item in given):
        if reset_after is not None or bidirectional is not None:
            raise InputError("reset_after and bidirectional are read from the Keras layers: expected None")
        return _of_objects(given)
    return model_of(_of_arrays([float32(f"array {i}", a) for i, a in enumerate(given)], reset_after, bidirectional))


def save(model: Model, *, block: str | None = None) -> list[Array]:
    """The arrays for ``set_weights``: of the one layer, or of a Sequential of the layers in their order.

    A layer has units = hidden_size, the block's ``reset_after``, use_bias = ``bias``, and stands in Bidirectional where
    the block is bidirectional. ``block`` picks one GRU of a larger model, named as its arrays are.
    With the reset before the product Keras has one bias where Grus has two: their sum, rounded to float32.
    Raises InputError for a model with other blocks where none is named.
    """
    return [
        array
        for layer in layers_of(_without_ends(model, block), block)
        for w in layer.directions
        for array in stored(w, layer.bias)
    ]


def load_file(
    path: str | os.PathLike[str], layers: str | Sequence[str] | None = None, *, reset_after: bool | None = None
) -> Model:
    """:func:`load` from a file of a Sequential or functional model of such layers: .keras, .h5 of a whole model, or
    .weights.h5. Nothing in the file is ever executed.

    ``layers`` names the GRU layers to take, in order, each of which takes the output of the one before; those of an
    inner model as "model/layer". A Bidirectional that does not return sequences is followed by a Pool of its ends, so
    that the last step is what Keras gives. Weights alone (.weights.h5) do not say this: they are taken to return
    sequences, and where they have no bias, ``reset_after`` has to be given.
    Raises FileNotFoundError, or InputError as :func:`load` does, for a file that is damaged or of another kind, and
    without the package ``h5py``.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {os.fspath(path)!r}")
    names = [layers] if isinstance(layers, str) else layers
    try:
        with Path(path).open("rb") as file:
            begin = file.read(len(_HDF5))
        if begin == _HDF5:
            return model_of(*read_h5(path, names, reset_after))
        if reset_after is not None:
            raise InputError("reset_after is read from the file's configuration: expected None", "reset_after")
        return model_of(*read_layers(path, names))
    except InputError as error:
        raise InputError(f"{os.fspath(path)!r}: {error}", *error.parameters) from None


def save_file(model: Model, path: str | os.PathLike[str], *, block: str | None = None) -> None:
    """:func:`save` to a .keras file, which ``keras.saving.load_model`` reads as a Sequential that returns sequences.

    The file is written whole or not at all. Raises InputError as :func:`save` does, and without the package ``h5py``.
    """
    plain = _without_ends(model, block)
    layers = layers_of(plain, block)
    write_whole(path, to_bytes(layers, list(save(plain, block=block)), plain is not model))


def _without_ends(model: Model, block: str | None) -> Model:
    """The model without the Pool that :func:`load` puts behind a Bidirectional that returns its last states."""
    match model.spec.blocks if isinstance(model, Model) and block is None else ():
        case (*blocks, GRU(bidirectional=True) as last, Pool(function="ends")):
            return Model(Spec((*blocks, last)), model.arrays)
        case _:
            return model


def _of_arrays(arrays: Sequence[Array], reset_after: bool | None, bidirectional: bool | None) -> list[Layer]:
    parts = _parts(arrays)
    directions = []
    for part in parts:
        after = check_reset(part, reset_after)
        directions.append(weights_of(part, after))
    two = _bidirectional(directions) if bidirectional is None else bidirectional
    step = 2 if two else 1
    if len(directions) % step:
        raise InputError(f"there are weights of {len(directions)} GRUs, expected two for each bidirectional layer")
    grouped = (slice(i, i + step) for i in range(0, len(directions), step))
    return [Layer(tuple(directions[at]), len(parts[at.start]) == 3) for at in grouped]


def _parts(arrays: Sequence[Array]) -> list[Sequence[Array]]:
    """The arrays of each GRU: kernel [I, 3H], recurrent_kernel [H, 3H] and, with biases, bias [2, 3H] or [3H]."""
    fitting = []
    for size in (3, 2):
        parts = [arrays[i : i + size] for i in range(0, len(arrays), size)]
        if parts and all(len(part) == size and is_gru([a.shape for a in part]) for part in parts):
            fitting.append(parts)
    if not fitting:
        raise InputError(
            f"arrays have shapes {[a.shape for a in arrays]}, expected for each GRU kernel (I, 3H), recurrent_kernel "
            "(H, 3H) and, in all or in none, bias (2, 3H) or (3H,)"
        )
    if len(fitting) == 2:  # three layers with H = 2: a bias [2, 6] looks like a kernel
        raise InputError(
            "these shapes fit layers with and without biases: give the Keras layers in place of the arrays"
        )
    return fitting[0]


def _bidirectional(directions: Sequence[GRUWeights]) -> bool:
    """Whether the arrays are those of Bidirectional layers, where their sizes can tell."""
    sizes = [(w.input_size, w.hidden_size) for w in directions]
    one = all(above[0] == below[1] for below, above in itertools.pairwise(sizes))
    two = sizes[::2] == sizes[1::2] and all(above[0] == 2 * below[1] for below, above in itertools.pairwise(sizes[::2]))
    if one and two:
        raise InputError(
            "the arrays fit layers one above the other and two directions: give bidirectional=True or False"
        )
    return two


def _of_objects(items: Sequence[Any]) -> Model:
    layers: list[Layer] = []
    ends = False
    for item in items:
        if not hasattr(item, "get_config"):
            raise InputError(f"the list holds a {type(item).__name__} beside Keras layers, expected one kind")
        taken = chosen(steps(type(item).__name__, item.get_config()), None)
        objects = dict(_by_path(item, ""))
        for step in taken:
            layers += layers_of_step(step, objects[step.path].get_weights())
        ends = gives_ends(taken, layers) if taken else ends
    return model_of(layers, ends)


def _by_path(item: Any, within: str) -> Iterator[tuple[str, Any]]:
    if type(item).__name__ not in CONTAINERS:
        yield item.name, item
        return
    for layer in item.layers:
        if type(layer).__name__ in CONTAINERS:
            yield from _by_path(layer, f"{within}{layer.name}/")
        else:
            yield within + layer.name, layer
