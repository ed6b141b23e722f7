"""PyTorch: the weights of a ``torch.nn.GRU`` or ``torch.nn.GRUCell``, alone or anywhere inside a module.

They are read from a state_dict, or from the .safetensors file of one. A file of ``torch.save`` is a pickle, which may
run code when it is read: save it as .safetensors where it is trusted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from grus.errors import InputError
from grus.files import write_whole
from grus.interop.layers import Array, float32, layers_of, model_of
from grus.model import Model, check_header
from grus.spec import GRU, Spec, gru_parameters
from grus.weights import to_convention

__all__ = ["load", "load_file", "save", "save_file"]

_KEY = re.compile(
    r"(?P<prefix>(?:.*\.)?)(?P<name>(?:weight|bias)_[ih]h(?:_l(?P<layer>\d{1,4})(?P<reverse>_reverse)?)?)"
)


def load(state_dict: Mapping[str, object], prefix: str | None = None) -> Model:
    """The GRU whose keys begin with ``prefix`` ("encoder.gru"), or the only one there is, as a Model.

    ``state_dict`` maps names to tensors or arrays, as ``module.state_dict()`` does. Layers, directions and biases are
    read from the names; ``batch_first`` and ``dropout`` are not in it and no part of a Model.
    Raises InputError where there is no GRU or more than one to choose from, where a key is missing, unknown or of a
    wrong shape, and where float32 would round.
    """
    if not isinstance(state_dict, Mapping):
        raise InputError(f"state_dict is a {type(state_dict).__name__}, expected a mapping: module.state_dict() is one")
    names = (name for name in state_dict if isinstance(name, str) and _KEY.fullmatch(name))
    shapes = {name: tuple(getattr(state_dict[name], "shape", ())) for name in names}
    return _model(shapes, lambda name: float32(name, state_dict[name]), prefix)


def save(model: Model, prefix: str = "", *, block: str | None = None, cell: bool = False) -> dict[str, Array]:
    """The state_dict of the ``torch.nn.GRU`` that is ``model``, of NumPy arrays: ``torch.from_numpy`` takes each.

    ``prefix`` is put before every name. ``block`` picks one GRU of a larger model, named as its arrays are. ``cell``
    gives the names of ``torch.nn.GRUCell``.
    Raises InputError where PyTorch has no such GRU: reset before the product, layers of unlike size, a cell of many
    layers.
    """
    layers = layers_of(model, block)
    merged = model_of(layers)
    if len(merged.spec.blocks) != 1:
        raise InputError(f"torch.nn.GRU has layers of one kind, expected one block, got {merged.spec.blocks}")
    for weights in (w for layer in layers for w in layer.directions):
        to_convention(weights, "torch")
    if cell and (len(layers) != 1 or len(layers[0].directions) != 1):
        raise InputError(f"torch.nn.GRUCell is one layer in one direction, got {merged.spec.blocks[0]}")
    names = {name: name.removeprefix("0.") for name in merged.arrays}
    return {
        _dotted(prefix) + (names[name].removesuffix("_l0") if cell else names[name]): array.copy()
        for name, array in merged.arrays.items()
    }


def load_file(path: str | os.PathLike[str], prefix: str | None = None) -> Model:
    """:func:`load` from a .safetensors file; only the GRU's arrays are read.

    Raises FileNotFoundError, or InputError as :func:`load` does and for a file that is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {name!r}")
    try:
        check_header(path)
        with safe_open(name, framework="numpy") as file:
            if "grus.spec" in (file.metadata() or {}):
                raise InputError("is a model of Grus already: grus.load reads it")
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys() if _KEY.fullmatch(key)}  # noqa: SIM118
            return _model(shapes, lambda key: float32(key, _tensor(name, file, key)), prefix)
    except SafetensorError as error:
        raise InputError(f"{name!r} is not a .safetensors file, or is damaged: {error}") from None
    except InputError as error:
        raise InputError(f"{name!r}: {error}") from None


def save_file(
    model: Model, path: str | os.PathLike[str], prefix: str = "", *, block: str | None = None, cell: bool = False
) -> None:
    """:func:`save` to a .safetensors file, written whole or not at all."""
    from safetensors.numpy import save as to_bytes

    write_whole(path, to_bytes(save(model, prefix, block=block, cell=cell), metadata={"format": "pt"}))


def _tensor(path: str, file: Any, key: str) -> object:
    if file.get_slice(key).get_dtype() != "BF16":
        return file.get_tensor(key)
    with open(path, "rb") as raw:  # NumPy has no bfloat16; its 16 bits are the upper ones of a float32
        size = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(size))[key]
        start, end = entry["data_offsets"]
        raw.seek(8 + size + start)
        bits = np.frombuffer(raw.read(end - start), "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).reshape(entry["shape"])


def _model(shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], Array], prefix: str | None) -> Model:
    cells = _by_prefix(shapes)
    chosen = _choose(cells, prefix)
    keys = cells[chosen]  # "weight_ih_l0" or, in a cell, "weight_ih" → shape
    suffix = "_l0" if "weight_hh_l0" in keys else ""
    marks = [match for match in map(_KEY.fullmatch, keys) if match]
    layers = 1 + max(int(match["layer"] or 0) for match in marks)
    rows, columns = keys["weight_hh" + suffix], keys.get("weight_ih" + suffix, ())
    block = GRU(
        input_size=columns[-1] if columns else 1,  # what is missing is named below
        hidden_size=rows[1],
        num_layers=layers,
        bias=any(key.startswith("bias") for key in keys),
        bidirectional=any(match["reverse"] for match in marks),
    )
    expected = dict(gru_parameters(block))
    if not suffix:
        expected = {name.removesuffix("_l0"): shape for name, shape in expected.items()}
    missing, unknown = sorted(set(expected) - set(keys)), sorted(set(keys) - set(expected))
    if missing or unknown:
        raise InputError(f"the GRU at {chosen!r} lacks {missing[:4]} and has {unknown[:4]} beside what a GRU has")
    for name, shape in expected.items():
        if keys[name] != shape:
            raise InputError(f"{chosen + name!r} has shape {keys[name]}, expected {shape}")
    layer_names = {name: name if suffix else name + "_l0" for name in expected}
    return Model(Spec((block,)), {f"0.{layer_names[name]}": read(chosen + name) for name in expected})


def _by_prefix(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, tuple[int, ...]]]:
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        match = _KEY.fullmatch(key)
        if match:
            found.setdefault(match["prefix"], {})[match["name"]] = shape
    return found


def _choose(found: Mapping[str, Mapping[str, tuple[int, ...]]], prefix: str | None) -> str:
    grus = [name for name, keys in found.items() if _gates(keys) == 3]
    if prefix is None:
        if len(grus) == 1:
            return grus[0]
        if grus:
            raise InputError(f"there are {len(grus)} GRUs: name one with prefix=, one of {_list(grus)}")
        raise InputError(f"there is no GRU{_others(found)}: expected keys like 'weight_hh_l0' of shape (3H, H)")
    chosen = _dotted(prefix)
    if chosen not in found:
        raise InputError(f"prefix is {prefix!r}, expected one of {_list(grus)}")
    if chosen not in grus:
        raise InputError(f"there is no GRU{_others({chosen: found[chosen]})}: expected one of {_list(grus)}")
    return chosen


def _gates(keys: Mapping[str, tuple[int, ...]]) -> int:
    """How many blocks of rows the recurrent weights have: 3 in a GRU, 4 in an LSTM, 1 in a plain RNN; else 0."""
    shape = keys.get("weight_hh_l0", keys.get("weight_hh", ()))
    return shape[0] // shape[1] if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 else 0


def _others(found: Mapping[str, Mapping[str, tuple[int, ...]]]) -> str:
    kinds = {4: "an LSTM", 1: "a plain RNN"}
    seen = [f"{kinds.get(_gates(keys), 'something else')} at {name!r}" for name, keys in found.items()]
    return f" but {', '.join(seen[:4])}" if seen else ""


def _dotted(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith(".") else prefix + "."


def _list(prefixes: Iterable[str]) -> str:
    return ", ".join(repr(prefix.removesuffix(".")) for prefix in prefixes) or "(there is no GRU)"
