"""What torchrun tells its processes, which can be asked before PyTorch is loaded."""

from __future__ import annotations

import os

__all__ = ["is_first", "is_restarted", "restarts"]


def is_first() -> bool:
    """Whether this is the process that writes the files and prints; without torchrun it is."""
    return os.environ.get("RANK", "0") == "0"


def restarts() -> str:
    """How often torchrun has started the processes again, after one was lost (``--max-restarts``)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def is_restarted() -> bool:
    return restarts() not in ("", "0")
