"""What a model can be exported to, in one table: the command line and ``grus.export.verify`` are made of it.

No field has a default: whoever adds a target says them all, and mypy names those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from grus.errors import InputError
from grus.spec.limits import Backend

if TYPE_CHECKING:
    from grus.export.readback import Report
    from grus.model import Model

__all__ = ["TARGETS", "Given", "Target", "Tried"]

Given: TypeAlias = Mapping[str, Any]  # the options that were given, and for c the examples


@dataclass(frozen=True)
class Tried:
    """Whether what was written works, and the words for it."""

    good: bool
    said: str


@dataclass(frozen=True)
class Target:
    """what: for people. suffix: of the file, "" for a folder. options: of ``grus export``, that only some targets take.

    limits: its row in ``grus.spec.limits``. holds: whether a path is what ``write`` writes. write: the model, the place
    and the options to what is there then, in words. tried: the same to how it was tried. verify: the same to how what
    is there agrees with the model. ``write`` and ``verify`` raise InputError where they cannot.
    """

    what: str
    suffix: str
    options: tuple[str, ...]
    limits: Backend
    holds: Callable[[Path], bool]
    write: Callable[[Model, Path, Given], str]
    tried: Callable[[Model, Path, Given], Tried]
    verify: Callable[[Model, Path, Given], Report]


def _ends(suffix: str) -> Callable[[Path], bool]:
    return lambda path: not path.is_dir() and path.suffix.lower() == suffix


def _write_onnx(model: Model, path: Path, given: Given) -> str:
    from grus.export.onnx import to_onnx

    return f"ONNX Runtime computes the same: {to_onnx(model, path, **given)}"


def _proved(model: Model, path: Path, given: Given) -> Tried:
    return Tried(True, "")  # before it was kept


def _verify_onnx(model: Model, path: Path, given: Given) -> Report:
    from grus.export.readback import onnx

    return onnx(model, path)


def _write_c(model: Model, path: Path, given: Given) -> str:
    from grus.export.c99 import to_c99

    return ", ".join(file.name for file in to_c99(model, path, **given))


def _try_c(model: Model, path: Path, given: Given) -> Tried:
    from grus.export.c99.compiled import Compiled, SelfTestFailed

    compiled = Compiled(path)
    if not compiled.buildable:
        return Tried(True, "its self-test not run, for there is no C compiler: run grus verify where there is one")
    try:
        compiled.self_test()
    except SelfTestFailed as error:
        return Tried(False, str(error))
    except InputError as error:
        raise InputError(f"{str(path)!r} is written, but could not be tried: {error}") from None
    return Tried(True, "compiled, its self-test passed")


def _verify_c(model: Model, path: Path, given: Given) -> Report:
    from grus.export.readback import c99

    return c99(model, path)


def _write_torch(model: Model, path: Path, given: Given) -> str:
    from grus.interop import torch

    torch.save_file(model, path, **given)
    return "a state_dict of torch.nn.GRU"


def _write_keras(model: Model, path: Path, given: Given) -> str:
    from grus.interop import keras

    keras.save_file(model, path, **given)
    return "a Sequential of GRU layers"


def _verify_arrays(model: Model, path: Path, given: Given) -> Report:
    from grus.export.readback import arrays

    return arrays(model, path, given.get("block"), given.get("prefix"))


def _read_back(model: Model, path: Path, given: Given) -> Tried:
    report = _verify_arrays(model, path, given)
    return Tried(report.good, f"{report.what}: {report.agreement}")


TARGETS: Mapping[str, Target] = {
    "onnx": Target("ONNX", ".onnx", ("opset",), "onnx", _ends(".onnx"), _write_onnx, _proved, _verify_onnx),
    "c": Target("C99", "", ("name", "weights", "int8"), "c", Path.is_dir, _write_c, _try_c, _verify_c),
    "torch": Target(
        "weights of PyTorch",
        ".safetensors",
        ("block", "prefix"),
        "all weights",
        _ends(".safetensors"),
        _write_torch,
        _read_back,
        _verify_arrays,
    ),
    "keras": Target(
        "weights of Keras",
        ".keras",
        ("block",),
        "all weights",
        _ends(".keras"),
        _write_keras,
        _read_back,
        _verify_arrays,
    ),
}
