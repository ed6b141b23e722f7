"""Grus for PyTorch: ``GRU`` and ``GRUCell`` with the interface of ``torch.nn``'s, and what goes with them.

May import: PyTorch, ``grus.runtime``, the model and what lies below. Begin with ``gru``, then
``recurrence.routes``: the table of who takes which call.
"""

from __future__ import annotations

try:
    from grus.torch import init
    from grus.torch.cell import GRUCell
    from grus.torch.conversion import Conversion, convert, revert
    from grus.torch.gru import GRU
    from grus.torch.recurrence import Gates
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    from grus.installed import command

    raise ImportError(f"grus.torch needs PyTorch: {command('torch')}", name="torch") from None

__all__ = ["GRU", "Conversion", "GRUCell", "Gates", "convert", "init", "revert"]
