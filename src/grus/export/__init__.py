"""A model as something else that runs: C99."""

from __future__ import annotations

from grus.export.c99 import to_c99

__all__ = ["to_c99"]
