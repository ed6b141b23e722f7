"""The class in the manner of scikit-learn, and the picture."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus import installed
from grus.errors import InputError
from grus.model import Model
from grus.tasks.forecast import Architecture, Forecaster, Table, Trainer
from grus.tasks.forecast.plot import plot
from grus.tasks.forecast.predict import predict

Columns = Callable[..., dict[str, Any]]
Fitted = Callable[..., tuple[Model, Table]]

QUICK: dict[str, Any] = {"architecture": Architecture(hidden_size=8), "trainer": Trainer(steps=20)}


def test_parameters_are_as_they_were_given() -> None:
    past = ["weather"]
    forecaster = Forecaster(6, past=past, trainer=Trainer(seed=3))
    assert forecaster.get_params()["past"] is past
    assert forecaster.set_params(horizon=7) is forecaster and forecaster.settings.horizon == 7
    assert forecaster.settings.past == ("weather",) and forecaster.settings.trainer.seed == 3
    assert repr(Forecaster(3, scale="log")) == "Forecaster(horizon=3, scale='log')"
    with pytest.raises(InputError, match="no parameter 'depth'; it has horizon, window"):
        forecaster.set_params(depth=3)
    with pytest.raises(InputError, match="horizon is 0"):
        Forecaster(0).settings  # noqa: B018


def test_clone() -> None:
    """What sklearn.base.clone does, step by step: the constructor keeps what it is given, and copies compare equal."""
    given = Forecaster(6, quantiles=(0.2, 0.5), architecture=Architecture(8))
    params = {name: copy.deepcopy(value) for name, value in given.get_params(deep=False).items()}
    clone = type(given)(**params)
    assert all(clone.get_params()[name] is params[name] for name in params)
    assert clone.get_params() == given.get_params()


def test_clone_of_scikit_learn() -> None:
    base = pytest.importorskip("sklearn.base")
    assert base.clone(Forecaster(6)).get_params() == Forecaster(6).get_params()


def test_not_fitted() -> None:
    with pytest.raises(InputError, match="not fitted yet: call fit first"):
        Forecaster(3).predict({})


def test_save_and_load(tmp_path: Path, make_columns: Columns, fitted: Fitted) -> None:
    forecaster = Forecaster(6)
    forecaster.model_, table = fitted(make_columns(60))
    forecaster.save(tmp_path / "m.safetensors")
    loaded = Forecaster.load(tmp_path / "m.safetensors")
    assert loaded.horizon == 6 and loaded.freq == "MS" and loaded.settings.scale == "log"
    np.testing.assert_array_equal(loaded.predict(table)["q0.5"], forecaster.predict(table)["q0.5"])
    with pytest.raises(InputError, match="needs the series to forecast"):
        loaded.predict()


def test_fit_predict_backtest(make_columns: Columns) -> None:
    pytest.importorskip("torch")
    columns = make_columns(60, 48)
    forecaster = Forecaster(6, **QUICK)
    assert forecaster.fit(columns) is forecaster
    again = Forecaster(6, **QUICK).fit(columns).predict()
    np.testing.assert_array_equal(forecaster.predict()["q0.9"], again["q0.9"])
    for copied in (pickle.loads(pickle.dumps(forecaster)), copy.deepcopy(forecaster)):
        np.testing.assert_array_equal(copied.predict()["q0.9"], again["q0.9"])
    model = forecaster.model_
    report = forecaster.backtest(columns, windows=2, step=3)
    assert forecaster.model_ is model
    assert report["GRU"]["points"] == 24 and report.notes == ()
    assert forecaster.evaluate(columns).notes


def test_a_backtest_does_not_see_what_it_is_judged_by(make_columns: Columns) -> None:
    """All that is hidden changed: the forecasts, and so the errors against the old values, stay the same."""
    pytest.importorskip("torch")
    from grus.tasks.forecast.backtest import before
    from grus.tasks.forecast.fit import fit
    from grus.tasks.forecast.frequency import parse

    columns = make_columns(48)
    changed = dict(columns, y=columns["y"].copy())
    changed["y"][42:] = 1e5
    settings = Forecaster(6, **QUICK).settings
    arrays = [
        fit(before(Table(c), parse("MS"), 6, 1, None), settings, progress=False).model.arrays
        for c in (columns, changed)
    ]
    for name in arrays[0]:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


def test_picture(make_columns: Columns, fitted: Fitted) -> None:
    columns = make_columns(60, 40, 9)
    model, table = fitted(columns)
    forecast = predict(model, table)
    picture = plot(table, forecast, title="three series")
    assert picture.startswith(b"\x89PNG\r\n") and picture.endswith(b"IEND\xaeB`\x82")
    assert plot(table, forecast, ids=["s2"], actual=table).startswith(b"\x89PNG")
    assert plot(table, forecast, title="three series") == picture
    with pytest.raises(InputError, match="no forecast of series 'zz'; there are s0, s1, s2"):
        plot(table, forecast, ids=["zz"])
    with pytest.raises(InputError, match="0 series for one picture"):
        plot(table, forecast, ids=[])


def test_the_forecast_starts_where_the_history_ends(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k)))
    y = np.tile(np.arange(30.0), 3)
    y[29] = np.nan  # of series a the last value is missing
    model, table = fitted({"unique_id": np.repeat(["a", "b", "c"], 30), "ds": [*range(30)] * 3, "y": y}, horizon=2)
    forecast = predict(model, table)
    plot(table, forecast)
    (axes,) = (figure.axes for figure in figures)
    assert len({round(axis.get_position().y0, 6) for axis in axes}) == 1  # one row
    assert {axis.get_xlabel() for axis in axes} == {"step"}
    for axis, last in zip(axes, (28, 29, 29), strict=True):
        x, median = axis.lines[1].get_data()
        assert (x[0], median[0]) == (last, last)
        assert [float(x[0]), *median[1:]][1:] == forecast["q0.5"][forecast["unique_id"] == axis.get_title()].tolist()
        assert axis.collections[0].get_datalim(axis.transData).x0 == last  # the band


def test_picture_of_integer_steps(fitted: Fitted) -> None:
    model, table = fitted({"unique_id": [5] * 30, "ds": range(30), "y": np.arange(30.0)}, horizon=2)
    assert plot(table, predict(model, table)).startswith(b"\x89PNG")


def test_a_picture_changes_no_global_state() -> None:
    code = """
import sys
import numpy as np
from grus.tasks.forecast.plot import plot
from grus.tasks.forecast.table import Table
times = np.arange("2020-01", "2021-01", dtype="M8[M]")
columns = {"unique_id": ["a"] * 12, "ds": times, "y": np.arange(12.0)}
forecast = Table({"unique_id": ["a"], "ds": times[-1:] + 1, "q0.5": [12.0]}, target=False)
assert plot(columns, forecast)[:4] == b"\\x89PNG"
assert "matplotlib.pyplot" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=re.escape(installed.command("plot"))):
        plot({}, Table({"unique_id": ["a"], "ds": [1]}, target=False))


def test_numpy_parameters(make_columns: Columns, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    quantiles = np.array([0.1, 0.9])
    given = {"architecture": Architecture(np.int64(8)), "trainer": Trainer(np.int64(5), seed=np.int64(0))}
    forecaster = Forecaster(np.int64(2), quantiles=quantiles, past=np.array([], dtype=str), **given)  # type: ignore[arg-type]
    assert forecaster.get_params()["quantiles"] is quantiles
    assert "quantiles=array([0.1, 0.9])" in repr(forecaster)
    columns = make_columns(30)
    forecaster.fit(columns).save(tmp_path / "m.safetensors")
    assert Forecaster.load(tmp_path / "m.safetensors").quantiles == (0.1, 0.5, 0.9)
    plain = Forecaster(2, quantiles=(0.1, 0.9), architecture=Architecture(8), trainer=Trainer(5)).fit(columns)
    np.testing.assert_array_equal(forecaster.predict()["q0.9"], plain.predict()["q0.9"])
    assert forecaster.evaluate(columns, windows=np.int64(2), step=np.int64(1))["GRU"]["points"] == 4
