"""Covariates that change with time, as numbers: one of names is a column for each of its categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.spec import Categorical, Numeric
from grus.tasks.forecast.cells import cell_text, is_number
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table

__all__ = ["Categories", "categories", "columns_of", "names_of", "read_as", "unseen", "widths"]

MOST = 100  # categories: each is a feature of every step, and of each step of the horizon
SHOWN = 3  # of them in a note
Categories = Mapping[str, Sequence[str]]


def names_of(table: Table, settings: Settings) -> tuple[str, ...]:
    """The past and future columns that are categories: as a person said, or because no cell is a number."""
    return tuple(n for n in settings.past + settings.future if n in settings.categorical or _all_text(table, n))


def _all_text(table: Table, name: str) -> bool:
    values = table.column(name)
    if values.dtype.kind not in "OU":
        return False
    texts = {cell_text(value) for value in values.tolist()} - {""}
    return bool(texts) and not any(is_number(text) or is_number(text.replace(",", ".")) for text in texts)


def categories(table: Table, names: Sequence[str]) -> Categories:
    """The categories of each of the columns. Raises InputError where they are too many to be some."""
    found = {name: tuple(sorted(set(_cells(table, name).tolist()) - {""})) for name in names}
    for name, known in found.items():
        if not 0 < len(known) <= MOST:
            raise InputError(
                f"{table.source}: column {name!r} has {len(known):,} different texts, expected numbers, or 1 to {MOST} "
                "categories"
            )
    return found


def read_as(known: Categories, chosen: Sequence[str]) -> tuple[str, ...]:
    """A note of each column that is read as categories although no one said so."""
    return tuple(
        f"column {name!r} is read as categories: {', '.join(each[:SHOWN])}{', …' * (len(each) > SHOWN)}"
        for name, each in known.items()
        if name not in chosen
    )


def unseen(table: Table, known: Categories) -> tuple[str, ...]:
    """A note of each column with categories that are not known."""
    notes = []
    for name, each in known.items():
        cells = _cells(table, name)
        new = ~np.isin(cells, ["", *each])
        if new.any():
            shown = ", ".join(sorted(set(cells[new].tolist()))[:SHOWN])
            notes.append(f"{new.sum():,} rows of {name!r} read as missing: the model has never seen {shown}")
    return tuple(notes)


def columns_of(table: Table, names: Sequence[str], known: Categories) -> list[NDArray[np.float64]]:
    """[rows] each: the numbers of a column, or 1 for each of its categories and 0 elsewhere; NaN where it is empty."""
    columns = []
    for name in names:
        if name not in known:
            columns.append(table.numeric(name))
            continue
        cells = _cells(table, name)
        columns.extend(np.where(cells == "", np.nan, cells == category) for category in known[name])
    return columns


def widths(covariates: Sequence[Numeric | Categorical]) -> list[int]:
    """How many columns each covariate is."""
    return [len(c.categories) if isinstance(c, Categorical) else 1 for c in covariates]


def _cells(table: Table, name: str) -> NDArray[np.str_]:
    return np.array([cell_text(value) for value in table.column(name).tolist()], dtype=str)
