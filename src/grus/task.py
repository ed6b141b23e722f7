"""What lies before and after a network, as part of its spec: how inputs are prepared and outputs are read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from grus.errors import InputError
from grus.fields import check, check_sizes, is_tuple, within

__all__ = ["Categorical", "Forecast", "Numeric"]

MAX_SEASON = 10_000  # steps in a cycle


@dataclass(frozen=True)
class Numeric:
    """A covariate of numbers, standardised as (value - mean) / std; a missing value becomes 0."""

    name: str
    mean: float
    std: float

    def __post_init__(self) -> None:
        check(self, "name", type(self.name) is str and self.name != "", "a column name")
        check(self, "mean", within(self.mean, -sys.float_info.max), "a finite number")
        check(self, "std", within(self.std, sys.float_info.min), "a finite number above 0")


@dataclass(frozen=True)
class Categorical:
    """A covariate of names, one feature each: 1 for its own, 0 elsewhere."""

    name: str
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        check(self, "name", type(self.name) is str and self.name != "", "a column name")
        different = is_tuple(self.categories, str) and 0 < len(self.categories) == len(set(self.categories))
        check(self, "categories", different, "a tuple of different names")


@dataclass(frozen=True)
class Forecast:
    """How a forecaster prepares its steps and reads its output (``grus.tasks.forecast`` interprets it).

    horizon: steps ahead. window: steps the GRU reads. quantiles: levels, rising, 0.5 among them.
    frequency: pandas' name. season: steps in a cycle, 1 for none.
    scale: "log" for forecasts of log y, else "linear". floor: the least unit of y on the linear scale.
    lags: values of y in the features of a step. smoothing: weight of the newest value in a step's level, 1 for the
    value alone. shrinkage: how doubtful a seasonal pattern must look to be drawn to none; 0 takes it as it is.
    past, future, static: the covariates known up to the present, over the horizon too, and one value a series.
    calibration: for each quantile, the factor on its distance from the median.
    trained_until: (series, the last time it was trained on); the series "*" stands for all that are not listed.
    """

    horizon: int
    window: int
    quantiles: tuple[float, ...]
    frequency: str
    season: int
    scale: Literal["log", "linear"] = "linear"
    floor: float = 1.0
    lags: int = 1
    smoothing: float = 0.7
    shrinkage: float = 3.0
    past: tuple[Numeric, ...] = ()
    future: tuple[Numeric, ...] = ()
    static: tuple[Numeric | Categorical, ...] = ()
    calibration: tuple[float, ...] = ()
    trained_until: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_sizes(self, "horizon", "window", "season", "lags")
        check(self, "season", self.season <= MAX_SEASON, f"at most {MAX_SEASON}")
        levels, factors, ends = self.quantiles, self.calibration, self.trained_until
        rising = is_tuple(levels, float) and list(levels) == sorted({q for q in levels if 0 < q < 1} | {0.5})
        check(self, "quantiles", rising, "rising levels between 0 and 1, 0.5 among them")
        check(self, "frequency", type(self.frequency) is str and self.frequency != "", "the name of a frequency")
        check(self, "scale", self.scale in ("log", "linear"), "'log' or 'linear'")
        check(self, "floor", within(self.floor, sys.float_info.min), "a finite number above 0")
        check(self, "smoothing", within(self.smoothing, sys.float_info.min, 1), "a number above 0, at most 1")
        check(self, "shrinkage", within(self.shrinkage, 0), "a finite number of at least 0")
        numbers = is_tuple(factors, int, float) and all(within(c, 0) for c in factors)
        check(self, "calibration", numbers and len(factors) in (0, len(levels)), "a factor for each quantile, or none")
        pairs = is_tuple(ends, tuple) and all(len(p) == 2 and is_tuple(p, str) for p in ends)
        check(self, "trained_until", pairs, "pairs of a series and a time")
        for name in ("past", "future"):
            check(self, name, is_tuple(getattr(self, name), Numeric), "a tuple of Numeric")
        check(self, "static", is_tuple(self.static, Numeric, Categorical), "a tuple of Numeric and Categorical")
        names = [c.name for c in (*self.past, *self.future, *self.static)]
        if len(set(names)) < len(names):
            raise InputError(f"Forecast has a covariate twice among {names}")
