"""Features and targets: what they are made of, and what they must not depend on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.spec import Categorical, Forecast, Numeric, Spec
from grus.tasks.forecast.panel import Panel
from grus.tasks.forecast.prepare import panel_for, prepare
from grus.tasks.forecast.settings import Architecture, Optimiser, Settings, Trainer
from grus.tasks.forecast.states import make_states
from grus.tasks.forecast.table import Table
from grus.tasks.forecast.windows import LEAST_COUNT, Windows, bypass_size, input_size

Columns = Callable[..., dict[str, Any]]


def prepared(columns: dict[str, Any], horizon: int = 6, **settings: Any) -> tuple[Panel, Forecast]:
    return prepare(Table(columns), Settings(horizon, **settings))


def covariates(columns: dict[str, Any], seed: int = 1) -> dict[str, Any]:
    """The columns with a past, a future and two static covariates."""
    rng = np.random.default_rng(seed)
    size = len(columns["y"])
    return columns | {
        "weather": rng.normal(10, 2, size),
        "price": rng.normal(5, 1, size),
        "area": np.array([float(i[1:]) for i in columns["unique_id"]]),
        "kind": np.array([("town" if i == "s0" else "land") for i in columns["unique_id"]]),
    }


KINDS: dict[str, Any] = {"past": ("weather",), "future": ("price",), "static": ("area", "kind")}


def test_what_is_measured(make_columns: Columns) -> None:
    panel, task = prepared(covariates(make_columns(60, 40)), **KINDS)
    assert (task.frequency, task.season, task.scale, task.window, task.horizon) == ("MS", 12, "log", 60, 6)
    train = panel.past[:, :-6, 0]
    np.testing.assert_allclose((task.past[0].mean, task.past[0].std), (np.nanmean(train), np.nanstd(train)))
    assert task.static[1] == Categorical("kind", ("land", "town"))
    assert task.trained_until == (("s0", "2020-12-01"), ("s1", "2020-12-01"))
    assert Spec.from_json(Spec((_linear(task),), task).to_json()).task == task
    assert bypass_size(task) == 6


def _linear(task: Forecast) -> Any:
    from grus.spec import Linear

    return Linear(input_size(task), 3)


def test_features_of_a_step_by_hand() -> None:
    """Without a season: lags about their level, in units of their mean step."""
    y = np.array([2.0, 4.0, 8.0, 8.0])
    table = Table({"unique_id": ["a"] * 4, "ds": [1, 2, 3, 4], "y": y})
    panel, task = prepare(table, Settings(1))
    assert (task.scale, task.season, task.lags) == ("log", 1, 6)
    z = np.log(y)
    weights = 0.3 ** np.arange(4)
    level = (weights * z[::-1]).sum() / weights.sum()
    scale = (2 * np.log(2) + 0.1) / (3 + 2)
    batch = Windows(panel, task).batch(np.array([0]), 4, 4)
    last = batch.x[-1, 0]
    np.testing.assert_allclose(last[:4], (z[::-1] - level) / scale, rtol=1e-5)
    np.testing.assert_array_equal(last[4:6], 0)
    np.testing.assert_allclose(last[6:], [np.log(scale) + 3, np.log(5) / 4, 4 / 6, 1], rtol=1e-5)
    assert batch.mask[:, 0, 0].tolist() == [0, 0, 1, 0]  # fewer than three values seen; nothing after the last
    before = (0.3 ** np.arange(3) * z[2::-1]).sum() / (0.3 ** np.arange(3)).sum()
    np.testing.assert_allclose(batch.target[2, 0, 0], (z[3] - before) / ((2 * np.log(2) + 0.1) / (2 + 2)), rtol=1e-5)


def test_a_clear_season_is_found_and_noise_is_not() -> None:
    time = np.arange(120)
    rng = np.random.default_rng(0)
    wave = 10 * np.sin(2 * np.pi * time / 12)
    y = np.stack([wave + 0.1 * time, rng.normal(0, 1, 120)])
    task = Forecast(12, 60, (0.5,), "MS", 12, lags=12)
    states = make_states(y, task)
    assert states.strength[0, -1] > 0.95 and states.strength[1, -1] < 0.5
    ahead = np.array([states.seasonal(k)[0, -1] for k in range(1, 13)])
    np.testing.assert_allclose(ahead, wave[:12], atol=0.2)  # column 120 has the phase of column 0
    np.testing.assert_allclose(ahead.sum(), 0, atol=1e-9)
    assert (states.strength[:, :12] == 0).all()  # no phase is known in the first year


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_no_feature_knows_the_future(make_columns: Columns, scale: str) -> None:
    """Everything after a cutoff changed, or cut away: the features up to it keep their bits."""
    columns = covariates(make_columns(70, 31, 8))
    panel, task = prepared(columns, scale=scale, **KINDS)
    cut, rows = 50, np.arange(3)
    later = panel.steps - cut
    rng = np.random.default_rng(9)
    y, past = panel.y.copy(), panel.past.copy()
    y[:, cut:] = rng.uniform(1, 1e6, y[:, cut:].shape)
    past[:, cut:] = rng.normal(0, 1e6, past[:, cut:].shape)
    future = panel.future.copy()
    future[:, cut + task.horizon :] = 1e6
    features = Windows(panel, task).features(rows, cut, 40)
    for other in (replace(panel, y=y, past=past, future=future), panel.before(later)):
        np.testing.assert_array_equal(Windows(other, task).features(rows, cut, 40), features)
    states, cut_states = make_states(panel.y, task), make_states(panel.before(later).y, task)
    np.testing.assert_array_equal(states.scale[:, :cut], cut_states.scale)


def test_a_series_does_not_know_its_neighbours(make_columns: Columns) -> None:
    columns = covariates(make_columns(70, 31, 8))
    panel, task = prepared(columns, **KINDS)
    together = Windows(panel, task).features(np.arange(3), panel.steps, 40)
    for row in range(3):
        alone = panel.take(np.array([row]))
        features = Windows(alone, task).features(np.array([0]), alone.steps, 40)
        np.testing.assert_array_equal(features[:, 0], together[:, row])


def test_past_future_and_static_stay_apart(make_columns: Columns) -> None:
    panel, task = prepared(covariates(make_columns(50, 40)), **KINDS)
    windows = Windows(panel, task)
    x = windows.features(np.array([0]), 44, 5)[:, 0]
    first = task.lags + 4 + 6 + 2
    weather, price = task.past[0], task.future[0]
    np.testing.assert_allclose(x[:, first], (panel.past[0, 39:44, 0] - weather.mean) / weather.std, rtol=1e-5)
    np.testing.assert_allclose(x[:, first + 1], (panel.future[0, 39:44, 0] - price.mean) / price.std, rtol=1e-5)
    np.testing.assert_array_equal(x[:, first + 3 : first + 5], [[0, 1]] * 5)  # land, town
    ahead = (panel.future[0, 44:50, 0] - price.mean) / price.std
    np.testing.assert_allclose(x[-1, -6:], ahead, rtol=1e-5)
    np.testing.assert_array_equal(x[-2, -5:], x[-1, -6:-1])


def test_batches_are_the_same_from_the_cache(make_columns: Columns) -> None:
    panel, task = prepared(covariates(make_columns(50, 20)), **KINDS)
    plain, ready = Windows(panel, task), Windows(panel, task)
    ready.keep_ready()
    series, stop = np.array([1, 0, 1]), np.array([49, 30, 50])
    a, b = plain.batch(series, stop, 35), ready.batch(series, stop, 35)
    for name in ("x", "target", "mask", "weight"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(b, name).dtype == np.float32


def test_targets_are_undone_by_decode(make_columns: Columns) -> None:
    """A network that gave the targets themselves would forecast what came."""
    for scale in ("log", "linear"):
        panel, task = prepared(make_columns(60, 45), scale=scale)
        windows, rows, stop = Windows(panel, task), np.arange(2), panel.steps - 6
        target = windows.batch(rows, stop, 1).target[-1]
        output = np.repeat(target[:, :, None], 3, axis=2).reshape(2, -1)
        np.testing.assert_allclose(windows.decode(rows, stop, output)[..., 1], panel.y[:, stop:], rtol=1e-4)


def test_calibration_widens_and_quantiles_never_cross(make_columns: Columns) -> None:
    panel, task = prepared(make_columns(60), scale="linear")
    rng = np.random.default_rng(0)
    output = rng.normal(0, 1, (1, 18)).astype(np.float32)
    rows = np.array([0])
    plain = Windows(panel, task).decode(rows, panel.steps, output)
    wide = Windows(panel, replace(task, calibration=(2.0, 1.0, 3.0))).decode(rows, panel.steps, output)
    assert (np.diff(plain, axis=2) >= 0).all() and (np.diff(wide, axis=2) >= 0).all()
    np.testing.assert_allclose(wide[..., 1], plain[..., 1])
    np.testing.assert_allclose(wide[..., 1] - wide[..., 0], 2 * (plain[..., 1] - plain[..., 0]), rtol=1e-9)
    np.testing.assert_allclose(wide[..., 2] - wide[..., 1], 3 * (plain[..., 2] - plain[..., 1]), rtol=1e-9)


def test_scales(make_columns: Columns) -> None:
    """Series that differ only in their unit look alike, with zeros and negatives too."""
    columns = make_columns(50)
    y = columns["y"] - columns["y"].mean()
    y[7] = 0.0
    twice = {k: np.concatenate([v, v]) for k, v in columns.items()}
    twice |= {"unique_id": np.repeat(["a", "b"], 50), "y": np.concatenate([y, 1e7 * y])}
    panel, task = prepared(twice)
    assert task.scale == "linear"
    batch = Windows(panel, task).batch(np.arange(2), 50, 50)
    for array in (batch.x, batch.target, batch.weight):
        np.testing.assert_allclose(array[:, 0], array[:, 1], rtol=1e-4, atol=1e-5)


WILD: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "zeros and bursts": lambda rng, n: np.where(rng.random(n) < 0.8, 0.0, rng.exponential(5, n)),
    "zeros, then not": lambda rng, n: np.where(np.arange(n) < n // 2, 0.0, 1e6),
    "sixty powers of ten": lambda rng, n: np.exp(rng.normal(0, 50, n)),
    "huge": lambda rng, n: rng.normal(0, 1e99, n),
    "tiny": lambda rng, n: np.full(n, 1e-200),
    "far from zero": lambda rng, n: 1e9 + rng.normal(0, 1, n),
}


@pytest.mark.parametrize("kind", WILD)
@pytest.mark.parametrize("season", [1, 3, 12, 50])
def test_wild_series(kind: str, season: int) -> None:
    """Beside a tame one, with holes: nothing overflows, nothing is NaN, no target drowns the others."""
    rng = np.random.default_rng(season)
    y = np.concatenate([rng.normal(0, 1, 60), WILD[kind](rng, 40)])
    y[60:][rng.random(40) < 0.3] = np.nan
    y[99] = 1.0
    ids, ds = np.repeat(["tame", "wild"], [60, 40]), np.r_[:60, :40]
    for rows in (slice(0, 100), slice(60, 100)):
        panel, task = prepare(Table({"unique_id": ids[rows], "ds": ds[rows], "y": y[rows]}), Settings(4, season=season))
        series = np.arange(len(panel.ids))
        windows = Windows(panel, task)
        batch = windows.batch(series, panel.steps, panel.steps)
        assert all(np.isfinite(a).all() for a in (batch.x, batch.target, batch.weight))
        assert np.abs(batch.target * batch.weight[..., None]).max() <= 25.01
        output = rng.normal(0, 1, (len(series), 12)).astype(np.float32)
        assert np.isfinite(windows.decode(series, panel.steps, output)).all()


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_constant_series(value: float) -> None:
    table = Table({"unique_id": ["a"] * 30, "ds": np.arange(30), "y": np.full(30, value)})
    panel, task = prepare(table, Settings(3))
    batch = Windows(panel, task).batch(np.array([0]), 30, 30)
    assert np.isfinite(batch.x).all() and batch.mask.any()
    np.testing.assert_allclose(batch.target, 0, atol=1e-10)


def test_missing_values_are_marked(make_columns: Columns) -> None:
    columns = make_columns(60)
    columns["y"][[40, 58]] = np.nan
    panel, task = prepared(columns)
    batch = Windows(panel, task).batch(np.array([0]), 60, 60)
    assert np.isfinite(batch.x).all()
    lag0, observed = batch.x[:, 0, 0], batch.x[:, 0, task.lags + 3]
    assert lag0[40] == 0 and observed[40] == 0 and observed[39] == 1
    assert batch.x[41, 0, 1] == 0  # the lag of 1
    assert batch.mask[39, 0, 0] == 0 and batch.mask[38, 0, 1] == 0 and batch.mask[39, 0, 1] == 1
    assert np.isfinite(Windows(panel, task).decode(np.array([0]), 59, np.zeros((1, 18), np.float32))).all()


def test_a_long_gap_keeps_the_last_level(make_columns: Columns) -> None:
    columns = make_columns(120)
    columns["y"][40:90] = np.nan
    panel, task = prepared(columns, season=1)
    states = make_states(panel.y, task)
    assert (states.level[0, 60:90] == states.level[0, 60]).all()
    assert np.isfinite(Windows(panel, task).features(np.array([0]), 120, 120)).all()


def test_padding_is_zeros(make_columns: Columns) -> None:
    panel, task = prepared(covariates(make_columns(60, 10)), **KINDS)
    batch = Windows(panel, task).batch(np.array([1]), 60, 60)
    start = 60 - 10
    assert (batch.x[:start] == 0).all()
    assert (batch.weight[: start + LEAST_COUNT - 1] == 0).all() and (batch.weight[start + LEAST_COUNT - 1 :] > 0).all()
    origins = Windows(panel, task).origins[1]
    assert np.flatnonzero(origins).tolist() == list(range(start + LEAST_COUNT - 1, 59))


def test_horizon_longer_than_the_data(make_columns: Columns) -> None:
    with pytest.raises(
        InputError, match=r"horizon 18 needs a series of at least 21 steps .* the longest has 20: shorten"
    ):
        prepared(make_columns(20, 8), horizon=18)


def test_values_that_have_no_logarithm(make_columns: Columns) -> None:
    columns = make_columns(30, 30)
    columns["y"][35] = 0
    with pytest.raises(InputError, match="scale 'log' needs positive values, but series s1 has y = 0"):
        prepared(columns, scale="log", strict=True)
    _, task = prepared(make_columns(30, 30))
    with pytest.raises(InputError, match=r"series s1 has y = 0, but the model works on log y: .*--scale linear"):
        panel_for(task, Table(columns), strict=True)


def test_covariates_that_are_wrong(make_columns: Columns) -> None:
    columns = covariates(make_columns(30, 30))
    with pytest.raises(InputError, match="has no column 'wind'; it has 'unique_id', 'ds', 'y', 'weather'"):
        prepared(columns, past=("wind",))
    mixed = columns | {"kind": np.where(np.arange(60) == 3, "town", "5")}
    with pytest.raises(InputError, match="row 4: kind is 'town', expected a number"):
        prepared(mixed, past=("kind",), strict=True)
    with pytest.raises(InputError, match=r"row 2: weather is .*, but series s0 had .*: a static column has one value"):
        prepared(columns, static=("weather",))
    columns["kind"][30:] = ""
    with pytest.raises(InputError, match="static column 'kind' has no value for series s1"):
        prepared(columns, static=("kind",), strict=True)
    columns["weather"][:] = np.nan
    with pytest.raises(InputError, match="covariate 'weather' has no value"):
        prepared(columns, past=("weather",))


def test_unknown_category(make_columns: Columns) -> None:
    columns = covariates(make_columns(30, 30))
    _, task = prepared(columns, static=("kind",))
    columns["kind"] = np.where(columns["kind"] == "town", "moon", columns["kind"])
    with pytest.raises(
        InputError, match=r"'kind' of series s0 is moon, which the model has never seen; it knows land, town"
    ):
        panel_for(task, Table(columns), strict=True)


def test_a_series_without_values(make_columns: Columns) -> None:
    columns = make_columns(30, 30)
    columns["y"][30:] = np.nan
    with pytest.raises(InputError, match="series s1 has no value of y at all"):
        prepared(columns, strict=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"horizon": 1.5}, "horizon is 1.5"),
        ({"window": 0}, "window is 0"),
        ({"season": -1}, "season is -1"),
        ({"scale": "cubic"}, "expected 'auto', 'log' or 'linear'"),
        ({"quantiles": (0.1, 1.0)}, "expected levels between 0 and 1"),
        ({"quantiles": ()}, "expected levels"),
        ({"quantiles": "0.1"}, "expected levels"),
        ({"past": "price"}, "expected a tuple of column names"),
        ({"past": ("a",), "future": ("a",)}, "column 'a' is given twice"),
        ({"static": ("y",)}, "names the column 'y'"),
        ({"trainer": 3}, "expected Trainer"),
    ],
)
def test_settings(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Settings(**({"horizon": 3} | wrong))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Architecture(hidden_size=0),
        lambda: Optimiser(learning_rate=0),
        lambda: Optimiser(clip=float("nan")),
        lambda: Trainer(steps=0),
        lambda: Trainer(early_stopping=1),
        lambda: Numeric("a", 0.0, 0.0),
        lambda: Numeric("", 0.0, 1.0),
        lambda: Categorical("a", ("b", "b")),
        lambda: Forecast(1, 1, (0.1, 0.9), "D", 1),
        lambda: Forecast(1, 1, (0.5,), "D", 1, calibration=(1.0, 2.0)),
        lambda: Forecast(1, 1, (0.5,), "D", 1, smoothing=0.0),
        lambda: Forecast(1, 1, (0.5,), "D", 1 << 20),
        lambda: Forecast(1, 1, (0.5,), "D", 1, past=("a",)),  # type: ignore[arg-type]
        lambda: Forecast(1, 1, (0.5,), "D", 1, past=(Numeric("a", 0, 1),), future=(Numeric("a", 0, 1),)),
        lambda: Forecast(1, 1, (0.5,), "D", 1, trained_until=(("a",),)),
    ],
)
def test_what_no_settings_and_no_spec_can_be(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


def test_the_median_is_always_there() -> None:
    assert Settings(1, quantiles=(0.9, 0.05)).quantiles == (0.05, 0.5, 0.9)


def test_numpy_values_become_plain_ones() -> None:
    """They are hashed, compared and written as JSON."""
    given = Settings(
        np.int64(2),
        window=np.int32(30),
        quantiles=np.array([0.9, 0.1]),  # type: ignore[arg-type]
        past=np.array(["a"]),  # type: ignore[arg-type]
        static=[np.str_("b")],  # type: ignore[arg-type]
        freq=np.str_("D"),
        season=np.uint8(7),
        architecture=Architecture(np.int64(8), np.array(1), np.int16(2)),  # type: ignore[arg-type]
        optimiser=Optimiser(np.float64(0.01), np.float32(0), np.int64(4), np.int64(1)),
        trainer=Trainer(np.int64(5), np.bool_(False), np.uint64(3)),  # type: ignore[arg-type]
    )
    plain = Settings(
        2,
        window=30,
        quantiles=(0.1, 0.9),
        past=("a",),
        static=("b",),
        freq="D",
        season=7,
        architecture=Architecture(8, 1, 2),
        optimiser=Optimiser(0.01, 0.0, 4, 1.0),
        trainer=Trainer(5, False, 3),
    )
    assert repr(given) == repr(plain)  # and so their types
    assert hash(given) == hash(plain)
    assert json.dumps(dataclasses.asdict(given)) == json.dumps(dataclasses.asdict(plain))
    for wrong in ({"horizon": np.array([2])}, {"horizon": np.float64(2)}, {"quantiles": np.array(0.5)}):
        with pytest.raises(InputError):
            Settings(**({"horizon": 1} | wrong))  # type: ignore[arg-type]
