"""The README of an exported forecaster lists the features that ``grus.tasks.forecast.windows`` makes."""

from __future__ import annotations

import re

import pytest

from grus.export.c99.readme import _listed
from grus.spec import Categorical, Forecast, Numeric
from grus.tasks.forecast.windows import bypass_size, input_size

PAST = (Numeric("price", 1.0, 2.0),)
FUTURE = (Numeric("holiday", 0.0, 1.0), Numeric("promotion", 0.5, 1.0))
STATIC = (Categorical("shop", ("a", "b", "c")), Numeric("area", 0.0, 1.0))


@pytest.mark.parametrize("season", [1, 4, 12, 24])
@pytest.mark.parametrize("lags", [1, 3])
@pytest.mark.parametrize(("past", "future", "static"), [((), (), ()), (PAST, (), STATIC), (PAST, FUTURE, STATIC)])
def test_every_feature_is_listed_where_it_is(
    season: int, lags: int, past: tuple[Numeric, ...], future: tuple[Numeric, ...], static: tuple[Numeric, ...]
) -> None:
    task = Forecast(6, 36, (0.1, 0.5, 0.9), "MS", season, lags=lags, past=past, future=future, static=static)
    lines = re.findall(r"^- x\[(\d+)\](?: to x\[(\d+)\])?: (.*)$", _listed(task), re.MULTILINE)
    at = 0
    for first, last, _ in lines:
        assert int(first) == at
        at = int(last or first) + 1
    assert at == input_size(task)
    ahead = [(int(first), int(last)) for first, last, words in lines if "steps ahead, likewise" in words]
    assert sum(last - first + 1 for first, last in ahead) == bypass_size(task)
    assert not ahead or ahead[-1][1] == at - 1, "what goes around the GRU stands last"
