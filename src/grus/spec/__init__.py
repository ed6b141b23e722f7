"""The waist: what a model is, as frozen dataclasses that go to JSON and back.

May import the ground (errors) alone. Begin with ``spec.Spec``, then ``blocks`` and ``task``.
"""

from __future__ import annotations

from grus.spec.blocks import GRU, Activation, Embedding, Linear, Pool
from grus.spec.chains import Block, Bypass, Mean, Residual, leaves, parameters
from grus.spec.spec import Spec
from grus.spec.task import Categorical, Characters, Classify, Forecast, Language, Numeric, Series, Subwords, Task, Words

__all__ = [
    "GRU",
    "Activation",
    "Block",
    "Bypass",
    "Categorical",
    "Characters",
    "Classify",
    "Embedding",
    "Forecast",
    "Language",
    "Linear",
    "Mean",
    "Numeric",
    "Pool",
    "Residual",
    "Series",
    "Spec",
    "Subwords",
    "Task",
    "Words",
    "leaves",
    "parameters",
]
