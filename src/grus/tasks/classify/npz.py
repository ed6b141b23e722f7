"""Series in NumPy's .npz files."""

from __future__ import annotations

import os
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.classify.objects import Examples, from_objects

__all__ = ["read_array", "read_npz"]


def read_npz(path: str | os.PathLike[str]) -> Examples:
    """The series of a file with X [N, T, C] or [N, T], or with X [Σ lengths, C] and ``lengths`` [N], one after the
    other; with ``lengths``, padded series end there. y, where there is one, has a label for each series [N], or for
    each step [N, T] or [Σ lengths].

    Raises InputError for other shapes, for object arrays, which could execute code, and for a damaged file.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key in ("X", "y", "lengths")}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{name} is not an .npz file of plain arrays, or is damaged") from None
    except MemoryError as error:  # as the shape in a damaged header may say
        raise InputError(f"{name} does not fit into memory: {error}") from None
    if "X" not in arrays:
        raise InputError(f"{name} has no array 'X'")
    X, y, lengths = arrays["X"], arrays.get("y"), arrays.get("lengths")
    if X.dtype.kind not in "biuf" or X.ndim not in (2, 3):
        raise InputError(f"{name}: X is {X.dtype}{X.shape}, expected numbers (N, T, C), (N, T) or (Σ lengths, C)")
    if y is not None and y.ndim not in (1, 2):
        raise InputError(f"{name}: y is {y.dtype}{y.shape}, expected labels (N,), (N, T) or (Σ lengths,)")
    try:
        return _series(X, y) if lengths is None else _unequal(X, y, lengths)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def read_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The numbers of an .npy file, series without labels. Raises InputError for any other file."""
    name = os.fspath(path)
    try:
        found: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, SyntaxError):
        raise InputError(f"{name} is not an .npy file of numbers, or is damaged") from None
    if found.dtype.kind not in "biuf" or found.ndim not in (2, 3):
        raise InputError(f"{name} holds {found.dtype}{found.shape}, expected numbers (N, T, C) or (N, T)")
    return found


def _series(X: NDArray[Any], y: NDArray[Any] | None) -> Examples:
    return from_objects(X, y)


def _unequal(X: NDArray[Any], y: NDArray[Any] | None, lengths: NDArray[Any]) -> Examples:
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not lengths.size or int(lengths.min()) < 0:
        raise InputError(f"lengths is {lengths.dtype}{lengths.shape}, expected integers (N,) of at least 0")
    sizes = lengths.tolist()  # as Python's integers, whose sum cannot overflow
    joined = X.ndim == 2 and len(X) == sum(sizes)
    if not joined and (len(X) != len(sizes) or max(sizes) > X.shape[1]):
        raise InputError(f"X has the shape {X.shape}, which the lengths of {len(sizes)} series do not fit")

    def cut(values: NDArray[Any], joined: bool) -> list[Any]:
        if joined:
            return np.split(values, np.cumsum(sizes)[:-1])
        return [row[:length] for row, length in zip(values, sizes, strict=True)]

    if y is not None and y.shape[:1] != (len(lengths),) and not (joined and y.shape == (len(X),)):
        raise InputError(f"y has the shape {y.shape}, expected a label for each series ({len(lengths)},) or step")
    each = y is not None and (y.ndim == 2 or (joined and len(y) == len(X) != len(lengths)))
    return from_objects(cut(X, joined), cut(y, y.ndim == 1) if each and y is not None else y)
