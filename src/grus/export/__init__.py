"""A model as something else that runs: ONNX, C99, or its GRUs as another library's weights.

May import what computes with NumPy (interop, runtime, model, exact). Begin with ``targets``: all there are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grus.export.c99 import to_c99
    from grus.export.onnx import to_onnx

__all__ = ["to_c99", "to_onnx"]


def __getattr__(name: str) -> object:
    """Loaded when it is asked for: ``grus --help`` names the targets, and writes none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"grus.export.{name.removeprefix('to_')}"), name)
