"""A picture of forecasts: history, median, band, and what came where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError
from grus.tasks import pictures
from grus.tasks.forecast.predict import quantile_name
from grus.tasks.forecast.table import Table, as_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

SERIES = 6  # in a picture unless the user names others
CYCLES = 6  # history shown, in horizons
MOST = 60  # series in one picture


def plot(
    table: Any, forecast: Table, *, ids: Sequence[str] | None = None, actual: Any = None, title: str | None = None
) -> bytes:
    """A PNG of the forecasts of a few series (``ids``, else six spread evenly over them): history, median, widest band.

    table: the history. forecast: what :func:`grus.tasks.forecast.predict` gave. actual: a table of what came.

    Raises InputError for a series the forecast does not have, and when matplotlib is not installed.
    """
    chosen = _chosen(forecast, ids)
    columns = 2 if len(chosen) == 4 else min(len(chosen), 3)
    lines = -(-len(chosen) // columns)
    figure = pictures.new_figure(4.8 * columns, 0.6 + 2.8 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    history, came = as_table(table), None if actual is None else as_table(actual)
    for axis, name in zip(axes, chosen, strict=False):
        _draw(axis, name, history, forecast, came)
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    if title:
        figure.suptitle(title)
    return pictures.png(figure)


def _chosen(forecast: Table, ids: Sequence[str] | None) -> list[str]:
    there = [str(name) for name in forecast.ids]
    if ids is None:
        spread = np.linspace(0, len(there) - 1, min(SERIES, len(there)))
        return [there[int(i)] for i in spread]
    unknown = [name for name in ids if str(name) not in set(there)]
    if unknown:
        raise InputError(
            f"no forecast of series {unknown[0]!r}; there are {', '.join(there[:8])}{', …' * (len(there) > 8)}"
        )
    if not 1 <= len(ids) <= MOST:
        raise InputError(f"{len(ids)} series for one picture, expected 1 to {MOST}")
    return [str(name) for name in ids]


def _rows(table: Table, name: str) -> slice:
    index = [str(other) for other in table.ids].index(name)
    ends = np.append(table.starts, table.num_rows)
    return slice(int(ends[index]), int(ends[index + 1]))


def _draw(axis: Axes, name: str, history: Table, forecast: Table, actual: Table | None) -> None:
    levels = sorted(float(c[1:]) for c in forecast if c.startswith("q"))
    rows, ahead = _rows(history, name), _rows(forecast, name)
    times = forecast.times_on(history.clock)[ahead]
    y = history["y"][rows]
    kept = history.times[rows] < times[0]
    past = slice(max(int(kept.sum()) - CYCLES * len(times), 0), int(kept.sum()))
    axis.plot(history.times[rows][kept][past], y[kept][past], color="0.25", lw=1.2, label="history")
    # what is drawn ahead starts at the last value that is shown, so that no gap is between them
    last = np.flatnonzero(~np.isnan(y[kept][past]))[-1:]
    joined = np.concatenate([history.times[rows][kept][past][last], times])
    low, middle, high = (
        np.concatenate([y[kept][past][last], forecast[quantile_name(q)][ahead]]) for q in (levels[0], 0.5, levels[-1])
    )
    if len(levels) > 1:
        label = f"{levels[0]:g} to {levels[-1]:g} quantile"
        axis.fill_between(joined, low, high, color="tab:blue", alpha=0.35, lw=0, label=label)
    axis.plot(joined, middle, color="tab:blue", lw=1.8, label="forecast (median)")
    if actual is not None and name in {str(other) for other in actual.ids}:
        came = _rows(actual, name)
        when = actual.times_on(history.clock)[came]
        inside = (when >= times[0]) & (when <= times[-1])
        axis.plot(when[inside], actual["y"][came][inside], color="k", ls=":", lw=1.4, label="actual")
    axis.set_title(name, fontsize=10)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    if times.dtype.kind == "M":
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axis.set_xlabel("step", fontsize=8)
