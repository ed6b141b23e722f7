"""Grus for PyTorch: ``grus.torch.GRU``, the layer with the interface of ``torch.nn.GRU``."""

from __future__ import annotations

from grus.torch.layer import GRU

__all__ = ["GRU"]
