"""Model: a spec and its arrays, kept in one .safetensors file with the spec in its metadata."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.files import write_whole
from grus.quantized import check, layout
from grus.spec import Spec, parameters

__all__ = ["Model", "load"]

FORMAT = "1"  # of the file; a reader refuses a newer one
MOST_HEADER = 1 << 23  # bytes of a .safetensors file that say what is in it
TYPES = {"float32": "F32", "int8": "I8"}  # as .safetensors files name them


class Model:
    """A spec and its arrays by name: what training makes and every backend interprets.

    Raises InputError when an array is missing, unknown, of another shape or type than ``grus.quantized.layout(spec)``
    says (float32, but for a model with ``spec.precision`` "w8a16"), or holds NaN or infinity.
    """

    def __init__(self, spec: Spec, arrays: Mapping[str, NDArray[Any]]) -> None:
        expected = layout(spec)
        missing, unknown = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
        if missing or unknown:
            raise InputError(f"the arrays do not fit the spec: missing {missing[:4]}, not in the spec {unknown[:4]}")
        for name, (shape, dtype) in expected.items():
            array = arrays[name]
            if not isinstance(array, np.ndarray):
                raise InputError(f"array {name!r} is a {type(array).__name__}, expected a NumPy array")
            if array.shape != shape or array.dtype != dtype:
                raise InputError(f"array {name!r} is {array.dtype}{array.shape}, expected {dtype}{shape}")
            if not np.isfinite(array).all():
                raise InputError(f"array {name!r} holds NaN or infinity")
        check(spec, arrays)
        self.spec = spec
        self.arrays: Mapping[str, NDArray[Any]] = MappingProxyType({n: arrays[n] for n in expected})

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in parameters(self.spec.blocks).values())

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the spec and every array, in hexadecimal: equal models on any machine have equal hashes."""
        whole = hashlib.sha256(self.spec.to_json().encode())
        for array in self.arrays.values():  # in the spec's order; it says their names and shapes
            whole.update(array.astype(array.dtype.newbyteorder("<"), "C", copy=False).tobytes())
        return whole.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .safetensors file, whole or not at all (temporary file, fsync, rename).

        Equal models make equal files, byte for byte. Raises InputError for a spec so large that it would not be read.
        """
        from safetensors.numpy import save

        text = self.spec.to_json()
        Spec.from_json(text)  # what is written can be read
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        data = _in_order(save(arrays, metadata={"grus.format": FORMAT, "grus.spec": text}))
        size = int.from_bytes(data[:8], "little")
        if size > MOST_HEADER:
            raise InputError(f"the spec and the arrays' names take {size:,} bytes, expected at most {MOST_HEADER:,}")
        write_whole(path, data)

    def __reduce__(self) -> tuple[type[Model], tuple[Spec, dict[str, NDArray[Any]]]]:
        return Model, (self.spec, dict(self.arrays))  # pickled and copied so: a read-only mapping cannot be

    def __repr__(self) -> str:
        return f"Model({self.num_parameters:,} parameters, {self.spec.blocks})"


def _in_order(data: bytes) -> bytes:
    """A .safetensors file with its metadata sorted by key; safetensors writes them in an order that changes."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the arrays behind it stay aligned
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file that :meth:`Model.save` wrote. Nothing in the file is ever executed.

    Raises FileNotFoundError, or InputError for a file that is damaged, cut short, or not a model of Grus.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no model file {os.fspath(path)!r}")
    try:
        with opened(path, "is not a model file") as file:
            return _read(file)
    except InputError as error:
        raise InputError(f"{os.fspath(path)!r} {error}") from None


@contextmanager
def opened(path: str | os.PathLike[str], other: str) -> Iterator[Any]:
    """A .safetensors file as ``safe_open`` gives it. Raises InputError, in the words of ``other``, for one that is none
    or is damaged, and for one whose header is so large that reading it would take its time.
    """
    from safetensors import SafetensorError, safe_open

    _check_header(path)
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise InputError(f"{other}, or is damaged: {error}") from None


def _check_header(path: str | os.PathLike[str]) -> None:
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if MOST_HEADER < size <= os.path.getsize(path):  # a length beyond the file's is told as damage
        raise InputError(f"has a header of {size:,} bytes, expected at most {MOST_HEADER:,}")


def _read(file: Any) -> Model:
    metadata = file.metadata() or {}
    if "grus.spec" not in metadata:
        raise InputError("is a .safetensors file, but holds no model of Grus")
    version = metadata.get("grus.format")
    if version != FORMAT:
        raise InputError(f"has format {version!r}, this Grus reads {FORMAT!r}: update Grus")
    try:
        spec = Spec.from_json(metadata["grus.spec"])
        expected, stored = layout(spec), set(file.keys())
        for key in sorted(stored & set(expected)):  # before anything is read
            lies, (shape, dtype) = file.get_slice(key), expected[key]
            found = (lies.get_dtype(), tuple(lies.get_shape()))
            if found != (TYPES[dtype.name], shape):  # some types have no counterpart in NumPy
                raise InputError(f"array {key!r} is {found[0]}{found[1]}, expected {TYPES[dtype.name]}{shape}")
        arrays = {key: file.get_tensor(key) for key in expected if key in stored}
        return Model(spec, arrays | {key: np.empty(0) for key in stored - set(expected)})
    except InputError as error:
        raise InputError(f"is damaged: {error}") from None
