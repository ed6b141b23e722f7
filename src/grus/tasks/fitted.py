"""What every task's ``fit`` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grus.model import Model

__all__ = ["Fitted"]


@dataclass(frozen=True)
class Fitted:
    """A model, and how it came about.

    history: rows of training (its name), step, loss, and validation where measured. validation: what was found by what
    was held back, by its name; {} where nothing was. told: the summary of the fit, "{took}" where its time belongs.
    """

    model: Model
    history: list[dict[str, Any]]
    validation: dict[str, float]
    told: str = ""
