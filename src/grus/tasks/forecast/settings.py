"""What a person can choose before training: the data, the architecture, the optimiser, the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grus.errors import InputError
from grus.tasks.checks import integer, keep, number, plain

__all__ = ["Architecture", "Optimiser", "Settings", "Trainer"]


@dataclass(frozen=True)
class Architecture:
    """The network: ``members`` GRUs of ``num_layers`` layers of ``hidden_size`` units, whose forecasts are averaged."""

    hidden_size: int = 64
    num_layers: int = 1
    members: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_layers", "members"):
            keep(self, name, integer(name, getattr(self, name), 1))


@dataclass(frozen=True)
class Optimiser:
    """How the weights move: AdamW, ``batch_size`` series a step, the norm of the gradient held below ``clip``."""

    learning_rate: float = 4e-3
    weight_decay: float = 0.0
    batch_size: int = 16
    clip: float = 1.0

    def __post_init__(self) -> None:
        keep(self, "learning_rate", number("learning_rate", self.learning_rate, 0, above=True))
        keep(self, "weight_decay", number("weight_decay", self.weight_decay, 0))
        keep(self, "batch_size", integer("batch_size", self.batch_size, 1))
        keep(self, "clip", number("clip", self.clip, 0, above=True))


@dataclass(frozen=True)
class Trainer:
    """How long to train, and when to stop.

    steps: the most optimiser steps a member makes; None leaves it to the amount of data.
    early_stopping: hold back the last ``horizon`` points of every series to find the best number of steps and to
        calibrate the intervals.
    seed: everything random follows from it.
    """

    steps: int | None = None
    early_stopping: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is not None:
            keep(self, "steps", integer("steps", self.steps, 1))
        keep(self, "early_stopping", plain(self.early_stopping))
        if not isinstance(self.early_stopping, bool):
            raise InputError(f"early_stopping is {self.early_stopping!r}, expected True or False")
        keep(self, "seed", integer("seed", self.seed, 0))


def check_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """The levels in rising order, the median among them. Raises InputError for anything that is no set of levels."""
    given = plain(quantiles)
    levels = [plain(q) for q in given] if isinstance(given, Sequence) and not isinstance(given, str) else None
    if not levels or not all(isinstance(q, (int, float)) and 0 < q < 1 for q in levels):
        raise InputError(
            f"quantiles are {quantiles!r}, expected levels between 0 and 1, such as (0.1, 0.5, 0.9)", "quantiles"
        )
    return tuple(sorted({float(q) for q in levels} | {0.5}))


@dataclass(frozen=True)
class Settings:
    """All that training needs beside the table.

    horizon: how many steps ahead to forecast.
    window: how many steps the GRU reads before it forecasts; None: as many as the data has, 512 at most.
    quantiles: the levels to forecast; the median, 0.5, is always among them.
    past, future, static: columns known up to the present; known over the horizon too; one value a series.
    freq: pandas' name of the frequency; None infers it. season: steps in a cycle; None takes it from the frequency.
    scale: "log" for positive data whose spread grows with its level, "linear" for any, "auto" chooses.
    """

    horizon: int
    window: int | None = None
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    freq: str | None = None
    season: int | None = None
    scale: str = "auto"
    architecture: Architecture = field(default_factory=Architecture)
    optimiser: Optimiser = field(default_factory=Optimiser)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        keep(self, "horizon", integer("horizon", self.horizon, 1))
        for name, least in (("window", 1), ("season", 1)):
            if getattr(self, name) is not None:
                keep(self, name, integer(name, getattr(self, name), least))
        for name in ("freq", "scale"):
            keep(self, name, plain(getattr(self, name)))
        if self.scale not in ("auto", "log", "linear"):
            raise InputError(f"scale is {self.scale!r}, expected 'auto', 'log' or 'linear'")
        keep(self, "quantiles", check_quantiles(self.quantiles))
        for name in ("past", "future", "static"):
            keep(self, name, _names(name, getattr(self, name)))
        names = self.past + self.future + self.static
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise InputError(f"column {twice[0]!r} is given twice: it is past, future or static, one of them")
        for name, kind in (("architecture", Architecture), ("optimiser", Optimiser), ("trainer", Trainer)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name} is {getattr(self, name)!r}, expected {kind.__name__}(…)")


def _names(kind: str, given: Any) -> tuple[str, ...]:
    names = plain(given)
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(n, str) and n for n in names):
        raise InputError(f"{kind} is {names!r}, expected a tuple of column names", kind)
    reserved = sorted({"unique_id", "ds", "y"} & set(names))
    if reserved:
        raise InputError(f"{kind} names the column {reserved[0]!r}, expected covariates only", kind)
    return tuple(str(name) for name in names)
