"""Grus for PyTorch: ``grus.torch.GRU``, the layer with the interface of ``torch.nn.GRU``."""

from __future__ import annotations

try:
    from grus.torch.layer import GRU
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("grus.torch needs PyTorch: pip install 'grus[torch]'", name="torch") from None

__all__ = ["GRU"]
