"""Forecasts: what they depend on, what they look like, and what they need to be imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.model import Model, load
from grus.runtime.session import Session
from grus.spec import GRU, Spec, parameters
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.table import Table
from grus.tasks.times import format_times

Columns = Callable[..., dict[str, Any]]
Fitted = Callable[..., tuple[Model, Table]]
QUANTILES = ("q0.1", "q0.5", "q0.9")


def values(forecast: Table, series: str | None = None) -> np.ndarray[Any, Any]:
    rows = slice(None) if series is None else forecast["unique_id"] == series
    return np.stack([forecast[q][rows] for q in QUANTILES])


def drop(columns: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: np.delete(column, rows) for name, column in columns.items()}


def test_shape_times_and_order(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(60, 20, names=("z", "a")))
    forecast = predict(model, table)
    assert list(forecast) == ["unique_id", "ds", *QUANTILES]
    assert forecast["unique_id"].tolist() == ["z"] * 6 + ["a"] * 6
    assert format_times(forecast["ds"])[:6] == [f"2021-{m:02d}-01" for m in range(1, 7)]
    found = values(forecast)
    assert np.isfinite(found).all() and (np.diff(found, axis=0) >= 0).all()


def test_the_latest_observation_is_used(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60, 60)
    model, table = fitted(columns)
    before = predict(model, table)
    columns["y"][59] *= 1.01
    after = predict(model, Table(columns))
    assert (values(before, "s0") != values(after, "s0")).all()
    np.testing.assert_array_equal(values(before, "s1"), values(after, "s1"))


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_nothing_after_the_last_value_is_read(make_columns: Columns, fitted: Fitted, scale: str) -> None:
    """Rows after the last y may say what they like in the past covariates, and the forecast keeps its bits."""
    columns = make_columns(60)
    columns["weather"] = np.arange(60.0)
    model, _ = fitted(columns, scale=scale, past=("weather",))
    columns["y"][54:] = np.nan
    late = predict(model, Table(columns))
    columns["weather"][54:] = 1e6
    np.testing.assert_array_equal(values(late), values(predict(model, Table(columns))))
    np.testing.assert_array_equal(values(late), values(predict(model, Table(drop(columns, slice(54, 60))))))
    columns["weather"][53] = 0.0
    assert (values(late) != values(predict(model, Table(columns)))).all()


def test_the_future_covariate_is_read_over_the_whole_horizon_and_no_further(
    make_columns: Columns, fitted: Fitted
) -> None:
    columns = make_columns(60)
    columns["price"] = np.arange(60.0) % 7
    model, _ = fitted(columns, future=("price",))
    columns["y"][50:] = np.nan
    before = predict(model, Table(columns))
    columns["price"][56:] = 99.0
    np.testing.assert_array_equal(values(before), values(predict(model, Table(columns))))
    for step in range(50, 56):
        columns["price"][step] += 1
        after = predict(model, Table(columns))
        assert (values(before) != values(after)).all()
        before = after


def test_future_covariates_in_a_table_of_their_own(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60, 60)
    columns["price"] = np.arange(120.0) % 7
    model, _ = fitted(columns, future=("price",))
    whole = dict(columns, y=np.where(np.arange(120) % 60 >= 54, np.nan, columns["y"]))
    late = np.r_[54:60, 114:120]
    future = Table({k: v[late] for k, v in columns.items() if k != "y"}, target=False)
    short = Table(drop(columns, late))
    np.testing.assert_array_equal(values(predict(model, Table(whole))), values(predict(model, short, future)))
    with pytest.raises(
        InputError, match=r"future covariate 'price' of series s0 is not known at 2020-07-01: .*--future-data"
    ):
        predict(model, short)
    part = future.rows(np.arange(12) != 9)
    with pytest.raises(InputError, match="'price' of series s1 is not known at 2020-10-01"):
        predict(model, short, part, strict=True)
    assert predict(model, short, part).ids.tolist() == ["s0"]
    off = {k: v[late] for k, v in columns.items()} | {"ds": columns["ds"][late] + np.timedelta64(1, "D")}
    with pytest.raises(InputError, match="not on the grid 'MS'"):
        predict(model, short, Table(off, source="future.csv"))


def test_neither_neighbours_nor_order_change_a_forecast(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(70, 33, 9, 3, 1, 61)
    model, table = fitted(columns, window=40)
    together = predict(model, table)
    for name in table.ids:
        alone = Table({k: v[columns["unique_id"] == name] for k, v in columns.items()})
        np.testing.assert_array_equal(values(predict(model, alone)), values(together, name))


def test_pieces_and_batches_of_any_size(make_columns: Columns, fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    model, table = fitted(make_columns(*range(10, 40)))
    whole = values(predict(model, table))
    monkeypatch.setattr("grus.tasks.forecast.predict.CELLS", 100)
    monkeypatch.setattr("grus.tasks.forecast.predict.INPUTS", 1000)
    np.testing.assert_array_equal(values(predict(model, table)), whole)


def test_a_window_is_all_the_gru_reads(make_columns: Columns, fitted: Fitted) -> None:
    """Of a long series the GRU runs over the window alone; the session says how much it was given."""
    model, table = fitted(make_columns(100, 5), window=24)
    steps = []

    class Watched(Session):
        def run(self, x: Any, *args: Any, **options: Any) -> Any:
            steps.append(x.shape[:2])
            return super().run(x, *args, **options)

    predict(model, table, session=Watched(model))
    assert steps == [(8, 1), (24, 1)]


def test_gaps_unequal_lengths_and_short_series(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60, 7, 1)
    columns["y"][[5, 30, 31, 32]] = np.nan
    model, table = fitted(columns)
    gone = predict(model, Table(drop(columns, [30, 31, 32])))  # absent rows are missing values
    np.testing.assert_array_equal(values(predict(model, table)), values(gone))
    assert np.isfinite(values(gone)).all()


def test_a_log_model_refuses_zero(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60)
    model, _ = fitted(columns)
    columns["y"][3] = -1
    with pytest.raises(InputError, match="series s0 has y = -1, but the model works on log y"):
        predict(model, Table(columns))


@pytest.mark.parametrize("known", ["007", "1234567"])
def test_a_category_may_look_like_a_number(make_columns: Columns, fitted: Fitted, known: str) -> None:
    columns = make_columns(30, 30) | {"shop": np.array([known] * 30 + ["A"] * 30, dtype=object)}
    model, table = fitted(columns, static=("shop",))
    alone = predict(model, drop(columns, slice(30, 60)))
    np.testing.assert_array_equal(values(alone), values(predict(model, table), "s0"))
    if known == "1234567":  # a frame makes numbers of them
        numbers = drop(columns, slice(30, 60)) | {"shop": np.full(30, 1234567.0)}
        np.testing.assert_array_equal(values(predict(model, numbers)), values(alone))


def test_quantiles_that_are_nearly_the_same(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(30), quantiles=(0.1234561, 0.1234562, 0.9999999))
    assert list(predict(model, table))[2:] == ["q0.1234561", "q0.1234562", "q0.5", "q0.9999999"]


def test_another_frequency(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60)
    model, _ = fitted(columns)
    with pytest.raises(InputError, match="not on the grid 'MS'"):
        predict(model, {**columns, "ds": np.arange(60)})


def test_integers_and_ids_keep_their_type(fitted: Fitted) -> None:
    model, table = fitted({"unique_id": [5] * 30, "ds": range(100, 130), "y": np.arange(30.0)}, horizon=2)
    forecast = predict(model, table)
    assert forecast["unique_id"].tolist() == [5, 5] and forecast["ds"].tolist() == [130, 131]


def test_a_model_that_is_no_forecaster(make_columns: Columns) -> None:
    blocks = (GRU(2, 2),)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in parameters(blocks).items()}
    with pytest.raises(InputError, match="the model is no forecaster"):
        predict(Model(Spec(blocks), arrays), make_columns(30))


def test_a_task_that_does_not_fit_its_network(make_columns: Columns, fitted: Fitted) -> None:
    from dataclasses import replace

    model, table = fitted(make_columns(60))
    assert model.spec.task is not None
    other = Model(replace(model.spec, task=replace(model.spec.task, horizon=7)), model.arrays)
    with pytest.raises(InputError, match="but its task has"):
        predict(other, table)


def test_without_torch(
    tmp_path: Path, make_columns: Columns, fitted: Fitted, python: Callable[..., CompletedProcess[str]]
) -> None:
    """Loading, predicting, evaluating and drawing in a process where importing PyTorch or pandas fails."""
    model, table = fitted(make_columns(60, 30))
    model.save(tmp_path / "model.safetensors")
    table.write(tmp_path / "data.csv")
    code = f"""
import sys
for name in ("torch", "pandas", "pyarrow", "tqdm"):
    sys.modules[name] = None
import grus
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.table import Table
folder = {str(tmp_path)!r}
model, table = grus.load(folder + "/model.safetensors"), Table.read(folder + "/data.csv")
predict(model, table).write(folder + "/out.csv")
evaluate(model, table)
assert "matplotlib" not in sys.modules
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    there = Table.read(tmp_path / "out.csv", target=False)
    here = predict(load(tmp_path / "model.safetensors"), table)
    for quantile in QUANTILES:
        np.testing.assert_array_equal(there.numeric(quantile), here[quantile])
