"""Grus: the gated recurrent unit, from paper to product.

The public API by name; NumPy is all that importing it loads. PyTorch's layer is ``grus.torch.GRU``, the forecaster
``grus.tasks.forecast.Forecaster``.
"""

from __future__ import annotations

from grus.calibration import quantize
from grus.errors import InputError
from grus.model import Model, load
from grus.runtime.kernels import get_num_threads, set_num_threads
from grus.runtime.session import Session
from grus.runtime.state import State
from grus.spec import Spec

__all__ = [
    "InputError",
    "Model",
    "Session",
    "Spec",
    "State",
    "__version__",
    "get_num_threads",
    "load",
    "quantize",
    "set_num_threads",
]

__version__ = "0.1.0"
