"""Forecasts from a model, with NumPy and the kernels alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError, note
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Forecast
from grus.tasks.forecast.covariates import widths
from grus.tasks.forecast.panel import Panel
from grus.tasks.forecast.prepare import panel_for
from grus.tasks.forecast.sound import left_out
from grus.tasks.forecast.table import Table, as_table
from grus.tasks.forecast.windows import Windows, input_size, output_size
from grus.tasks.times import format_times

__all__ = ["Runner", "forecast_panel", "predict", "quantile_name", "sample", "task_of"]

CELLS = 1 << 20  # steps of series held at once, with a dozen numbers each
INPUTS = 1 << 24  # features held at once
SAMPLE = (64, 96)  # series at most, and the last steps of each
STRIDE = 8  # a series runs over its length rounded up to this, so that series of like lengths share a batch


class Runner(Protocol):
    """What predictions need of a session: the last output of whole sequences."""

    def run(self, x: NDArray[np.float32], *, last: bool) -> tuple[NDArray[np.float32], Any]: ...


def task_of(model: Model) -> Forecast:
    """The model's forecast task. Raises InputError for a model of another kind."""
    task = model.spec.task
    if not isinstance(task, Forecast):
        raise InputError("the model is no forecaster: its file has no forecast task; fit one with grus forecast fit")
    sizes = (model.spec.input_size, model.spec.output_size)
    if sizes != (input_size(task), output_size(task)):
        raise InputError(
            f"the model takes {sizes[0]} features and gives {sizes[1]}, but its task has {input_size(task)} and "
            f"{output_size(task)}: the file is damaged, or of another version of Grus"
        )
    return task


def quantile_name(level: float) -> str:
    """The column of a level; different levels have different names."""
    return f"q{level!r}"


def predict(
    model: Model, table: Any, future: Any = None, *, strict: bool = False, session: Runner | None = None
) -> Table:
    """Forecast the ``horizon`` steps after each series' last known value of y.

    table: a Table, a path, or any frame with unique_id, ds, y and the covariates the model was fitted with. future:
    likewise, the future covariates' rows over the horizon, where the table itself does not have them. Returns the
    columns unique_id, ds and one for each quantile ("q0.1", "q0.5", …), which never cross.

    A series that cannot be forecast is left out: it has no value of y, one that is infinite, or not positive where the
    model works on log y, a category that the model has never seen, or a future covariate that is empty somewhere over
    the horizon. The table's ``notes`` name them, and are told as :func:`grus.errors.note` does.

    Raises InputError for what does not fit the model: a missing column, a time off its grid; and where no series is
    left, or, ``strict``, for the first that would be left out.
    """
    task = task_of(model)
    history = as_table(table)
    panel = panel_for(task, history, None if future is None else as_table(future, target=False), strict=strict)
    panel = _with_future(panel, task, strict)
    quantiles = forecast_panel(session or Session(model), panel, task)
    columns: dict[str, NDArray[Any]] = {
        "unique_id": np.repeat(panel.ids, task.horizon),
        "ds": panel.ahead().reshape(-1),
    }
    for k, level in enumerate(task.quantiles):
        columns[quantile_name(level)] = quantiles[:, :, k].reshape(-1)
    forecast = Table(columns, source="the forecast", target=False)
    forecast.notes = panel.notes
    for said in panel.notes:
        note(said)
    return forecast


def forecast_panel(session: Runner, panel: Panel, task: Forecast) -> NDArray[np.float64]:
    """[N, horizon, quantiles] of y after the panel's last column, in batches of bounded memory."""
    check_future(panel, task)
    lengths = panel.lengths
    quantiles = np.empty((len(panel.ids), task.horizon, len(task.quantiles)))
    order = np.argsort(lengths, kind="stable")
    for rows in _pieces(order, lengths, CELLS):
        windows = Windows(panel.take(rows), task)
        steps = np.minimum(-(-lengths[rows] // STRIDE) * STRIDE, task.window)
        for length in np.unique(steps):
            alike = np.flatnonzero(steps == length)
            size = max(1, INPUTS // (int(length) * input_size(task)))
            for at in range(0, alike.size, size):
                batch = alike[at : at + size]
                output, _ = session.run(windows.features(batch, windows.panel.steps, int(length)), last=True)
                quantiles[rows[batch]] = windows.decode(batch, windows.panel.steps, output)
    return quantiles


def _pieces(order: NDArray[np.int64], lengths: NDArray[np.int64], cells: int) -> Iterator[NDArray[np.int64]]:
    """``order`` (by rising length) cut so that a piece's rows times its longest length stay below ``cells``."""
    at = 0
    while at < order.size:
        room = np.arange(1, order.size - at + 1) * lengths[order[at:]]
        size = max(1, int(np.searchsorted(room, cells, side="right")))
        yield order[at : at + size]
        at += size


def _with_future(panel: Panel, task: Forecast, strict: bool) -> Panel:
    unknown = future_unknown(panel)
    if not unknown.any():
        return panel
    if strict or unknown.all():
        check_future(panel, task)
    said = left_out(
        panel.ids[unknown], "a future covariate is not known over the whole horizon (--future-data, future=)"
    )
    return replace(panel.take(np.flatnonzero(~unknown)), notes=(*panel.notes, said))


def future_unknown(panel: Panel) -> NDArray[np.bool_]:
    """[N] the series of which a future covariate is unknown somewhere over the horizon."""
    return np.asarray(np.isnan(panel.future[:, panel.steps : panel.steps + panel.horizon]).any(axis=(1, 2)))


def check_future(panel: Panel, task: Forecast) -> None:
    """Raise InputError that names the first future covariate that is unknown somewhere over the horizon."""
    unknown = np.isnan(panel.future[:, panel.steps : panel.steps + task.horizon])
    if unknown.any():
        row, ahead, k = (int(i) for i in np.argwhere(unknown)[0])
        time = format_times(panel.ahead()[row])[ahead]
        covariate = [c for c in task.future for _ in range(widths([c])[0])][k]
        raise InputError(
            f"future covariate {covariate.name!r} of series {panel.ids[row]!s} is not known at {time}: give its "
            f"values over the whole horizon of {task.horizon} steps (--future-data, future=)"
        )


def sample(model: Model, table: Table) -> NDArray[np.float32]:
    """Features [T, B, I] of some of the series, to see how large numbers become in the network."""
    task, (most, steps) = task_of(model), SAMPLE
    panel = panel_for(task, table, None)
    chosen = np.arange(0, len(panel.ids), max(1, -(-len(panel.ids) // most)))
    return Windows(panel, task).features(chosen, panel.steps, min(steps, task.window, panel.steps))
