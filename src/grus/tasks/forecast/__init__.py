"""Forecasts of many series with one GRU: quantiles for every step of a horizon, from what each series was so far.

``Forecaster`` has all of it in the manner of scikit-learn. Below it, each in the module of its name: ``predict``,
``evaluate``, ``backtest``, ``plot``, and ``fit``, the only one that needs PyTorch.
May import: what the tasks share, ``grus.runtime`` and what lies below; no other task.
Begin with ``forecaster``.
"""

from grus.tasks.forecast.forecaster import Forecaster
from grus.tasks.forecast.report import Report
from grus.tasks.forecast.settings import Architecture, Optimiser, Settings, Trainer
from grus.tasks.forecast.table import Table

__all__ = ["Architecture", "Forecaster", "Optimiser", "Report", "Settings", "Table", "Trainer"]
