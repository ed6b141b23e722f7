"""Evaluation: what is hidden, what is compared, and when its figures flatter."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.model import Model
from grus.spec import Spec
from grus.tasks.forecast.backtest import backtest, before, plan
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.frequency import parse
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.prepare import ALL, trained_until
from grus.tasks.forecast.settings import Architecture, Settings, Trainer
from grus.tasks.forecast.table import Table

Columns = Callable[..., dict[str, Any]]
Fitted = Callable[..., tuple[Model, Table]]


def early(table: Table, steps: int) -> Table:
    """The rows at least ``steps`` before the end of each series."""
    ends = np.append(table.starts[1:], table.num_rows)
    keep = np.concatenate([np.arange(e - s) < e - s - steps for s, e in zip(table.starts, ends, strict=True)])
    return table.rows(keep)


def test_it_is_predict_against_what_came(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(60, 40))
    report = evaluate(model, table)
    forecast = predict(model, early(table, 6))
    actual = np.concatenate([table["y"][54:60], table["y"][94:]])
    error = actual - forecast["q0.5"]
    gru = report["GRU"]
    np.testing.assert_allclose(gru["MAE"], np.abs(error).mean())
    np.testing.assert_allclose(gru["RMSE"], np.sqrt((error**2).mean()))
    np.testing.assert_allclose(gru["sMAPE"], (200 * np.abs(error) / (actual + forecast["q0.5"])).mean())
    inside = (actual >= forecast["q0.1"]) & (actual <= forecast["q0.9"])
    np.testing.assert_allclose(gru["80% coverage"], inside.mean())
    assert [row["model"] for row in report.rows] == ["GRU", "seasonal naive", "naive"]
    assert all(row["points"] == 12 for row in report.rows)
    assert report["naive"]["pinball"] is None


def test_baselines_by_hand() -> None:
    """y grows by 1 a month and has no season: the naive error is k ahead, the seasonal one always 12."""
    from grus.tasks.forecast.baselines import naive, seasonal_naive

    y = np.arange(1.0, 61.0)[None]
    np.testing.assert_array_equal(61 - naive(y, 1), [[1]])
    np.testing.assert_array_equal(np.arange(61, 67) - seasonal_naive(y, 6, 12), [[12] * 6])


def test_mase_of_the_seasonal_naive_method(fitted: Fitted) -> None:
    ds = np.arange("2015-01", "2020-01", dtype="M8[M]").astype("M8[us]")
    model, table = fitted({"unique_id": ["a"] * 60, "ds": ds, "y": np.arange(1.0, 61.0)})
    report = evaluate(model, table)
    assert report["seasonal naive"]["MASE"] == 1.0 and report["seasonal naive"]["MAE"] == 12.0
    np.testing.assert_allclose(report["naive"]["MAE"], 3.5)


def test_windows_roll(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(60))
    found = [evaluate(model, early(table, steps))["naive"]["MAE"] for steps in (0, 4, 8)]
    rolled = evaluate(model, table, windows=3, step=4)
    np.testing.assert_allclose(rolled["naive"]["MAE"], np.mean(found))
    assert rolled["GRU"]["points"] == 18


def test_missing_actuals_are_left_out(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60)
    model, _ = fitted(columns)
    columns["y"][[55, 56]] = np.nan
    report = evaluate(model, Table(columns))
    assert report["GRU"]["points"] == 4
    left = columns["y"][[54, 57, 58, 59]]
    np.testing.assert_allclose(report["naive"]["MAE"], np.abs(left - columns["y"][53]).mean())


def test_the_note_says_when_the_figures_flatter(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60, 40)
    model, table = fitted(columns)
    assert "12 of the 12 hidden points lie in what the model was trained on" in str(evaluate(model, table))
    model, _ = fitted({k: v[np.r_[:57, 60:97]] for k, v in columns.items()})
    assert evaluate(model, table).notes[0].startswith("6 of the 12")
    model, _ = fitted({k: v[np.r_[:54, 60:94]] for k, v in columns.items()})
    assert evaluate(model, table).notes == ()


def test_series_that_end_apart_are_told_apart(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60, 60)
    older = {k: v[np.r_[:54, 60:84]] for k, v in columns.items()}  # s1 was trained on until three years earlier
    model, _ = fitted(older)
    assert model.spec.task is not None
    assert model.spec.task.trained_until == (("s0", "2020-06-01"), ("s1", "2017-12-01"))
    assert evaluate(model, Table(columns)).notes == ()
    assert evaluate(model, Table(older)).notes[0].startswith("12 of the 12")


def test_many_series_share_one_end(make_columns: Columns, monkeypatch: pytest.MonkeyPatch) -> None:
    from grus.tasks.forecast.panel import make_panel

    columns = make_columns(30, 30)
    panel = make_panel(Table({k: v[:55] for k, v in columns.items()}), parse("MS"), 3)
    monkeypatch.setattr("grus.tasks.forecast.prepare.LISTED", 1)
    assert trained_until(panel) == ((ALL, "2020-12-01"),)


def test_too_short(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(20))
    with pytest.raises(
        InputError, match="3 windows of horizon 6 hide 18 steps, but the longest series has 20: it needs 21"
    ):
        evaluate(model, table, windows=3)
    with pytest.raises(InputError, match="windows is 0"):
        evaluate(model, table, windows=0)
    with pytest.raises(InputError, match="step is 0"):
        evaluate(model, table, step=0)


def test_nothing_to_compare_with(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(20)
    model, _ = fitted(columns)
    columns["y"][1:14] = np.nan
    with pytest.raises(InputError, match="no series has both values in the 1 hidden windows and 3 before them"):
        evaluate(model, Table(columns))


def test_short_series_are_left_out(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(60, 8))
    assert evaluate(model, table)["GRU"]["points"] == 6


def test_rows_before_the_first_cutoff(make_columns: Columns) -> None:
    table = Table(make_columns(40, 9))
    cut = before(table, parse("MS"), 6, 2, 3)
    assert cut.ids.tolist() == ["s0"] and cut.num_rows == 31  # 6 + 3 hidden; the second series has nothing left
    np.testing.assert_array_equal(cut["y"], table["y"][:31])


def test_report_as_json(make_columns: Columns, fitted: Fitted) -> None:
    report = evaluate(*fitted(make_columns(60), quantiles=(0.025, 0.25, 0.75, 0.975)))
    read = json.loads(report.to_json())
    assert list(read["rows"][0]) == [
        "model",
        "sMAPE",
        "MASE",
        "MAE",
        "RMSE",
        "95% coverage",
        "50% coverage",
        "pinball",
        "points",
    ]
    assert len(str(report).splitlines()) == 5


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("business days", "NaT"),
        ("business days", "soon"),
        ("months", "NaT"),
        ("months", "soon"),
        ("integers", "NaT"),
        ("integers", "99999999999999999999"),
    ],
)
def test_ends_in_a_file_that_are_no_times(fitted: Fitted, kind: str, end: str) -> None:
    ds = {
        "business days": np.busday_offset("2020-01-01", np.arange(30), roll="forward").astype("M8[us]"),
        "months": np.arange("2018-01", "2020-07", dtype="M8[M]").astype("M8[us]"),
        "integers": np.arange(30),
    }[kind]
    model, table = fitted({"unique_id": ["a"] * 30, "ds": ds, "y": np.arange(1.0, 31.0)})
    task = dataclasses.replace(model.spec.task, trained_until=(("a", end),))  # type: ignore[type-var]
    hostile = Model(Spec(model.spec.blocks, task), model.arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="another kind of time .* or its file is damaged"):
        evaluate(hostile, table)


def late_series(make_columns: Columns) -> dict[str, Any]:
    """Monthly series; the last, alone of its category, starts 10 months before the end."""
    columns = make_columns(60, 40, 10)
    columns["region"] = np.repeat(["north", "south", "west"], (60, 40, 10))
    return columns


def test_a_category_that_appears_after_the_first_cutoff(make_columns: Columns) -> None:
    pytest.importorskip("torch")
    columns = late_series(make_columns)
    settings = Settings(
        6, static=("region",), architecture=Architecture(hidden_size=8), trainer=Trainer(steps=5, early_stopping=False)
    )
    report = backtest(columns, settings, windows=2)
    assert report["GRU"]["points"] == 24  # of the two series that were there
    assert report.notes == ("1 series left out (s2): their 'region' first appears after the first cutoff",)
    known = columns | {"region": np.repeat(["north", "south", "south"], (60, 40, 10))}
    made = plan(Table(known), settings, 2)
    assert made.notes == () and len(made.whole.ids) == 3


def test_a_category_among_numbers(make_columns: Columns) -> None:
    """What was numbers before the first cutoff is no category: the series that makes it text is left out."""
    columns = late_series(make_columns) | {"region": np.repeat(["1", "2", "west"], (60, 40, 10))}
    made = plan(Table(columns), Settings(6, static=("region",)), 2)
    assert made.whole.ids.tolist() == ["s0", "s1"] and len(made.notes) == 1
    assert made.whole.is_numeric("region")


def test_a_future_covariate_that_is_empty_in_a_hidden_window(
    make_columns: Columns, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    columns = make_columns(60)
    columns["price"] = np.arange(60.0)
    columns["price"][-2] = np.nan
    settings = Settings(6, future=("price",))
    monkeypatch.setattr("grus.tasks.forecast.fit.fit", lambda *_, **__: pytest.fail("trained before the check"))
    said = "future covariate 'price' of series s0 is not known at 2020-11-01"
    with pytest.raises(InputError, match=said):
        backtest(columns, settings, windows=2)
    model, table = fitted(columns, future=("price",))
    monkeypatch.setattr(
        "grus.tasks.forecast.evaluate.forecast_panel", lambda *_: pytest.fail("forecast before the check")
    )
    with pytest.raises(InputError, match=said):
        evaluate(model, table, windows=2)


def test_the_scale_of_a_backtest_is_that_of_all_values(make_columns: Columns) -> None:
    """A first zero after the cutoff would end a backtest on the log scale after its training."""
    columns = make_columns(60)
    assert plan(Table(columns), Settings(6), 2).settings.scale == "log"
    columns["y"][-8] = 0.0
    assert plan(Table(columns), Settings(6), 2).settings.scale == "linear"
    with pytest.raises(InputError, match="scale 'log' needs positive values"):
        plan(Table(columns), Settings(6, scale="log"), 2)
