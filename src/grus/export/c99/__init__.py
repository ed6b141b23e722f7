"""A model as C99: one .h and one .c, standard library only, with a self-test.

May import: what ``grus.export`` may, and the rest of it. Begin with ``plan``: buffers and operations in their order.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grus.errors import InputError
from grus.export.agreement import random_inputs
from grus.export.c99.files import Export
from grus.export.c99.folder import write_folder
from grus.model import Model
from grus.spec.chains import count_ids

__all__ = ["to_c99"]

STEPS = 12  # of the self-test


def to_c99(
    model: Model,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    weights: Literal["source", "file"] = "source",
    examples: ArrayLike | None = None,
) -> list[Path]:
    """Write ``model``, float32 or w8a16, to ``directory`` as C99; the paths of the files written.

    name: what every public name in C begins with; by default the directory's. weights: constants in the source, or a
    file of their own, which the caller loads. examples [T, input_size]: inputs for the self-test, at most 64 steps of
    them are used; by default random ones.

    The directory is written whole or not at all; an earlier export in it, and what was built there, is replaced.
    A bidirectional model is exported as a function over whole sequences, any other as one of a step. Raises InputError
    for a name that is none in C, for examples of another shape, and for a directory that holds anything else.
    """
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}, expected a grus.Model: grus.load(path) reads one")
    target = Path(directory)
    name = _identifier(target, name)
    if weights not in ("source", "file"):
        raise InputError(f"weights is {weights!r}, expected 'source' or 'file'")
    steps = random_inputs(model, STEPS, 1)[:, 0] if examples is None else _checked(examples, model)
    export = Export(model, name, weights == "file", steps, version("grus"))
    built = (f"{name}.o", f"{name}_test", f"{name}_test.o", f"{name}_test.exe", "a.out")
    return write_folder(target, export.files(), optional=(f"{name}.bin", f"{name}_vocab.txt", *built))


def _identifier(target: Path, name: str | None) -> str:
    chosen = re.sub(r"\W", "_", target.resolve().name, flags=re.ASCII).lower() if name is None else name
    if not isinstance(chosen, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", chosen):
        raise InputError(
            f"name is {chosen!r}, expected a letter and up to 39 more letters, digits and underscores: all names in C "
            "begin with it"
        )
    return chosen


def _checked(examples: ArrayLike, model: Model) -> NDArray[np.float32]:
    input_size, ids = model.spec.input_size, count_ids(model.spec.blocks)
    x: NDArray[Any] = np.asarray(examples)
    if x.ndim != 2 or x.shape[1] != input_size or not len(x) or x.dtype.kind not in "fiu":
        raise InputError(f"examples have shape {x.shape}, expected (T, {input_size}) with at least one step")
    x = x[:64].astype(np.float32)
    if not np.isfinite(x).all():
        raise InputError("examples hold NaN or infinity, expected inputs as the model will meet them")
    wrong = x[(x[:, 0] < 0) | (x[:, 0] >= ids) | (x[:, 0] % 1 > 0), 0] if ids else x[:0]
    if len(wrong):
        raise InputError(f"examples hold the id {wrong[0]:g}, expected integers from 0 to {ids - 1}")
    return x
