"""A file of any library that is read here: told by its ending, or refused with what to do instead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from grus.errors import InputError
from grus.interop import keras, onnx, torch
from grus.model import Model

__all__ = ["READABLE", "load_file"]

PICKLE = (
    "is a pickle, which may run code when it is read: where you trust it, load it with PyTorch and save "
    "module.state_dict() with safetensors.torch.save_file"
)
REFUSED = dict.fromkeys((".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin"), PICKLE)
REFUSED |= dict.fromkeys((".msgpack", ".orbax"), "is of Flax: load it there, and call grus.interop.flax.load(params)")

KERAS = (".keras", ".h5", ".hdf5")
READABLE = (*KERAS, ".onnx", *REFUSED)  # and .safetensors: what is of another library, if only to be refused


def load_file(
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    reset_after: bool | None = None,
    nodes: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
) -> Model:
    """The GRUs in a .safetensors, .keras, .h5 or .onnx file as a Model, by its library's own ``load_file``.

    prefix: of a state_dict. reset_after: of that, or of Keras' weights without a configuration (.weights.h5). nodes: of
    an ONNX graph. layers: of a Keras model. Raises FileNotFoundError, or InputError as those do,
    for a file of another kind, and for a choice that this kind does not have.
    """
    kind, name = Path(path).suffix.lower(), repr(os.fspath(path))
    if kind in REFUSED:
        raise InputError(f"{name} {REFUSED[kind]}")
    for option, given, needed in (
        ("prefix", prefix, (".safetensors",)),
        ("reset_after", reset_after, (".safetensors", ".h5", ".hdf5")),
        ("nodes", nodes, (".onnx",)),
        ("layers", layers, KERAS),
    ):
        if given is not None and kind not in needed:
            raise InputError(f"{option} is for {' files, or '.join(needed)} files, and {name} is none", option)
    match kind:
        case ".safetensors":
            return torch.load_file(path, prefix, reset_after=reset_after)
        case kind if kind in KERAS:
            return keras.load_file(path, layers, reset_after=reset_after)
        case ".onnx":
            return onnx.load_file(path, nodes)
        case _:
            raise InputError(f"{name}: cannot read {kind!r}, expected .safetensors, .keras or .onnx, or .h5 of Keras")
