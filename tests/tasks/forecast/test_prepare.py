"""What is measured before a training must not be made up: seasons, outliers, the least that can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.model import Model
from grus.spec import Forecast, Spec
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.outliers import near_zero
from grus.tasks.forecast.panel import Panel
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.prepare import prepare
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table

Columns = Callable[..., dict[str, Any]]
Fitted = Callable[..., tuple[Model, Table]]


def prepared(columns: dict[str, Any], horizon: int = 3, **settings: Any) -> tuple[Panel, Forecast]:
    return prepare(Table(columns), Settings(horizon, **settings))


@pytest.mark.parametrize(
    ("length", "chosen", "season", "said"),
    [
        (24, None, 12, ""),
        (23, None, 1, "season 1, which is none, for the longest series has 23 steps: less than two cycles of 12"),
        (23, 12, 12, "season 12, but the longest series has only 23 steps to show it"),
        (24, 12, 12, ""),
        (20, 1, 1, ""),
    ],
)
def test_a_season_is_never_made_up(make_columns: Columns, length: int, chosen: int, season: int, said: str) -> None:
    panel, task = prepared(make_columns(length), season=chosen)
    assert task.season == season
    assert len(panel.notes) == bool(said) and all(said in note for note in panel.notes)


@pytest.mark.parametrize(
    ("minutes", "count", "season", "said"),
    [
        (15, 200, 96, "steps of 15min have a daily cycle: season 96 (--season 1 for none)"),
        (30, 100, 48, "season 48"),
        (5, 600, 1, "steps of 5min have a daily cycle, which is long: --season 288 takes it"),
        (15, 100, 1, "less than two cycles of 96 (--season 96"),
        (5, 100, 1, "less than two cycles of 288"),
        (7, 600, 1, ""),
        (60, 100, 24, ""),
    ],
)
def test_minutes_have_a_day(minutes: int, count: int, season: int, said: str) -> None:
    ds = np.datetime64("2024-01-01", "m") + minutes * np.arange(count)
    panel, task = prepared({"unique_id": ["a"] * count, "ds": ds, "y": np.arange(1.0, count + 1)})
    assert task.season == season
    assert len(panel.notes) == bool(said) and all(said in note for note in panel.notes)


def daily(y: Any, name: str = "a") -> dict[str, Any]:
    ds = np.datetime64("2024-01-01", "us") + np.arange(len(y)) * np.timedelta64(1, "D")
    return {"unique_id": np.full(len(y), name), "ds": ds, "y": np.asarray(y, dtype=float)}


NEAR_100 = 100 + 3 * np.sin(7.3 * np.arange(200))


@pytest.mark.parametrize("value", [1e-9, 0.001, 1.0])
@pytest.mark.parametrize("at", [20, 150, 197, 199])
def test_one_tiny_value_does_not_move_a_forecast(fitted: Fitted, value: float, at: int) -> None:
    y = NEAR_100.copy()
    y[at] = value
    model, table = fitted(daily(y))
    assert model.spec.task.scale == "log"  # type: ignore[union-attr]
    forecast = predict(model, table)
    assert (np.abs(forecast["q0.5"] - 100) < 15).all()
    clean, _ = fitted(daily(NEAR_100))
    np.testing.assert_array_equal(predict(clean, table)["q0.5"], forecast["q0.5"])
    report = evaluate(model, table)
    assert any(f"the first is {value:g} in series a" in note for note in report.notes)


PATTERNS = {
    "near 100": NEAR_100,
    "closed on Sundays": np.where(np.arange(200) % 7 == 6, 0.5, NEAR_100),
    "nights": np.exp(np.tile([0.0, 0.1, 2, 4, 6, 6.5, 6.4, 6, 5, 3, 1, 0.2], 17)),
    "lognormal": np.exp(np.random.default_rng(0).normal(0, 2, 2000)),
    "a fall that lasts": np.where(np.arange(200) < 100, NEAR_100, NEAR_100 / 1e4),
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_what_belongs_to_a_series_is_no_outlier(kind: str) -> None:
    found = near_zero(PATTERNS[kind][None])
    assert found[0, 14:].sum() <= (3 if kind == "a fall that lasts" else 0)


def test_no_outlier_depends_on_what_comes_later() -> None:
    y = np.exp(np.random.default_rng(1).standard_t(1.2, (3, 120)))
    y[1, 40:60] = np.nan
    found = near_zero(y)
    assert found.any()
    for stop in (30, 77, 119):
        np.testing.assert_array_equal(near_zero(y[:, :stop]), found[:, :stop])
    np.testing.assert_array_equal(near_zero(y[1:2]), found[1:2])


def test_counts_have_no_forecast_below_zero(fitted: Fitted) -> None:
    rng = np.random.default_rng(0)
    model, table = fitted(daily(rng.random(100) < 0.2))
    task = model.spec.task
    assert isinstance(task, Forecast) and task.nonnegative and task.scale == "linear"
    assert (predict(model, table)["q0.1"] >= 0).all()
    assert (predict(model, table)["q0.9"] > 0).any()
    below = daily(rng.normal(-5, 1, 100))
    assert (predict(model, below)["q0.1"] < 0).all()  # a series that has been there may go there
    assert not prepared(below)[1].nonnegative
    positive, table = fitted(daily(NEAR_100), scale="linear")
    assert positive.spec.task.nonnegative  # type: ignore[union-attr]


def test_old_files_keep_their_bytes(make_columns: Columns) -> None:
    """What is new in the task is not written where it says what was so before."""
    from grus.spec import Linear

    _, task = prepared(make_columns(60))
    assert "nonnegative" not in json.loads(Spec((Linear(3, 3),), task).to_json())["task"]


def test_series_that_were_never_seen_were_not_trained_on(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(60, 60))
    assert "trained on" in str(evaluate(model, table))
    assert "trained on" not in str(evaluate(model, make_columns(60, names=("new",))))
