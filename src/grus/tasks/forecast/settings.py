"""What a person can choose before training: the data, the architecture, the optimiser, the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from grus.errors import InputError
from grus.tasks import optimiser
from grus.tasks.checks import keep, plain
from grus.tasks.options import Options, option, required

__all__ = ["Architecture", "Optimiser", "Settings", "Trainer"]


@dataclass(frozen=True)
class Architecture(Options):
    """The network: ``members`` GRUs of ``num_layers`` layers of ``hidden_size`` units, whose forecasts are averaged."""

    title = "the network"

    hidden_size: int = option(64, "units", least=1)
    num_layers: int = option(1, "GRU layers", flag="--layers", least=1)
    members: int = option(1, "networks whose mean is the forecast", least=1)


@dataclass(frozen=True)
class Optimiser(optimiser.Optimiser):
    """How the weights move: ``batch_size`` series a step."""

    batch_size: int = option(16, "series a step, in each process", least=1)


@dataclass(frozen=True)
class Trainer(Options):
    """How long to train, and when to stop."""

    steps: int | None = option(None, "training steps at most", otherwise="by the data", more="of each member", least=1)
    early_stopping: bool = option(
        True,
        "find the best number of steps by the last horizon of every series",
        more="these values calibrate the intervals too, and are learned from when the number is known",
    )
    seed: int = option(0, "of all that is random", least=0)


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
class Settings(Options):
    """All that training needs beside the table."""

    title = "the series"

    horizon: int = field(metadata=required("steps ahead to forecast", metavar="H", least=1))
    window: int | None = option(
        None,
        "steps to look back",
        metavar="W",
        otherwise="by the data",
        more="as many as the data has, 512 at most",
        least=1,
    )
    quantiles: tuple[float, ...] = option(
        (0.1, 0.5, 0.9), "levels to forecast, the median is always one", metavar="Q,…"
    )
    past: tuple[str, ...] = option((), "columns known up to the present", metavar="A,…")
    future: tuple[str, ...] = option((), "columns known over the horizon too", metavar="B,…")
    static: tuple[str, ...] = option((), "columns with one value a series", metavar="C,…")
    categorical: tuple[str, ...] = option(
        (), "those of them whose numbers are names, such as region 1, 2, 3", metavar="D,…"
    )
    strict: bool = option(False, "end with an error where a series would be left out or a cell is no number")
    freq: str | None = option(
        None, "the step, as pandas names it: MS, BME, MS-15, D, h, …", metavar="F", otherwise="by the data"
    )
    season: int | None = option(None, "steps in a cycle", metavar="S", otherwise="by the step", least=1)
    scale: Literal["auto", "log", "linear"] = option(
        "auto", "log: for positive data whose spread grows with its level", more="auto chooses by the data"
    )
    architecture: Architecture = field(default_factory=Architecture)
    optimiser: Optimiser = field(default_factory=Optimiser)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        if plain(self.scale) not in ("auto", "log", "linear"):
            raise InputError(f"scale is {self.scale!r}, expected 'auto', 'log' or 'linear'", "scale")
        super().__post_init__()
        keep(self, "quantiles", check_quantiles(self.quantiles))
        for name in ("past", "future", "static", "categorical"):
            keep(self, name, _names(name, getattr(self, name)))
        names = self.past + self.future + self.static
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise InputError(f"column {twice[0]!r} is given twice: it is past, future or static, one of them")
        other = sorted(set(self.categorical) - set(names))
        if other:
            raise InputError(
                f"categorical names {other[0]!r}, which is no past, future or static column", "categorical"
            )


def _names(kind: str, given: Any) -> tuple[str, ...]:
    names = plain(given)
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(n, str) and n for n in names):
        raise InputError(f"{kind} is {names!r}, expected a tuple of column names", kind)
    reserved = sorted({"unique_id", "ds", "y"} & set(names))
    if reserved:
        raise InputError(f"{kind} names the column {reserved[0]!r}, expected covariates only", kind)
    return tuple(str(name) for name in names)
