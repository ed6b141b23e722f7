"""A model as something else that runs: ONNX, C99."""

from __future__ import annotations

from grus.export.c99 import to_c99
from grus.export.onnx import to_onnx

__all__ = ["to_c99", "to_onnx"]
