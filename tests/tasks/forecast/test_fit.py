"""Training a forecaster: what it learns from, what it may not see, and that it is repeatable."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tasks.forecast import shared_fit

from grus.errors import InputError
from grus.model import Model
from grus.spec import GRU, Bypass, Linear, Mean, Residual
from grus.tasks.forecast import fit as fit_module
from grus.tasks.forecast.fit import fit
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.prepare import prepare
from grus.tasks.forecast.sampling import Sampler
from grus.tasks.forecast.settings import Architecture, Settings, Trainer
from grus.tasks.forecast.table import Table
from grus.tasks.forecast.windows import Windows
from grus.torch.network import Network

QUICK = Settings(horizon=4, architecture=Architecture(hidden_size=8), trainer=Trainer(steps=20))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def table(lengths: tuple[int, ...] = (40, 25), *, noise: float = 0.1, season: int = 4, **columns: object) -> Table:
    """Seasonal series with integer times; every covariate a function of (series, time) arrays."""
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.full(n, f"s{i}") for i, n in enumerate(lengths)])
    ds = np.concatenate([np.arange(n) for n in lengths])
    level = np.concatenate([np.full(n, 10.0 + i) for i, n in enumerate(lengths)])
    y = level * (1.5 + np.sin(2 * np.pi * ds / season)) * np.exp(noise * rng.standard_normal(len(ds)))
    return Table({"unique_id": ids, "ds": ds, "y": y} | {name: f(ids, ds) for name, f in columns.items()})  # type: ignore[operator]


def same(left: Model, right: Model) -> bool:
    return left.spec == right.spec and all(np.array_equal(left.arrays[n], right.arrays[n]) for n in left.arrays)


def test_it_learns_a_season_it_was_not_told_of() -> None:
    data = table((80, 80, 60), noise=0.01)
    settings = dataclasses.replace(QUICK, season=1, trainer=Trainer(steps=300))
    fitted = fit(data, settings, progress=False)
    validation = [row["validation"] for row in fitted.history if row["training"] == "search"]
    assert validation[-1] < 0.35 * validation[0]
    forecast = predict(fitted.model, data)
    wanted = np.array([10.0 + i for i in range(3)])[:, None] * (1.5 + np.sin(2 * np.pi * np.arange(4) / 4))
    np.testing.assert_allclose(forecast["q0.5"].reshape(3, 4), wanted, rtol=0.15)


def test_same_seed_same_model_other_seed_another() -> None:
    data = table()
    model = fit(data, QUICK, progress=False).model
    torch.manual_seed(123)
    assert same(fit(data, QUICK, progress=False).model, model)
    other = dataclasses.replace(QUICK, trainer=Trainer(steps=20, seed=1))
    assert not same(fit(data, other, progress=False).model, model)


def test_members_are_several_networks_in_one() -> None:
    settings = dataclasses.replace(QUICK, architecture=Architecture(hidden_size=8, members=3))
    model = fit(table(), settings, progress=False).model
    (mean,) = model.spec.blocks
    assert isinstance(mean, Mean)
    assert len(mean.members) == 3
    weights = [model.arrays[f"0.{member}.0.weight_hh_l0"] for member in range(3)]
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])
    single = fit(table(), QUICK, progress=False).model
    assert np.array_equal(single.arrays["0.weight_hh_l0"], weights[0])


def test_upper_layers_add_to_the_lower() -> None:
    settings = dataclasses.replace(QUICK, architecture=Architecture(hidden_size=8, num_layers=3))
    first, second, third, head = fit(table(), settings, progress=False).model.spec.blocks
    assert second == third == Residual((GRU(8, 8),))
    assert (first.output_size, head) == (8, Linear(8, 12))


def test_the_search_does_not_learn_from_what_is_held_back() -> None:
    data = table()
    changed = {name: column.copy() for name, column in data.items()}
    for end in np.append(data.starts[1:], data.num_rows):
        changed["y"][end - 4 : end] *= 1.3
    found: list[dict[str, np.ndarray]] = []

    def catch(network: Network) -> float:
        found.append({name: tensor.numpy().copy() for name, tensor in network.state_dict().items()})
        return 1.0

    for columns in (dict(data), changed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fit_module._HeldBack, "loss", lambda self, network: catch(network))
            fit(Table(columns), QUICK, progress=False)
    half = len(found) // 2
    assert half >= 8
    for left, right in zip(found[:half], found[half:], strict=True):
        assert all(np.array_equal(left[name], right[name]) for name in left)


def test_the_held_back_values_decide_how_long_to_train() -> None:
    scores = iter([5.0, 1.0, *[2.0 + i for i in range(50)]])
    settings = dataclasses.replace(QUICK, trainer=Trainer(steps=40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module._HeldBack, "loss", lambda self, network: next(scores))
        fitted = fit(table(), settings, progress=False)
    assert max(row["step"] for row in fitted.history if row["training"] == "training") == 4  # 2 of 20 validations
    assert max(row["step"] for row in fitted.history if row["training"] == "search") == 20  # and 8 in vain


def test_without_early_stopping_nothing_is_held_back() -> None:
    settings = dataclasses.replace(QUICK, trainer=Trainer(steps=20, early_stopping=False))
    fitted = fit(table(), settings, progress=False)
    assert {row["training"] for row in fitted.history} == {"training"}
    assert fitted.model.spec.task is not None
    assert fitted.model.spec.task.calibration == ()


@pytest.mark.parametrize("lengths", [(7,), (8, 7), (40,), (200, 7, 3, 1)])
def test_tiny_tables(lengths: tuple[int, ...]) -> None:
    data = table(lengths)
    forecast = predict(fit(data, QUICK, progress=False).model, data)
    assert len(forecast["ds"]) == 4 * len(lengths)
    assert np.isfinite(forecast["q0.5"]).all()


def test_nothing_to_learn_from() -> None:
    y = np.full(40, np.nan)
    y[[0, 39]] = 1.0, 2.0
    with pytest.raises(InputError, match="nothing to learn from: no series has 3 values of y and another within 2"):
        fit(Table({"unique_id": ["a"] * 40, "ds": np.arange(40), "y": y}), Settings(2), progress=False)


def test_a_horizon_longer_than_the_data() -> None:
    with pytest.raises(InputError, match=r"horizon 4 needs a series of at least 7 steps .* the longest has 6"):
        fit(table((6, 5)), QUICK, progress=False)


@pytest.mark.parametrize("values", ["zeros", "negative", "constant", "missing", "huge"])
def test_difficult_values(values: str) -> None:
    columns = dict(table((30, 30)))
    y = columns["y"].copy()
    match values:
        case "zeros":
            y[:30] = 0.0
        case "negative":
            y -= 15.0
        case "constant":
            y[:] = 7.0
        case "missing":
            y[3:20] = np.nan
            y[35:58:2] = np.nan
        case "huge":
            y[:30] *= 1e12
    data = Table(columns | {"y": y})
    forecast = predict(fit(data, QUICK, progress=False).model, data)
    assert all(np.isfinite(forecast[name]).all() for name in ("q0.1", "q0.5", "q0.9"))


def test_covariates_of_all_three_kinds() -> None:
    rng = np.random.default_rng(1)
    promotion = rng.integers(0, 2, 64).astype(float)
    data = table(
        (60, 60),
        noise=0.0,
        promotion=lambda ids, ds: promotion[ds],
        traffic=lambda ids, ds: ds % 5 * 1.0,
        shop=lambda ids, ds: np.where(ids == "s0", "big", "small"),
    )
    columns = dict(data)
    columns["y"] = columns["y"] * (1 + columns["promotion"])
    data = Table(columns)
    settings = dataclasses.replace(
        QUICK, future=("promotion",), past=("traffic",), static=("shop",), trainer=Trainer(steps=600), season=1
    )
    model = fit(data, settings, progress=False).model
    assert isinstance(model.spec.blocks[0], Bypass)
    rows = np.arange(60, 64)
    ahead = {"unique_id": np.repeat(["s0", "s1"], 4), "ds": np.tile(rows, 2)}
    off = predict(model, data, ahead | {"promotion": np.zeros(8)})["q0.5"]
    on = predict(model, data, ahead | {"promotion": np.ones(8)})["q0.5"]
    assert (on > 1.2 * off).all()  # what is known of the future reaches the forecast


def test_intervals_are_widened_where_what_was_held_back_asks_for_it() -> None:
    calm = table((60,) * 30, noise=0.02)
    columns = dict(calm)
    rng = np.random.default_rng(3)
    y = columns["y"].copy()
    for end in np.append(calm.starts[1:], calm.num_rows):
        y[end - 4 : end] *= np.exp(0.5 * rng.standard_normal(4))
    settings = dataclasses.replace(QUICK, trainer=Trainer(steps=100))
    factors = []
    for values in (columns["y"], y):
        task = fit(Table(columns | {"y": values}), settings, progress=False).model.spec.task
        assert task is not None
        low, middle, high = task.calibration
        assert middle == 1.0
        assert low == high >= 1.0
        factors.append(low)
    assert factors[1] > factors[0] + 0.2


def test_resume_in_python(tmp_path: Path) -> None:
    from grus.training.interrupt import Interrupt, Interrupted

    path, data = tmp_path / "checkpoint", table()
    whole = fit(data, QUICK, progress=False).model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interrupt, "__enter__", lambda self: setattr(self, "requested", True) or self)
        with pytest.raises(Interrupted):
            fit(data, QUICK, progress=False, checkpoint=path)
    other = dataclasses.replace(QUICK, architecture=Architecture(hidden_size=9))
    with pytest.raises(InputError, match="hidden_size was 8, is 9"):
        fit(data, other, progress=False, checkpoint=path, resume=True)
    with pytest.raises(InputError, match="the data are not the same"):
        fit(table((40, 26)), QUICK, progress=False, checkpoint=path, resume=True)
    assert same(fit(data, QUICK, progress=False, checkpoint=path, resume=True).model, whole)


def sampler(lengths: tuple[int, ...], window: int, seed: int = 0) -> Sampler:
    panel, task = prepare(table(lengths), QUICK)
    return Sampler(Windows(panel, task), window, 4, (seed,))


def test_an_epoch_has_every_step_of_every_series() -> None:
    lengths = (50, 33, 9, 20, 7, 12)
    samples = sampler(lengths, window=16)
    for epoch in range(3):
        seen = np.zeros((len(lengths), 50), dtype=int)
        for step in range(epoch * samples.epoch_steps, (epoch + 1) * samples.epoch_steps):
            rows, stops, length = samples(step)
            assert 1 <= len(rows) <= 4
            assert length <= 16
            for row, stop in zip(rows, stops, strict=True):
                seen[row, max(stop - length, 0) : stop] += 1
        for row, size in enumerate(lengths):
            if size <= 17:
                assert (seen[row, 50 - size : 49] == 1).all()
        assert (seen[:, 49] == 0).all()  # nothing comes after the last step


def test_a_sample_is_a_function_of_its_step_alone() -> None:
    forwards, backwards = sampler((50, 33, 9, 20, 7), 16), sampler((50, 33, 9, 20, 7), 16)
    steps = list(range(3 * forwards.epoch_steps))
    there = {step: forwards(step) for step in steps}
    for step in reversed(steps):
        rows, stops, length = backwards(step)
        assert np.array_equal(rows, there[step][0])
        assert np.array_equal(stops, there[step][1])
        assert length == there[step][2]
    other = sampler((50, 33, 9, 20, 7), 16, seed=1)
    assert any(not np.array_equal(other(s)[0], there[s][0]) for s in steps)


def test_a_long_series_is_cut_elsewhere_each_time_and_wholly_used() -> None:
    samples = sampler((200,), window=16)
    seen = np.zeros(200, dtype=int)
    stops_seen = set()
    for step in range(20 * samples.epoch_steps):
        _, stops, length = samples(step)
        assert length == 16
        for stop in stops:
            assert 16 <= stop <= 199
            seen[stop - 16 : stop] += 1
            stops_seen.add(int(stop))
    assert (seen[:199] > 0).all()
    assert len(stops_seen) > 50


def test_the_default_of_torch_does_not_matter() -> None:
    whole = fit(table(), QUICK, progress=False).model
    try:
        torch.set_default_dtype(torch.float64)
        wide = fit(table(), QUICK, progress=False).model
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(wide, whole)


@pytest.mark.timeout(300)  # a process takes two seconds to load PyTorch, on a busy disk ten
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", shared_fit.__file__]
    done = subprocess.run(
        [*command, tmp_path / "two", "2"], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    alone, task = shared_fit.fit(tmp_path / "one", 4)
    together = dict(np.load(tmp_path / "two" / "weights.npz"))
    assert together.keys() == alone.keys()
    assert {name.split(".")[0] for name in alone} == {"search", "training"}
    for name, weights in alone.items():
        np.testing.assert_allclose(together[name], weights, rtol=0, atol=1e-10, err_msg=name)
    wanted = json.loads(json.dumps(task))
    factors = wanted.pop("calibration")
    assert max(factors) > 1.01
    found = [json.loads((tmp_path / "two" / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1]
    np.testing.assert_allclose(found[0].pop("calibration"), factors, rtol=1e-9)
    assert found[0] == wanted
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) > 10


def test_processes_share_a_step_and_some_get_nothing_of_it() -> None:
    panel, task = prepare(table((9,) * 9), QUICK)
    whole = Sampler(Windows(panel, task), 16, 8, (0,))
    shares = [Sampler(Windows(panel, task), 16, 4, (0,), rank, 2) for rank in (0, 1)]
    sizes = set()
    for step in range(2 * whole.epoch_steps):
        series, stop, length = whole(step)
        for rank, share in enumerate(shares):
            assert share.epoch_steps == whole.epoch_steps
            own_series, own_stop, own_length = share(step)
            assert np.array_equal(own_series, series[rank::2])
            assert np.array_equal(own_stop, stop[rank::2])
            assert own_length == length
            sizes.add(len(own_series))
    assert sizes == {4, 1, 0}


def test_parts_of_a_batch_and_other_schedules() -> None:
    def trained(**changed: object) -> Model:
        optimiser = dataclasses.replace(QUICK.optimiser, **changed)
        return fit(table((40, 25, 33)), dataclasses.replace(QUICK, optimiser=optimiser), progress=False).model

    whole, parts, linear = trained(), trained(accumulate=3), trained(schedule="linear")
    for name, array in whole.arrays.items():
        np.testing.assert_allclose(parts.arrays[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    assert not same(linear, whole)
