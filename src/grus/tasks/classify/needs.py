"""What training needs and the rest of the task does without."""

from __future__ import annotations

from grus.errors import InputError

__all__ = ["check_torch"]


def check_torch() -> None:
    """Raise InputError, before any work, where PyTorch is not installed."""
    try:
        import grus.tasks.classify.fit  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError("training needs PyTorch: pip install 'grus[train]'") from None
