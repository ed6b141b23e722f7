"""A rolling backtest: train on what lies before the first cutoff, forecast from each, compare with what came."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.forecast.cells import is_number
from grus.tasks.forecast.evaluate import comparable, evaluate, hidden_steps
from grus.tasks.forecast.frequency import Frequency
from grus.tasks.forecast.grid import on_grid, one_frequency
from grus.tasks.forecast.panel import make_panel
from grus.tasks.forecast.prepare import panel_for, prepare
from grus.tasks.forecast.report import Report
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.sound import left_out, sound
from grus.tasks.forecast.table import Table, as_table
from grus.tasks.needs import check_torch

__all__ = ["Plan", "backtest", "before", "plan"]


@dataclass(frozen=True)
class Plan:
    """A backtest before its training: the rows to train on, those to evaluate on, and how.

    settings: the user's, with what must not be guessed anew from the fewer rows. notes: for the report.
    """

    early: Table
    whole: Table
    settings: Settings
    notes: tuple[str, ...]


def backtest(
    table: Any,
    settings: Settings,
    windows: int = 3,
    step: int | None = None,
    *,
    progress: bool = False,
    device: str = "cpu",
) -> Report:
    """Train once on what lies before the first of ``windows`` cutoffs, ``step`` (the horizon) apart, and evaluate.

    Series of a static category that no row before the first cutoff has are left out, and a note says so. Raises
    InputError without PyTorch, when the series are too short for the windows, and when the data do not fit.
    """
    check_torch()
    from grus.tasks.forecast.fit import fit

    made = plan(as_table(table), settings, windows, step)
    fitted = fit(made.early, made.settings, progress=progress, device=device)
    report = evaluate(fitted.model, made.whole, windows, step, strict=settings.strict)
    return replace(report, notes=(*made.notes, *report.notes))


def plan(table: Table, settings: Settings, windows: int, step: int | None = None) -> Plan:
    """What a backtest trains and evaluates on. Raises InputError now for what would end it after the training."""
    panel, task = prepare(table, settings)
    table = sound(table, settings)
    table = one_frequency(table, panel.frequency)
    settings = replace(settings, freq=task.frequency, scale=task.scale)
    early = before(table, panel.frequency, settings.horizon, windows, step)
    late = np.zeros(len(table.ids), dtype=bool)
    notes = []
    for name in settings.static:
        unseen = _unseen(table, early, name, panel.frequency)
        if unseen.any():
            notes.append(left_out(table.ids[unseen], f"their {name!r} first appears after the first cutoff"))
        late |= unseen
    whole = table.rows(~late[table.codes])
    try:
        _, task = prepare(early, settings)
    except InputError as error:
        hidden = hidden_steps(panel, settings.horizon, windows, step)[0]
        raise InputError(f"{error} (the {windows} windows of the backtest hold the last {hidden} steps back)") from None
    comparable(panel_for(task, whole), task, windows, step, strict=settings.strict)
    return Plan(early, whole, settings, tuple(notes))


def before(table: Table, frequency: Frequency, horizon: int, windows: int, step: int | None) -> Table:
    """The rows of each series before the first cutoff; series that have no value of y before it are left out.

    Raises InputError when no series is long enough.
    """
    table = on_grid(table, frequency)
    panel = make_panel(table, frequency, 0)
    hidden = hidden_steps(panel, horizon, windows, step)[0]
    cut = frequency.units(panel.present) - hidden * frequency.step
    early = frequency.units(table.times) <= cut[table.codes]
    known = np.zeros(len(table.ids), dtype=bool)
    known[table.codes[early & ~np.isnan(table["y"])]] = True
    return table.rows(early & known[table.codes])


def _unseen(table: Table, early: Table, name: str, frequency: Frequency) -> NDArray[np.bool_]:
    """[N] the series of ``table`` whose static column is of a kind, or a category, that ``early`` does not have."""
    values = make_panel(table, frequency, 0, static=[name]).static[name]
    if values.dtype.kind == "f":
        return np.zeros(len(values), dtype=bool)
    seen = make_panel(early, frequency, 0, static=[name]).static[name]
    if seen.dtype.kind == "f":
        return np.array([not is_number(value) for value in values.tolist()], dtype=bool)
    return ~np.isin(values, seen)
