"""What training needs and the rest of a task does without."""

from __future__ import annotations

import importlib

from grus import installed
from grus.errors import InputError

__all__ = ["check_torch"]


def check_torch() -> None:
    """Raise InputError, before any work, where PyTorch is not installed."""
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError(f"training needs PyTorch: {installed.command('train')}") from None
