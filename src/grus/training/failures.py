"""How a training ends that cannot go on: errors a person can do something about."""

from __future__ import annotations

import torch

from grus.errors import InputError

__all__ = ["Diverged", "LostWorker", "OutOfMemory", "is_lost_worker", "is_out_of_memory"]


class Diverged(InputError):
    """A training whose loss or validation is no longer finite. It is repeatable: from its checkpoint it ends so too."""


class OutOfMemory(InputError):
    """A step did not fit into memory."""


class LostWorker(InputError):
    """Another process of this training has ended, or can no longer be reached."""


def is_out_of_memory(error: BaseException) -> bool:
    """PyTorch says so by a RuntimeError on the CPU, and by one of its own kind on a GPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def is_lost_worker(error: BaseException) -> bool:
    """gloo raises plain RuntimeErrors, which name its source files."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("gloo", "nccl"))
