"""Ids: a table that has none, and those of another type; truth values as numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError, Note
from grus.model import Model
from grus.tasks.forecast.ids import series_of
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.table import Table

Fitted = Callable[..., tuple[Model, Table]]
STEPS = np.arange(40)
ALONE = {"ds": STEPS, "y": 50 + 5 * np.sin(STEPS)}


def test_a_table_without_ids_is_one_series(fitted: Fitted, tmp_path: Path) -> None:
    named, table = fitted({"unique_id": ["a"] * 40} | ALONE)
    with pytest.warns(Note, match="no column 'unique_id': all rows are one series"):
        forecast = predict(named, ALONE)
    np.testing.assert_array_equal(forecast["q0.5"], predict(named, table)["q0.5"])
    (tmp_path / "data.csv").write_text("ds,y\n" + "".join(f"{t},{y}\n" for t, y in zip(*ALONE.values(), strict=True)))
    read = Table.read(tmp_path / "data.csv")
    assert len(read.ids) == 1 and len(read.notes) == 1
    pandas = pytest.importorskip("pandas")
    assert len(Table(pandas.DataFrame(ALONE)).ids) == 1


@pytest.mark.parametrize(
    "more", [{"shop": np.array(["a"] * 40)}, {"ds": STEPS // 2, "shop": np.array(["a", "b"] * 20)}, {"ds": STEPS // 2}]
)
def test_a_table_whose_ids_have_another_name(more: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no column 'unique_id'; .*--id-col"):
        Table(ALONE | more)


@pytest.mark.parametrize("ids", [[1, 2], ["1", "2"], [1.0, 2.0], ["01", "02"], np.array([1, 2], dtype=object)])
def test_future_ids_of_another_type(fitted: Fitted, ids: Any) -> None:
    columns = {k: np.concatenate([v, v]) for k, v in (ALONE | {"price": STEPS % 5}).items()}
    model, table = fitted({"unique_id": np.repeat([1, 2], 40)} | columns, horizon=3, future=("price",))
    ahead = {"unique_id": np.repeat(np.asarray(ids), 3), "ds": np.tile([40, 41, 42], 2), "price": np.ones(6)}
    assert len(predict(model, table, ahead)["q0.5"]) == 6
    ahead["unique_id"] = np.repeat(["x", "y"], 3)
    with pytest.raises(InputError, match=r"has none of the series: it has 'x', 'y', expected such as 1, 2"):
        predict(model, table, ahead)


def test_a_future_without_ids(fitted: Fitted) -> None:
    model, table = fitted({"unique_id": ["a"] * 40, "price": STEPS % 5} | ALONE, horizon=3, future=("price",))
    assert len(predict(model, table, {"ds": [40, 41, 42], "price": [1, 2, 3]})["q0.5"]) == 3


def test_ids_that_are_the_same_number_are_told_apart() -> None:
    assert series_of(np.array(["1", "01", "2"]), np.array(["1", "01", "001", "2", "x"])).tolist() == [0, 1, -1, 2, -1]


@pytest.mark.parametrize("cells", [["True", "False"], ["TRUE", "false"], [True, False], [True, None]])
def test_truth_values_are_numbers(cells: list[Any]) -> None:
    table = Table({"unique_id": ["a", "a"], "ds": [1, 2], "y": [1, 2], "open": np.array(cells, dtype=object)})
    np.testing.assert_array_equal(table.numeric("open"), [1.0, np.nan if cells[1] is None else 0.0])
