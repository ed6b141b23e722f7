"""A rolling backtest: train on what lies before the first cutoff, forecast from each, compare with what came."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from grus.tasks.forecast.evaluate import evaluate, hidden_steps
from grus.tasks.forecast.frequency import Frequency, infer, parse
from grus.tasks.forecast.panel import make_panel
from grus.tasks.forecast.report import Report
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table, as_table

__all__ = ["backtest", "before"]


def backtest(
    table: Any, settings: Settings, windows: int = 3, step: int | None = None, *, progress: bool = False
) -> Report:
    """Train once on what lies before the first of ``windows`` cutoffs, ``step`` (the horizon) apart, and evaluate.

    Needs PyTorch. Raises InputError when the series are too short for the windows, or the data do not fit.
    """
    from grus.tasks.forecast.fit import fit

    data = as_table(table)
    frequency = parse(settings.freq) if settings.freq else infer(data.times, data.starts, data.source)
    settings = replace(settings, freq=frequency.name)  # the shorter table must not lead to another guess
    model = fit(before(data, frequency, settings.horizon, windows, step), settings, progress=progress)
    return evaluate(model, data, windows, step)


def before(table: Table, frequency: Frequency, horizon: int, windows: int, step: int | None) -> Table:
    """The rows of each series before the first cutoff; series that have no value of y before it are left out.

    Raises InputError when no series is long enough.
    """
    panel = make_panel(table, frequency, horizon)
    hidden = hidden_steps(panel, horizon, windows, step)[0]
    cut = frequency.units(panel.present) - hidden * frequency.step
    early = frequency.units(table.times) <= cut[table.codes]
    known = np.zeros(len(table.ids), dtype=bool)
    known[table.codes[early & ~np.isnan(table["y"])]] = True
    return table.rows(early & known[table.codes])
