"""Covariates of names: categories that change with time, and numbers that are names by choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError, Note
from grus.model import Model
from grus.spec import Categorical, Linear, Spec
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.prepare import panel_for, prepare
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table
from grus.tasks.forecast.windows import Windows, input_size

Fitted = Callable[..., tuple[Model, Table]]
SKY = np.array(["sun", "rain", "snow"])


def columns(count: int = 60) -> dict[str, Any]:
    step = np.arange(count)
    return {
        "unique_id": np.repeat("a", count),
        "ds": step,
        "y": np.where(step < count - 4, 50 + 5 * np.sin(step), np.nan),
        "sky": SKY[step % 3],
        "code": step % 4,
    }


def test_text_is_categories() -> None:
    panel, task = prepare(Table(columns()), Settings(4, past=("code",), future=("sky",)))
    assert task.future == (Categorical("sky", ("rain", "snow", "sun")),)
    assert panel.notes == ("column 'sky' is read as categories: rain, snow, sun",)
    assert Spec.from_json(Spec((Linear(input_size(task), 3),), task).to_json()).task == task
    x = Windows(panel, task).features(np.array([0]), panel.steps, 10)
    assert x.shape[2] == input_size(task)
    assert panel.past.shape[2] == 1 and panel.future.shape[2] == 3
    now = x[:, 0, -15:-12]  # behind it the horizon, four steps of each of the three
    np.testing.assert_array_equal(now.argmax(axis=1), [[2, 0, 1][step % 3] for step in range(46, 56)])
    np.testing.assert_array_equal(now.sum(axis=1), 1)


def test_numbers_are_categories_by_choice() -> None:
    settings = Settings(4, past=("code",), future=("sky",), categorical=("code", "sky"))
    panel, task = prepare(Table(columns()), settings)
    assert task.past == (Categorical("code", ("0", "1", "2", "3")),) and panel.notes == ()
    floats = columns() | {"code": columns()["code"].astype(float)}  # as a frame has them where a cell is empty
    np.testing.assert_array_equal(panel_for(task, Table(floats)).past, panel.past)
    static = columns() | {"code": np.repeat(7, 60)}
    _, task = prepare(Table(static), Settings(4, static=("code",), categorical=("code",)))
    assert task.static == (Categorical("code", ("7",)),)


def test_categories_decide_forecasts(fitted: Fitted) -> None:
    model, table = fitted(columns(), horizon=4, future=("sky",), past=("code",), categorical=("code",))
    before = predict(model, table)["q0.5"]
    other = columns()
    other["sky"] = np.where(np.arange(60) == 58, "sun", other["sky"])
    assert (predict(model, other)["q0.5"] != before).any()
    ahead = Table({k: v[56:] for k, v in columns().items() if k != "y"}, target=False)
    np.testing.assert_array_equal(predict(model, {k: v[:56] for k, v in columns().items()}, ahead)["q0.5"], before)
    assert evaluate(model, table)["GRU"]["points"] == 4
    other["sky"][57] = "hail"
    with pytest.warns(Note, match="1 rows of 'sky' read as missing: the model has never seen hail"):
        assert np.isfinite(predict(model, other)["q0.5"]).all()
    other["sky"] = np.where(np.arange(60) == 58, "", other["sky"])
    with pytest.raises(InputError, match="future covariate 'sky' of series a is not known at 58"):
        predict(model, other)


def test_text_that_is_no_category() -> None:
    with pytest.raises(InputError, match="column 'sky' has 130 different texts, expected numbers, or 1 to 100"):
        prepare(Table(columns(130) | {"sky": [f"word {i}" for i in range(130)]}), Settings(4, past=("sky",)))
    with pytest.raises(InputError, match="'1,5', expected a number .use a point for decimals"):
        prepare(Table(columns() | {"sky": np.repeat("1,5", 60)}), Settings(4, past=("sky",)))
    with pytest.raises(InputError, match="categorical names 'moon', which is no past, future or static column"):
        Settings(4, categorical=("moon",))


def test_truth_values_as_a_covariate(fitted: Fitted) -> None:
    truths = columns() | {"sky": np.where(np.arange(60) % 3 == 0, "True", "False")}
    numbers = columns() | {"sky": (np.arange(60) % 3 == 0).astype(float)}
    model, table = fitted(truths, horizon=4, future=("sky",))
    np.testing.assert_array_equal(predict(model, table)["q0.5"], predict(model, numbers)["q0.5"])
