"""PyTorch: the weights of a ``torch.nn.GRU`` or ``torch.nn.GRUCell``, alone or anywhere inside a module.

They are read from a state_dict, from the .safetensors file of one, or from a module, those of :mod:`grus.torch` too. A
file of ``torch.save`` is a pickle, which may run code when it is read: save it as .safetensors where it is trusted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from grus.errors import InputError
from grus.files import write_whole
from grus.interop.layers import Array, float32, layers_of, model_of
from grus.model import Model, opened
from grus.spec import GRU, Spec
from grus.spec.blocks import gru_parameters
from grus.spec.facts import Shape
from grus.weights import to_convention

__all__ = ["load", "load_file", "save", "save_file"]

_KEY = re.compile(r"(?:weight|bias)_[ih]h(?:_l(?P<layer>\d{1,4})(?P<reverse>_reverse)?)?")  # behind the last dot

# what stands in the place of a weight that PyTorch computes anew for each call: by the last parts of its name
_COMPUTED = {
    "torch.nn.utils.parametrize.remove_parametrizations": (3, re.compile(r"parametrizations\.\w+\.original\d*")),
    "torch.nn.utils.prune.remove": (1, re.compile(r"(?:weight|bias)_[ih]h\w*_(?:orig|mask)")),
    "torch.nn.utils.remove_weight_norm": (1, re.compile(r"(?:weight|bias)_[ih]h\w*_[gv]")),
}
_MARKS = (".original", "_orig", "_mask", "_g", "_v")  # how these names end, but for a number
_BEYOND = {"layer_norm": "layer normalisation", "learn_h0": "a learned initial state", "zoneout": "zoneout"}


def load(source: Any, prefix: str | None = None, *, reset_after: bool | None = None) -> Model:
    """The GRU whose keys begin with ``prefix`` ("encoder.gru"), or the only one there is, as a Model.

    ``source`` maps names to tensors or arrays, as ``module.state_dict()`` does, or is a module, ``grus.torch.GRU`` and
    ``GRUCell`` too. Layers, directions and biases are read from the names; ``batch_first`` and what acts in training
    alone, such as ``dropout``, are no part of a Model. ``reset_after=False`` of ``grus.torch`` leaves no trace in a
    state_dict and has to be said again here, True is meant otherwise; a module says it itself. ``zoneout`` leaves none
    either: give the module, and it is refused.
    Raises InputError where there is no GRU or more than one to choose from, where a key is missing, unknown or of a
    wrong shape, for anything more below the prefix (layer normalisation, a learned h0, parametrizations, pruning), and
    where float32 would round.
    """
    if prefix is not None and not isinstance(prefix, str):
        raise InputError(f"prefix is {prefix!r}, expected a string such as 'encoder.gru'", "prefix")
    if reset_after is not None and not isinstance(reset_after, bool):
        raise InputError(f"reset_after is {reset_after!r}, expected True or False")
    if not isinstance(source, Mapping):
        if not (hasattr(source, "state_dict") and hasattr(source, "named_modules")):
            raise InputError(
                f"source is a {type(source).__name__}, expected a module or a mapping: module.state_dict() is one"
            )
        if reset_after is not None:
            raise InputError("reset_after is read from the module: expected None")
        return _of_module(source, prefix)
    names = [name for name in source if isinstance(name, str)]
    cells = _by_prefix(names, lambda name: tuple(getattr(source[name], "shape", ())))
    return _model(names, cells, lambda name: float32(name, source[name]), prefix, reset_after is not False)


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


def load_file(path: str | os.PathLike[str], prefix: str | None = None, *, reset_after: bool | None = None) -> Model:
    """:func:`load` from a .safetensors file; only the GRU's arrays are read.

    Raises FileNotFoundError, or InputError as :func:`load` does and for a file that is damaged or of another kind.
    """
    name = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {name!r}")
    try:
        with opened(path, "is not a .safetensors file") as file:
            if "grus.spec" in (file.metadata() or {}):
                raise InputError("is a model of Grus already: grus.load reads it")
            names = list(file.keys())
            cells = _by_prefix(names, lambda key: tuple(file.get_slice(key).get_shape()))
            return _model(
                names, cells, lambda key: float32(key, _tensor(name, file, key)), prefix, reset_after is not False
            )
    except InputError as error:
        between = "" if str(error).startswith("is not a") else ":"
        raise InputError(f"{name!r}{between} {error}", *error.parameters) from None


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


def _of_module(module: Any, prefix: str | None) -> Model:
    """The GRU in a module, whose options are honoured or refused."""
    state: Mapping[str, Any] = module.state_dict()
    cells = _by_prefix(state, lambda name: tuple(getattr(state[name], "shape", ())))
    chosen = _choose(list(state), cells, prefix)
    gru = dict(module.named_modules()).get(chosen.removesuffix("."))
    beyond = [words for option, words in _BEYOND.items() if getattr(gru, option, False)]
    if beyond:
        raise InputError(f"the GRU at {chosen!r} has {' and '.join(beyond)}, and no block of a Model has that")
    return load(state, chosen, reset_after=bool(getattr(gru, "reset_after", True)))


def _model(
    names: Collection[str],
    cells: Mapping[str, Mapping[str, Shape]],
    read: Callable[[str], Array],
    prefix: str | None,
    reset_after: bool,
) -> Model:
    chosen = _choose(names, cells, prefix)
    _check_alone(names, chosen)
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
        reset_after=reset_after,
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


def _check_alone(names: Iterable[str], chosen: str) -> None:
    """Refuse what stands below the GRU's prefix beside what a GRU has: left out, the numbers would be others."""
    beside = [n.removeprefix(chosen) for n in names if n.startswith(chosen)]
    beside = [n for n in beside if "." in n or not _KEY.fullmatch(n)]
    _check_computed(beside, chosen)
    if not beside:
        return
    reasons = ["layer normalisation"] if any(n.startswith("norm_") for n in beside) else []
    reasons += ["a learned initial state"] if "h0" in beside else []
    why = f" ({', '.join(reasons)})" if reasons else ""
    raise InputError(
        f"the GRU at {chosen!r} has {beside[:4]} beside what a GRU has{why}, and no block of a Model has that"
    )


def _check_computed(names: Iterable[str], prefix: str) -> None:
    names = [n for n in names if n.rstrip("0123456789").endswith(_MARKS)]  # few, where there are many
    for remedy, (parts, form) in _COMPUTED.items():
        found = [n for n in names if form.fullmatch(_end(n, parts))]
        if found:
            raise InputError(
                f"{[prefix + n for n in found[:4]]} stand for weights that are computed from them: make these "
                f"plain with {remedy}, then take the state_dict"
            )


def _by_prefix(names: Iterable[str], shape: Callable[[str], Shape]) -> dict[str, dict[str, Shape]]:
    """The shapes of what is named as a GRU's weights are: by what stands before the last dot, and what behind it."""
    found: dict[str, dict[str, Shape]] = {}
    weights: dict[str, bool] = {}  # few, where there are many names
    for name in names:
        cut = name.rfind(".") + 1
        key = name[cut:]
        if key not in weights:
            weights[key] = _KEY.fullmatch(key) is not None
        if weights[key]:
            prefix = name[:cut]
            if prefix in found:
                found[prefix][key] = shape(name)
            else:
                found[prefix] = {key: shape(name)}
    return found


def _end(name: str, parts: int = 1) -> str:
    """The last parts of a dotted name. A pattern for a whole name would go through all of it for each dot in it."""
    return name.rpartition(".")[2] if parts == 1 else ".".join(name.rsplit(".", parts)[-parts:])


def _choose(names: Collection[str], found: Mapping[str, Mapping[str, Shape]], prefix: str | None) -> str:
    grus = [name for name, keys in found.items() if _gates(keys) == 3]
    if prefix is None:
        if len(grus) == 1:
            return grus[0]
        if grus:
            raise InputError(f"there are {len(grus)} GRUs: name one with prefix=, one of {_list(grus)}", "prefix")
        _check_computed(names, "")
        raise InputError(f"there is no GRU{_others(names, found)}: expected keys like 'weight_hh_l0' of shape (3H, H)")
    chosen = _dotted(prefix)
    if chosen not in grus:
        _check_computed([name.removeprefix(chosen) for name in names if name.startswith(chosen)], chosen)
    if chosen not in found:
        raise InputError(f"prefix is {prefix!r}, expected one of {_list(grus)}", "prefix")
    if chosen not in grus:
        others = _others(names, {chosen: found[chosen]})
        raise InputError(f"there is no GRU{others}: expected one of {_list(grus)}")
    return chosen


def _gates(keys: Mapping[str, Shape]) -> int:
    """How many blocks of rows the recurrent weights have: 3 in a GRU, 4 in an LSTM, 1 in a plain RNN; else 0."""
    shape = keys.get("weight_hh_l0", keys.get("weight_hh", ()))
    return shape[0] // shape[1] if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 else 0


def _others(names: Collection[str], found: Mapping[str, Mapping[str, Shape]]) -> str:
    kinds = {4: "an LSTM", 1: "a plain RNN"}
    seen = []
    for name, keys in islice(found.items(), 4):
        projected = name + "weight_hr_l0" in names
        kind = "an LSTM with proj_size" if projected else kinds.get(_gates(keys), "something else")
        seen.append(f"{kind} at {name!r}")
    return f" but {', '.join(seen)}" if seen else ""


def _dotted(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith(".") else prefix + "."


def _list(prefixes: Iterable[str]) -> str:
    return ", ".join(repr(prefix.removesuffix(".")) for prefix in prefixes) or "(there is no GRU)"
