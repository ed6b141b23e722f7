"""Grus: the gated recurrent unit, from paper to product.

The public API by name, each loaded when it is first asked for; NumPy is all that loads then. PyTorch's layer is
``grus.torch.GRU``, the forecaster ``grus.tasks.forecast.Forecaster``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grus.errors import InputError

if TYPE_CHECKING:
    from grus.calibration import quantize
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

if not TYPE_CHECKING:  # else every name would be there for a type checker
    _WHERE = {
        "Model": "model",
        "Session": "runtime.session",
        "Spec": "spec",
        "State": "runtime.state",
        "get_num_threads": "runtime.kernels",
        "load": "model",
        "quantize": "calibration",
        "set_num_threads": "runtime.kernels",
    }
    _ROOMS = ("calibration", "exact", "inputs", "model", "quantized", "reference", "runtime", "spec", "weights")

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _WHERE:
            value = globals()[name] = getattr(import_module(f"grus.{_WHERE[name]}"), name)
            return value
        if name in _ROOMS:
            return import_module(f"grus.{name}")
        raise AttributeError(f"module 'grus' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_ROOMS})
