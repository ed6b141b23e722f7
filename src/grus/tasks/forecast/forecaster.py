"""A forecaster in the manner of scikit-learn: parameters as they were given, ``fit`` returns self."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from grus.errors import InputError
from grus.model import load
from grus.spec import Categorical
from grus.tasks.estimator import Estimator
from grus.tasks.forecast.backtest import backtest
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.predict import predict, task_of
from grus.tasks.forecast.report import Report
from grus.tasks.forecast.settings import Architecture, Optimiser, Settings, Trainer
from grus.tasks.forecast.table import Table, as_table
from grus.tasks.needs import check_torch

__all__ = ["Forecaster"]


class Forecaster(Estimator):
    """One GRU for all series of a table: forecasts ``horizon`` steps ahead, with quantiles.

    The parameters are those of :class:`Settings`; they are checked by ``fit``. Data is a path, a DataFrame, a dict of
    columns or a :class:`Table`, with the columns unique_id, ds, y and the covariates. After ``fit`` the attribute
    ``model_`` is the trained :class:`grus.Model`.

    >>> forecaster = Forecaster(horizon=12).fit("sales.csv")  # doctest: +SKIP
    >>> forecaster.predict().write("forecast.csv")  # doctest: +SKIP
    """

    kinds = Settings

    def __init__(
        self,
        horizon: int,
        *,
        window: int | None = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        past: Sequence[str] = (),
        future: Sequence[str] = (),
        static: Sequence[str] = (),
        categorical: Sequence[str] = (),
        strict: bool = False,
        freq: str | None = None,
        season: int | None = None,
        scale: str = "auto",
        architecture: Architecture | None = None,
        optimiser: Optimiser | None = None,
        trainer: Trainer | None = None,
    ) -> None:
        self.horizon = horizon
        self.window = window
        self.quantiles = quantiles
        self.past = past
        self.future = future
        self.static = static
        self.categorical = categorical
        self.strict = strict
        self.freq = freq
        self.season = season
        self.scale = scale
        self.architecture = architecture
        self.optimiser = optimiser
        self.trainer = trainer

    def fit(self, df: Any, *, progress: bool = False) -> Forecaster:
        """Train on all series of ``df`` and return self. Raises InputError without PyTorch, and for data that do not
        fit.
        """
        check_torch()
        from grus.tasks.forecast.fit import fit

        table = as_table(df)
        self.model_ = fit(table, self.settings, progress=progress).model
        self._table = table
        return self

    def predict(self, df: Any = None, future: Any = None) -> Table:
        """Forecasts after the end of each series of ``df``, by default of what it was fitted to.

        future: the future covariates over the horizon. See :func:`grus.tasks.forecast.predict`.
        """
        return predict(self._model(), self._data(df), future, strict=self.strict)

    def evaluate(self, df: Any, windows: int = 1, step: int | None = None) -> Report:
        """The fitted model's errors on the ends of ``df``. See :func:`grus.tasks.forecast.evaluate`."""
        return evaluate(self._model(), df, windows, step, strict=self.strict)

    def backtest(self, df: Any, windows: int = 3, step: int | None = None, *, progress: bool = False) -> Report:
        """Train on what lies before the first of ``windows`` cutoffs, then forecast from each and compare with what
        came, beside naive and seasonal naive forecasts. The fitted model, if any, stays as it is.

        Raises InputError when the series are too short for the windows.
        """
        return backtest(df, self.settings, windows, step, progress=progress)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Forecaster:
        """A fitted forecaster from a model file. Raises InputError for a file that is none."""
        model = load(path)
        task = task_of(model)
        forecaster = Forecaster(
            task.horizon,
            window=task.window,
            quantiles=task.quantiles,
            past=tuple(c.name for c in task.past),
            future=tuple(c.name for c in task.future),
            static=tuple(c.name for c in task.static),
            categorical=tuple(c.name for c in (*task.past, *task.future, *task.static) if isinstance(c, Categorical)),
            freq=task.frequency,
            season=task.season,
            scale=task.scale,
        )
        forecaster.model_ = model
        return forecaster

    def _data(self, df: Any) -> Any:
        if df is None and not hasattr(self, "_table"):
            raise InputError(
                "predict needs the series to forecast: a loaded Forecaster does not keep what it was fitted to"
            )
        return self._table if df is None else df
