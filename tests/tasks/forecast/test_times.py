"""Times as tables have them: wrong ones, with zones, as numbers, on business days, at two frequencies."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.model import Model
from grus.tasks.forecast.backtest import plan
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.frequency import infer, parse
from grus.tasks.forecast.grid import frequency_of
from grus.tasks.forecast.panel import make_panel
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.prepare import prepare
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table
from grus.tasks.times import format_times

Fitted = Callable[..., tuple[Model, Table]]
EPOCH = [1577836800 + 3600 * i for i in range(13)]  # hours of 1 January 2020


def columns(ds: Any, name: str = "a") -> dict[str, Any]:
    return {"unique_id": [name] * len(ds), "ds": ds, "y": 10 + np.arange(len(ds)) % 7.0}


def minutes(first: str, count: int) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(first) + dt.timedelta(minutes=i) for i in range(count)]


def forecast(fitted: Fitted, ds: Any, horizon: int = 3, **settings: Any) -> list[str]:
    model, table = fitted(columns(ds), horizon, **settings)
    return [str(t) for t in predict(model, table)["ds"].tolist()]


@pytest.mark.parametrize("wrong", [dt.datetime(2204, 1, 1), dt.datetime(1970, 1, 1)])
def test_one_wrong_date_takes_no_memory(fitted: Fitted, wrong: dt.datetime) -> None:
    ids = [s for s in "abcdefgh" for _ in range(101)]
    ds = [
        t
        for s in "abcdefgh"
        for t in [*minutes("2024-01-01", 100), wrong if s == "c" else minutes("2024-01-01 01:40", 1)[0]]
    ]
    tracemalloc.start()
    model, table = fitted({"unique_id": ids, "ds": ds, "y": np.arange(len(ids)) % 5 + 1.0}, 5)
    found = predict(model, table)
    report = evaluate(model, table)
    early = plan(table, Settings(5), 2).early
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    note = f"1 row left out, absurdly far from the rest of the series: row 303 (series c, ds {wrong:%Y-%m-%d}"
    assert table.notes[0].startswith(note)
    assert found.notes == early.notes == table.notes and report.notes[0] == table.notes[0]
    assert str(found["ds"][10])[:16] == "2024-01-01T01:40" and len(found.ids) == 8


@pytest.mark.parametrize(
    ("ds", "kept"),
    [
        ([1, 2, 3, 4, 10**9], [1, 2, 3, 4]),
        ([-(10**9), 1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, *range(10**9, 10**9 + 90)], [*range(10**9, 10**9 + 90)]),
        ([*range(90), *range(10**9, 10**9 + 10)], [*range(10**9, 10**9 + 10)]),  # it broke off for a long time
        ([1, 2, 300], [1, 2, 300]),
        ([1, 10**9], [1, 10**9]),  # nothing says which is wrong, nor that one is
    ],
)
def test_which_rows_are_left_out(ds: list[int], kept: list[int]) -> None:
    assert Table(columns(ds))["ds"].tolist() == kept


def test_of_two_rows_the_one_near_the_other_series_stays() -> None:
    whole = columns([*minutes("2024-01-01", 50), dt.datetime(2024, 1, 1), dt.datetime(2204, 1, 1)])
    table = Table(whole | {"unique_id": ["a"] * 50 + ["b"] * 2})
    assert table["ds"][table["unique_id"] == "b"].astype(str).tolist() == ["2024-01-01T00:00:00.000000"]


def test_a_frequency_far_finer_than_the_rows_is_refused() -> None:
    hours = np.datetime64("2024-01-01") + np.array([0, 1, 2, 4, 5, 7]) * np.timedelta64(1, "h")
    with pytest.raises(InputError, match=r"of the steps of the frequency 's' only 0\.02% have a row"):
        prepare(Table(columns(hours)), Settings(1, freq="s"))


@pytest.mark.parametrize("frame", ["pandas", "pyarrow", "csv"])
def test_the_autumn_hour_comes_twice(fitted: Fitted, tmp_path: Path, frame: str) -> None:
    pd = pytest.importorskip("pandas")
    ds = pd.date_range("2024-10-26 12:00", periods=12, freq="h", tz="Europe/Berlin")
    data: Any = pd.DataFrame(columns(ds))
    if frame == "pyarrow":
        data = pytest.importorskip("pyarrow").Table.from_pandas(data)
    if frame == "csv":
        data.to_csv(tmp_path / "x.csv", index=False)
        data = Table.read(tmp_path / "x.csv")
    model, table = fitted(data if isinstance(data, Table) else Table(data), 6)
    assert table.num_rows == 12 and infer(table.times, table.starts).name == "h"
    found = predict(model, table)
    hours = ["00:00:00+02:00", "01:00:00+02:00", "02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00", "04:00:00+01:00"]
    if frame == "csv":  # which has no rule for the change of clocks, but says the same moments
        hours = [
            "00:00:00+02:00",
            "01:00:00+02:00",
            "02:00:00+02:00",
            "03:00:00+02:00",
            "04:00:00+02:00",
            "05:00:00+02:00",
        ]
    assert [str(t) for t in found["ds"]] == [f"2024-10-27 {hour}" for hour in hours]
    found.write(tmp_path / "out.csv")
    assert f"a,2024-10-27 {hours[3]}," in (tmp_path / "out.csv").read_text()
    if frame == "pandas":
        assert str(found.to_pandas()["ds"].dt.tz) == "Europe/Berlin"


def test_several_offsets_in_a_file_are_said(fitted: Fitted) -> None:
    ds = ["2024-10-27 01:00+02:00", "2024-10-27 02:00+02:00", "2024-10-27 02:00+01:00", "2024-10-27 03:00+01:00"]
    model, table = fitted(columns(ds), 1)
    found = predict(model, table)
    assert str(found["ds"][0]) == "2024-10-27 04:00:00+01:00"
    assert found.notes[0] == "ds has several zones (UTC+01:00, UTC+02:00): forecasts keep each series' last one"


def test_the_spring_hour_is_no_gap(fitted: Fitted) -> None:
    pd = pytest.importorskip("pandas")
    ds = pd.date_range("2024-03-30 12:00", periods=24, freq="h", tz="Europe/Berlin")
    _, table = fitted(columns(ds), 3)
    assert make_panel(table, parse("h"), 0).steps == 24


def test_days_at_a_zones_midnight_are_days(fitted: Fitted) -> None:
    pd = pytest.importorskip("pandas")
    ds = pd.date_range("2024-03-20", periods=10, freq="D", tz="Europe/Berlin")
    assert forecast(fitted, ds)[1:] == ["2024-03-31 00:00:00+01:00", "2024-04-01 00:00:00+02:00"]


def test_a_future_table_may_have_one_time_alone(fitted: Fitted) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    ds = [t.replace(tzinfo=zone) for t in minutes("2024-06-01", 20)]
    model, table = fitted(columns(ds) | {"price": np.arange(20.0)}, 1, future=("price",))
    ahead = {"unique_id": ["a"], "ds": [ds[-1] + dt.timedelta(minutes=1)], "price": [20.0]}
    assert str(predict(model, table, ahead)["ds"][0]) == "2024-06-01 00:20:00+02:00"
    with pytest.raises(InputError, match="which has no zone, but the series have one: write both alike"):
        predict(model, table, {k: v * 2 for k, v in ahead.items()} | {"ds": minutes("2024-06-01 00:20", 2)})


def test_polars_keeps_its_zone() -> None:
    class Series:  # as polars: NumPy gets the times in UTC
        class dtype:
            time_zone = "Europe/Berlin"

        def __array__(self, *_: Any, **__: Any) -> Any:
            return np.array(["2024-01-01T23:00"], "M8[us]")

        def to_list(self) -> list[Any]:
            return [dt.datetime(2024, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1)))]

    table = Table({"unique_id": ["a"], "ds": Series(), "y": [1.0]})
    assert str(table["ds"][0]) == "2024-01-02 00:00:00+01:00"


def test_an_hour_twice_without_a_zone_says_how_to_write_it() -> None:
    with pytest.raises(InputError, match=r"twice in autumn, write the zone too: 2020-10-25 02:00\+01:00"):
        Table(columns(["2024-10-27 02:00", "2024-10-27 02:00"]))


@pytest.mark.parametrize(
    ("ds", "after", "note"),
    [
        ([*range(202001, 202013)], ["202101", "202102", "202103"], "years and months (202001)"),
        ([*range(20200220, 20200230)], ["20200301", "20200302", "20200303"], "days (20200131)"),
        (EPOCH[:10], [str(t) for t in EPOCH[10:]], "seconds since"),
        ([t * 10**3 for t in EPOCH[:10]], [f"{t}000" for t in EPOCH[10:]], "milliseconds"),
        ([t * 10**6 for t in EPOCH[:10]], [f"{t}000000" for t in EPOCH[10:]], "microseconds"),
        ([t * 10**9 for t in EPOCH[:10]], [f"{t}000000000" for t in EPOCH[10:]], "nanoseconds"),
    ],
)
def test_numbers_that_are_dates(fitted: Fitted, ds: list[int], after: list[str], note: str) -> None:
    model, table = fitted(columns(ds), 3)
    found = predict(model, table)
    assert [str(t) for t in found["ds"].tolist()] == after
    assert f"the whole numbers in ds are read as {note}" in found.notes[0]
    assert forecast(fitted, [str(t) for t in ds]) == after  # as text, in a file


def test_numbers_that_count_steps_stay_so() -> None:
    for ds in ([1, 2, 3], [1990, 1991, 1992], [200001, 200020, 200050], [10**7, 10**7 + 1]):
        assert not Table(columns(ds)).notes and Table(columns(ds)).times.tolist() == ds


def test_a_model_of_whole_steps_still_takes_numbers_that_look_like_dates(fitted: Fitted) -> None:
    ds = [1577836800 + 3600 * i for i in range(20)]
    assert forecast(fitted, ds, freq="3600") == [str(1577836800 + 3600 * i) for i in (20, 21, 22)]


@pytest.mark.parametrize(
    ("ds", "name", "after"),
    [
        (["2020-01-15", "2020-02-15", "2020-03-15", "2020-05-15"], "MS-15", ["2020-06-15", "2020-07-15"]),
        (["2019-11-30", "2019-12-30", "2020-01-30", "2020-02-29"], "MS-30", ["2020-03-30", "2020-04-30"]),
        (["2020-03-10", "2020-06-10", "2020-09-10", "2020-12-10"], "QS-10", ["2021-03-10", "2021-06-10"]),
        (["2017-04-05", "2018-04-05", "2019-04-05", "2020-04-05"], "YS-5", ["2021-04-05", "2022-04-05"]),
        # the last day of trade: Good Friday was on 30 March 2018
        (["2018-01-31", "2018-02-28", "2018-03-29", "2018-04-30"], "BME", ["2018-05-31", "2018-06-29"]),
        # and the first: no trade on New Year's Day
        (["2018-10-01", "2018-11-01", "2018-12-03", "2019-01-02", "2019-02-01"], "BMS", ["2019-03-01", "2019-04-01"]),
    ],
)
def test_months_on_other_days(ds: list[str], name: str, after: list[str]) -> None:
    times = np.array(ds, "M8[us]")
    frequency = infer(times, np.array([0]))
    assert frequency.name == name and parse(name) == frequency
    assert format_times(frequency.after(times[-1:], 2)[0]) == after


def test_days_of_trade_are_not_months() -> None:
    days = np.array(["2020-01-29", "2020-01-30", "2020-01-31", "2020-02-03", "2020-02-04"], "M8[us]")
    assert infer(days, np.array([0])).name == "B"
    with pytest.raises(InputError, match="ds 2020-01-31 of series a is not on the grid 'BME'"):
        make_panel(Table(columns(days[1:])), parse("BME"), 1)


@pytest.mark.parametrize(
    ("fine", "count", "names"), [("D", 400, "'D', while series m is 'MS'"), ("h", 400, "'h', while")]
)
def test_two_frequencies_are_refused_by_name(fine: str, count: int, names: str) -> None:
    step = np.timedelta64(1, fine)
    months = (np.datetime64("2019-01") + np.arange(14)).astype("M8[us]")
    ds = np.concatenate([np.datetime64("2019-01-01", "us") + step * np.arange(count), months])
    table = Table(columns(ds) | {"unique_id": ["d"] * count + ["m"] * 14})
    with pytest.raises(InputError, match=r"has two frequencies: series [dm] is .*, while series [dm] is") as caught:
        frequency_of(table)
    assert "'MS'" in str(caught.value) and f"'{fine}'" in str(caught.value)


@pytest.mark.parametrize(
    ("freq", "first", "wrong", "name"),
    [
        ("h", "2024-01-01", "2024-01-02 13:30", "h"),
        ("D", "2024-01-01", "2024-01-09 12:00", "D"),
        ("MS", "2020-01-01", "2021-03-02", "MS"),
        ("ME", "2020-01-31", "2021-03-30", "ME"),
        ("W", "2020-01-05", "2021-03-02", "W"),
        ("MS", "2020-01-01", "2021-03-01 06:00", "MS"),
    ],
)
@pytest.mark.parametrize("at", [0, 11])
def test_one_row_off_the_grid_is_left_out(
    fitted: Fitted, freq: str, first: str, wrong: str, name: str, at: int
) -> None:
    """It made the frequency of all others finer, or stopped them."""
    pd = pytest.importorskip("pandas")
    ds = [str(t) for t in pd.date_range(first, periods=40, freq=freq)]
    whole = columns([*ds[:at], *ds[at + 1 :]])
    model, _ = fitted(whole, 3)
    dirty = Table({k: [*v, wrong if k == "ds" else v[-1]] for k, v in whole.items()})
    panel, task = prepare(dirty, Settings(3))
    assert task.frequency == name
    note = f"1 row left out, off the grid '{name}' of the others: row 40 (series a, ds {wrong}"
    assert panel.notes[0].startswith(note)
    found = predict(model, dirty)
    assert found.notes[0].startswith(note)
    np.testing.assert_array_equal(found["q0.5"], predict(model, whole)["q0.5"])


def test_days_that_lie_evenly_by_chance_are_days() -> None:
    day = np.datetime64("2024-01-01", "us") + np.arange(60) * np.timedelta64(1, "D")
    few = day[[0, 9, 18, 27]]
    table = Table(columns(np.concatenate([day, few])) | {"unique_id": ["a"] * 60 + ["b"] * 4})
    assert frequency_of(table).name == "D" and len(prepare(table, Settings(3))[0].ids) == 2


def test_a_monthly_series_has_no_daily_forecast(fitted: Fitted) -> None:
    days = np.datetime64("2019-01-01", "us") + np.arange(400) * np.timedelta64(1, "D")
    months = (np.datetime64("2019-01") + np.arange(14)).astype("M8[us]")
    both = columns(np.concatenate([days, months])) | {"unique_id": ["d"] * 400 + ["m"] * 14}
    model, _ = fitted(columns(days, "d"), 3)
    found = predict(model, both)
    assert found.ids.tolist() == ["d"]
    assert found.notes == ("1 series left out, of another frequency: series m is 'MS', but the frequency is 'D'",)
    with pytest.raises(InputError, match="series m is 'MS', but the frequency is 'D': bring series of that frequency"):
        predict(model, columns(months, "m"))
    assert len(prepare(Table(both), Settings(3, freq="D"))[0].ids) == 1
