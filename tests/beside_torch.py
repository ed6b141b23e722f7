"""Two results of the same computation, one of ``torch.nn``, one of ``grus.torch``."""

from __future__ import annotations

import torch
from tolerance import FLOOR


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    """Each within the rule of the truth; the rule itself is in test_conformance.py."""
    assert one.shape == other.shape and one.dtype == other.dtype
    bound = (8 * FLOOR if one.dtype == torch.float32 else 1e-12) * max(1.0, largest(other))
    assert largest(one.double() - other.double()) <= bound


def largest(tensor: torch.Tensor) -> float:
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0
