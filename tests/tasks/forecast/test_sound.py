"""One series that cannot be used does not stop the others: it is left out, and a note says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError, Note
from grus.model import Model
from grus.spec import Forecast
from grus.tasks.forecast.backtest import plan
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.prepare import prepare
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table

Columns = Callable[..., dict[str, Any]]
Fitted = Callable[..., tuple[Model, Table]]
KINDS: dict[str, Any] = {"past": ("weather",), "future": ("price",), "static": ("kind",)}


@pytest.fixture
def columns(make_columns: Columns) -> dict[str, Any]:
    """Three series; the future of their price is known where they have no y yet."""
    made = make_columns(60, 60, 60)
    step = np.arange(180) % 60
    made["y"] = np.where(step >= 54, np.nan, made["y"])
    return made | {
        "weather": 5.0 + step % 7,
        "price": 3.0 + step % 5,
        "kind": np.repeat(["town", "land", "town"], 60).astype(object),
    }


def zero(columns: dict[str, Any]) -> None:
    columns["y"][70] = 0.0


def infinite(columns: dict[str, Any]) -> None:
    columns["y"][70] = -np.inf


def infinite_weather(columns: dict[str, Any]) -> None:
    columns["weather"][70] = np.inf


def missing(columns: dict[str, Any]) -> None:
    columns["y"][60:120] = np.nan


def no_category(columns: dict[str, Any]) -> None:
    columns["kind"][60:120] = None


def two_categories(columns: dict[str, Any]) -> None:
    columns["kind"][90] = "town"


def new_category(columns: dict[str, Any]) -> None:
    columns["kind"][60:120] = "moon"


def no_future(columns: dict[str, Any]) -> None:
    columns["price"][118] = np.nan


BAD = {
    zero: (
        "y has zeros or negative values, which have no logarithm",
        "series s1 has y = 0, but the model works on log y",
    ),
    infinite: ("y has values that are not finite", "row 71: y is "),
    infinite_weather: ("weather has values that are not finite", "row 71: weather is inf, expected a finite number"),
    missing: ("no value of y at all", "series s1 has no value of y at all"),
    no_category: ("static column 'kind' has no value", "'kind' has no value for series s1"),
    two_categories: ("static column 'kind' changes within them", "row 91: kind is town, but series s1 had land"),
    new_category: ("'kind' is moon, which the model has never seen", "'kind' of series s1 is moon"),
    no_future: ("a future covariate is not known over the whole horizon", "'price' of series s1 is not known at"),
}


@pytest.mark.parametrize("spoil", BAD)
def test_the_others_are_forecast(columns: dict[str, Any], fitted: Fitted, spoil: Callable[[Any], None]) -> None:
    model, whole = fitted(columns, **KINDS)
    why, strict = BAD[spoil]
    spoiled = {name: column.copy() for name, column in columns.items()}
    spoil(spoiled)
    with pytest.warns(Note, match="1 series left out") as told:
        forecast = predict(model, spoiled)
    assert [str(one.message) for one in told] == list(forecast.notes)
    assert len(forecast.notes) == 1 and f"1 series left out (s1): {why}" in forecast.notes[0]
    assert forecast.ids.tolist() == ["s0", "s2"]
    kept = predict(model, whole).rows(np.repeat([True, False, True], 6))
    np.testing.assert_array_equal(forecast["q0.5"], kept["q0.5"])
    with pytest.raises(InputError, match=strict):
        predict(model, spoiled, strict=True)
    only = {name: column[60:120] for name, column in spoiled.items()}
    with pytest.raises(InputError):  # there is no other to forecast
        predict(model, only)


@pytest.mark.parametrize("spoil", [s for s in BAD if s is not no_future])
def test_the_others_are_evaluated(columns: dict[str, Any], fitted: Fitted, spoil: Callable[[Any], None]) -> None:
    model, _ = fitted(columns, **KINDS)
    spoil(columns)
    report = evaluate(model, columns)
    assert report["GRU"]["points"] == 12
    assert f"1 series left out (s1): {BAD[spoil][0]}" in report.notes[0]
    with pytest.raises(InputError, match=BAD[spoil][1]):
        evaluate(model, columns, strict=True)


@pytest.mark.parametrize("spoil", [infinite, infinite_weather, missing, no_category, two_categories, zero])
def test_the_others_are_trained_on(columns: dict[str, Any], spoil: Callable[[Any], None]) -> None:
    spoil(columns)
    kinds = KINDS | ({"scale": "log"} if spoil is zero else {})
    panel, task = prepare(Table(columns), Settings(6, **kinds))
    assert panel.ids.tolist() == ["s0", "s2"] and "1 series left out (s1): " in panel.notes[0]
    assert np.isfinite(task.past[0].std) and len(task.trained_until) == 2
    with pytest.raises(InputError, match="s1|row"):
        prepare(Table(columns), Settings(6, strict=True, **kinds))
    made = plan(Table(columns), Settings(6, **kinds), 2)
    assert made.whole.ids.tolist() == ["s0", "s2"]
    assert any("1 series left out (s1): " in note for note in made.whole.notes)


def test_what_is_too_short_to_be_compared(make_columns: Columns, fitted: Fitted) -> None:
    model, table = fitted(make_columns(60, 8))
    report = evaluate(model, table)
    assert report["GRU"]["points"] == 6
    assert report.notes[0].startswith("1 series left out (s1): too short: they need values in a hidden window")
    with pytest.raises(InputError, match="series s1 is too short: it needs values"):
        evaluate(model, table, strict=True)


def test_a_future_that_is_unknown_in_a_hidden_window(columns: dict[str, Any], fitted: Fitted) -> None:
    model, _ = fitted(columns, **KINDS)
    columns["price"][110] = np.nan
    report = evaluate(model, columns)
    assert report["GRU"]["points"] == 12
    assert report.notes[0] == "1 series left out (s1): a future covariate is not known over a hidden window"
    with pytest.raises(InputError, match="'price' of series s1 is not known at"):
        evaluate(model, columns, strict=True)


def test_several_kinds_and_many_series(make_columns: Columns, fitted: Fitted) -> None:
    lengths = (60,) * 8
    model, table = fitted(make_columns(*lengths))
    made = dict(table)
    y = made["y"].copy()
    y[:300:60] = 0.0
    y[310] = np.inf
    with pytest.warns(Note):
        forecast = predict(model, made | {"y": y})
    assert forecast.ids.tolist() == ["s6", "s7"]
    assert sorted(note[:34] for note in forecast.notes) == [
        "1 series left out (s5): y has valu",
        "5 series left out (s0, s1, s2, …):",
    ]
    assert isinstance(model.spec.task, Forecast)
