"""Names that may be one and the same."""

from __future__ import annotations

import numpy as np
import pytest

from grus.errors import Note
from grus.tasks.checks import alike
from grus.tasks.classify.labels import check_classes
from grus.tasks.forecast.table import Table


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["shop", "town", "shop "], "'shop' and 'shop '"),
        (["Pos", "neg", "pos"], "'Pos' and 'pos'"),
        (["1", "1.0"], "'1' and '1.0'"),
        (["007", "7"], "'007' and '7'"),
        (["new  york", "new york"], "'new  york' and 'new york'"),
    ],
)
def test_alike(names: list[str], pair: str) -> None:
    assert alike("series", names) == (f"series {pair} differ in how they are written alone: are they one?",)


@pytest.mark.parametrize("names", [["a", "A"], ["1", "10", "1.5", "15"], ["0", "00a"], ["v1.0", "v1"], ["x.", "x"]])
def test_not_alike(names: list[str]) -> None:
    assert alike("series", names) == ()


def test_series_and_classes() -> None:
    table = Table({"unique_id": ["north", "North"], "ds": [1, 1], "y": np.ones(2)})
    assert table.notes == ("the table: series 'north' and 'North' differ in how they are written alone: are they one?",)
    with pytest.warns(Note, match="the classes 'Pos' and 'pos' differ in how they are written alone"):
        check_classes(["Pos", "pos", "neg"], ["Pos", "neg", "pos"])
