"""A layer's walk through time as a function of tensors, by the kernels or in plain PyTorch: the same results each way.

May import: ``grus.runtime`` and what is below it; nothing of ``grus.torch`` outside this room.
Begin with :mod:`grus.torch.recurrence.routes`: one table of who takes which call.
"""

from grus.torch.recurrence.routes import in_onnx_export, layer, route
from grus.torch.recurrence.types import Extras, Gates, Norms, Weights, directions

__all__ = ["Extras", "Gates", "Norms", "Weights", "directions", "in_onnx_export", "layer", "route"]
