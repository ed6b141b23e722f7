"""Sequences and their labels, from what a user has: what every other module of the task takes."""

from __future__ import annotations

import os
from typing import Any

from grus.tasks.classify.files import read
from grus.tasks.classify.objects import Examples, from_objects

__all__ = ["Examples", "as_examples"]


def as_examples(X: Any, y: Any = None) -> Examples:
    """``X`` and ``y`` as examples: X may be a path (then without y), else what
    :func:`grus.tasks.classify.objects.from_objects` takes. Raises InputError as that and ``files.read`` do.
    """
    return from_objects(read(X) if isinstance(X, os.PathLike) else X, y)
