"""Frequencies: inferred, applied and continued, on the calendars' corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.tasks.forecast.frequency import default_season, infer, parse
from grus.tasks.forecast.grid import positions
from grus.tasks.forecast.panel import make_panel
from grus.tasks.forecast.table import Table
from grus.tasks.times import format_times

ZERO = np.array([0])
# pandas' name, first time, what pandas gives for nine periods is compared with below; the season
GRIDS = [
    ("MS", "2019-11-01", 12),
    ("ME", "2019-11-30", 12),
    ("ME", "2020-01-31", 12),
    ("2MS", "2019-11-01", 6),
    ("QS", "2019-10-01", 4),
    ("QE", "2019-12-31", 4),
    ("YS", "1999-01-01", 1),
    ("YE", "1999-12-31", 1),
    ("BMS", "2019-11-01", 12),
    ("BME", "2019-11-29", 12),
    ("BQE", "2022-06-30", 4),
    ("BQS", "2022-01-03", 4),
    ("BYE", "2010-12-31", 1),
    ("W", "2019-12-29", 52),
    ("2W", "2019-12-29", 1),
    ("D", "2020-02-25", 7),
    ("3D", "2020-02-25", 1),
    ("B", "2020-02-27", 5),
    ("h", "2020-02-28 20:00", 24),
    ("30min", "2020-02-28 23:00", 48),
    ("15min", "2020-02-28 23:00", 96),
    ("min", "2020-02-28 23:55", 1),
    ("10s", "2020-02-28 23:59:30", 1),
]


def one_series(times: Any) -> Table:
    return Table({"unique_id": ["a"] * len(times), "ds": times, "y": np.ones(len(times))})


@pytest.mark.parametrize(("name", "first", "season"), GRIDS)
def test_as_pandas(name: str, first: str, season: int) -> None:
    pd = pytest.importorskip("pandas")
    times = pd.date_range(first, periods=9, freq=name).to_numpy().astype("datetime64[us]")
    frequency = infer(times[:6], ZERO)
    assert frequency.name == name and parse(name) == frequency
    assert default_season(frequency) == season
    assert frequency.fits(times).all()
    np.testing.assert_array_equal(frequency.times(frequency.units(times)), times)
    np.testing.assert_array_equal(frequency.after(times[5:6], 3)[0], times[6:])
    np.testing.assert_array_equal(positions(frequency, one_series(times[[0, 2, 5]])), [0, 2, 5])


@pytest.mark.parametrize(("times", "name"), [([1, 2, 4], "1"), ([0, 5, 15], "5"), ([1990, 1991, 1992], "1")])
def test_integers(times: list[int], name: str) -> None:
    frequency = infer(np.array(times), ZERO)
    assert frequency.name == name and default_season(frequency) == 1
    assert frequency.after(np.array([times[-1]]), 2).tolist() == [[times[-1] + int(name) * k for k in (1, 2)]]


def test_gaps_and_several_series() -> None:
    times = np.array(["2020-01-31", "2020-04-30", "2019-06-30", "2020-02-29", "2020-03-31"], "M8[us]")
    assert infer(times, np.array([0, 2])).name == "ME"
    times = np.array(["2020-03-06", "2020-03-10", "2020-03-11"], "M8[us]")  # Friday, Tuesday, Wednesday
    assert infer(times, ZERO).name == "B"
    assert positions(parse("B"), one_series(times)).tolist() == [0, 2, 3]
    assert infer(times[1:], ZERO).name == "D"  # no weekend in sight


@pytest.mark.parametrize(("old", "new"), [("M", "ME"), ("Q", "QE"), ("A", "YE"), ("H", "h"), ("T", "min"), ("S", "s")])
def test_old_names(old: str, new: str) -> None:
    assert parse(old) == parse(new)


@pytest.mark.parametrize("name", ["W-MON", "QS-FEB", "YE-DEC"])
def test_anchors_are_where_the_series_starts(name: str) -> None:
    assert parse(name) == parse(name.split("-")[0])


@pytest.mark.parametrize("name", ["", "month", "0D", "-1", "1.5h", "D2", 3])
def test_unknown_names(name: Any) -> None:
    with pytest.raises(InputError, match=r"freq is .*, expected MS, ME"):
        parse(name)


def test_nothing_to_infer_from() -> None:
    with pytest.raises(InputError, match="give it with --freq"):
        infer(np.array([1, 1]), np.array([0, 1]))


def test_a_doubtful_grid() -> None:
    times = np.array(["2020-01-15", "2020-02-15", "2020-03-16", "2020-04-15"], "M8[us]")
    with pytest.raises(InputError, match=r"look like 'D', but 96% of the steps would be missing"):
        infer(times, ZERO, "x.csv")


@pytest.mark.parametrize(
    ("freq", "times", "off"),
    [
        ("MS", ["2020-01-01", "2020-02-02"], "2020-02-02"),
        ("ME", ["2020-01-31", "2020-02-28"], "2020-02-28"),
        ("B", ["2020-03-06", "2020-03-07"], "2020-03-07"),
        ("W", ["2020-03-06", "2020-03-14"], "2020-03-14"),
        ("h", ["2020-03-06 00:00", "2020-03-06 01:30"], "2020-03-06 01:30:00"),
        ("QS", ["2020-01-01", "2020-03-01"], "2020-03-01"),
        ("D", [1, 2], "1"),
        ("1", ["2020-03-06", "2020-03-14"], "2020-03-06"),
    ],
)
def test_off_the_grid(freq: str, times: list[Any], off: str) -> None:
    table = Table({"unique_id": ["shop"] * 2, "ds": times, "y": [1.0, 2.0]})
    with pytest.raises(InputError, match=f"ds {off} of series shop is not on the grid '{freq}'"):
        make_panel(table, parse(freq), 1)


def test_gaps_become_missing_values() -> None:
    ds = ["2020-01-31", "2020-02-29", "2020-05-31", "2020-04-30", "2020-05-31"]
    table = Table({"unique_id": list("aaabb"), "ds": ds, "y": [1, 2, 5, 40, 50]})
    panel = make_panel(table, infer(table.times, table.starts), 1)
    nan = np.nan
    np.testing.assert_array_equal(panel.y, [[1, 2, nan, nan, 5], [nan, nan, nan, 40, 50]])
    assert panel.lengths.tolist() == [5, 2]
    assert format_times(panel.before(2).present) == ["2020-03-31", "2020-03-31"]


def test_times_as_text() -> None:
    assert format_times(np.array([3, 4])) == ["3", "4"]
    assert format_times(np.array(["2020-01-01"], "M8[us]")) == ["2020-01-01"]
    assert format_times(np.array(["2020-01-01T10:00"], "M8[us]")) == ["2020-01-01 10:00:00"]
