"""The libraries the baselines stand on, imported when one is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from grus import installed
from grus.errors import InputError

__all__ = ["check_labels", "module"]


def module(name: str, library: str) -> Any:
    """The module of that name. Raises InputError where the library, as people call it, is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise  # it is there, and something it needs is not: its own message says more
        raise InputError(f"this baseline needs {library}: {installed.command('baselines')}") from None


def check_labels(items: Sequence[object], labels: Sequence[str], least_classes: int = 2) -> None:
    """Raise InputError unless there is a label for each item, and labels of enough classes."""
    if len(items) != len(labels):
        raise InputError(f"labels has {len(labels)} labels, expected {len(items)}: one for each training item")
    if len(classes := set(labels)) < least_classes:
        raise InputError(f"labels has {len(classes)} classes, expected at least {least_classes}")
