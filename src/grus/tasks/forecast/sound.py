"""Series that cannot be used are left out, and a note of one line a kind names them; ``strict``: they end the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.spec import Categorical, Forecast
from grus.tasks.forecast.covariates import names_of
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.static import static_column
from grus.tasks.forecast.table import Table

__all__ = ["left_out", "read", "sound", "sound_for"]

SHOWN = 3  # names in a note
KNOWN = 8  # categories in a message
Flags = NDArray[np.bool_]


def left_out(ids: NDArray[Any], why: str) -> str:
    """The note of series left out, and why."""
    names = [str(series) for series in ids.tolist()]
    return f"{len(names):,} series left out ({', '.join(names[:SHOWN])}{', …' * (len(names) > SHOWN)}): {why}"


def sound(table: Table, settings: Settings) -> Table:
    """The series that a training can use, its notes with what was left out and why.

    Raises InputError where none is left, or, where the settings are strict, for the first that cannot be used.
    """
    strict, text = settings.strict, settings.categorical
    names = names_of(table, settings)
    numbers = tuple(name for name in settings.past + settings.future if name not in names)
    table = _with_values(_finite(read(table, numbers, strict=strict), numbers, strict), strict)
    for name in settings.static:
        table = _with_static(table, name, strict, as_text=name in text)
    if settings.scale == "log":
        wanted = (
            "scale 'log' needs positive values, but series {} has y = {:g}: take the linear scale (--scale linear, "
        )
        table = _positive(table, strict, wanted + "scale='linear')")
    return table


def sound_for(task: Forecast, table: Table, *, strict: bool) -> Table:
    """As :func:`sound`, the series that a model can forecast."""
    numbers = [c.name for c in (*task.past, *task.future) if not isinstance(c, Categorical)]
    static = [c.name for c in task.static if not isinstance(c, Categorical)]
    table = _with_values(_finite(read(table, [*numbers, *static], strict=strict), numbers, strict), strict)
    for covariate in task.static:
        text = isinstance(covariate, Categorical)
        table = _with_static(table, covariate.name, strict, as_text=text)
        if isinstance(covariate, Categorical):
            table = _with_category(table, covariate, strict)
    if task.scale == "log":
        wanted = (
            "series {} has y = {:g}, but the model works on log y: leave such values empty where they mean missing, "
            "or fit with the linear scale (--scale linear, scale='linear')"
        )
        table = _positive(table, strict, wanted)
    return table


def read(table: Table, names: Sequence[str], *, strict: bool) -> Table:
    """The table with these columns as numbers, the few cells that are none missing. Raises InputError for the first
    of these, where ``strict``, and where they are not few.
    """
    for name in names:
        table = table.as_numbers(name)
    if strict and table.unread:
        raise InputError(table.unread[0])
    return table


def _without(table: Table, bad: Flags, why: str, error: Callable[[int], str], strict: bool) -> Table:
    """The table without the series ``bad`` [N]. error: the message about one of them, where it ends the work."""
    if not bad.any():
        return table
    if strict or bad.all():
        raise InputError(error(int(bad.argmax())))
    kept = table.rows(~bad[table.codes])
    kept.notes += (left_out(table.ids[bad], why),)
    return kept


def _of(table: Table, rows: Flags) -> Flags:
    """[N] the series that have one of the rows."""
    bad = np.zeros(len(table.ids), dtype=bool)
    bad[table.codes[rows]] = True
    return bad


def _finite(table: Table, names: Sequence[str], strict: bool) -> Table:
    for name in ("y", *names):
        values = table.numeric(name, finite=False)
        wild = np.isinf(values)

        def error(series: int, wild: Flags = wild, name: str = name, table: Table = table) -> str:
            return table.not_finite(int((wild & (table.codes == series)).argmax()), name)

        table = _without(table, _of(table, wild), f"{name} has values that are not finite", error, strict)
    return table


def _with_values(table: Table, strict: bool) -> Table:
    def error(series: int) -> str:
        return f"{table.source}: series {table.ids[series]!s} has no value of y at all: leave it out, or fill it in"

    return _without(table, ~_of(table, ~np.isnan(table["y"])), "no value of y at all", error, strict)


def _with_static(table: Table, name: str, strict: bool, *, as_text: bool) -> Table:
    def lacks(series: int) -> str:
        lacking = f"static column {name!r} has no value for series {table.ids[series]!s}"
        return f"{table.source}: {lacking}: fill it in"

    column = static_column(table, name, as_text=as_text)
    kept = _without(table, ~column.has, f"static column {name!r} has no value", lacks, strict)
    column = static_column(kept, name, as_text=as_text)

    def differs(series: int) -> str:
        row = int((column.differs & (kept.codes == series)).argmax())
        return (
            f"{kept.where(row, name)} is {column.cells[row]}, but series {kept.ids[series]!s} had "
            f"{column.values[series]}: a static column has one value a series (else give it as past or future)"
        )

    return _without(kept, _of(kept, column.differs), f"static column {name!r} changes within them", differs, strict)


def _with_category(table: Table, covariate: Categorical, strict: bool) -> Table:
    values, known = static_column(table, covariate.name, as_text=True).values, covariate.categories

    def error(series: int) -> str:
        return (
            f"static column {covariate.name!r} of series {table.ids[series]!s} is {values[series]!s}, which the model "
            f"has never seen; it knows {', '.join(known[:KNOWN])}{', …' * (len(known) > KNOWN)}"
        )

    unseen = ~np.isin(values, known)
    names = ", ".join(sorted(set(values[unseen].tolist()))[:SHOWN])
    return _without(table, unseen, f"{covariate.name!r} is {names}, which the model has never seen", error, strict)


def _positive(table: Table, strict: bool, wanted: str) -> Table:
    low = table["y"] <= 0

    def error(series: int) -> str:
        return wanted.format(table.ids[series], table["y"][low & (table.codes == series)][0])

    why = "y has zeros or negative values, which have no logarithm (fit with --scale linear, scale='linear')"
    return _without(table, _of(table, low), why, error, strict)
