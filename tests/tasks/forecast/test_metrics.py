"""Metrics and baselines against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from grus.tasks.forecast import metrics
from grus.tasks.forecast.baselines import naive, seasonal_naive
from grus.tasks.forecast.report import Report

NAN = np.nan


def test_smape() -> None:
    actual, forecast = np.array([[100.0, 0.0, NAN, -50.0]]), np.array([[50.0, 0.0, 7.0, 50.0]])
    # 200·50/150, 0 where both are 0, left out, 200·100/100
    np.testing.assert_allclose(metrics.smape(actual, forecast), [(200 / 3 + 0 + 200) / 3])


def test_errors() -> None:
    actual, forecast = np.array([[1.0, NAN, 4.0], [NAN] * 3]), np.array([[3.0, 0.0, 3.0], [1.0] * 3])
    np.testing.assert_allclose(metrics.absolute(actual, forecast), [1.5, NAN])
    np.testing.assert_allclose(metrics.squared(actual, forecast), [2.5, NAN])


def test_mase() -> None:
    history = np.array([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0], [NAN, NAN, 1.0, NAN]])
    # season 2: |3 - 1| = 2 and |6 - 2| = 4 are 3 on average
    np.testing.assert_allclose(metrics.seasonal_error(history, 2), [3.0, 0.0, NAN])
    scaled = metrics.scaled(np.full((3, 1), 9.0), np.full((3, 1), 3.0), history, 2)
    np.testing.assert_allclose(scaled, [2.0, NAN, NAN])
    assert np.isnan(metrics.seasonal_error(history, 4)).all()


def test_coverage() -> None:
    actual = np.array([[1.0, 2.0, 3.0, NAN, 5.0]])
    inside = metrics.coverage(actual, np.full((1, 5), 2.0), np.full((1, 5), 3.0))
    np.testing.assert_allclose(inside, [0.5])


def test_pinball() -> None:
    actual, forecasts = np.array([[10.0, NAN]]), np.array([[[8.0, 13.0], [0.0, 0.0]]])
    # level 0.1: 0.1 · 2; level 0.9: 0.1 · 3
    np.testing.assert_allclose(metrics.pinball(actual, forecasts, (0.1, 0.9)), [(0.2 + 0.3) / 2])


def test_baselines() -> None:
    y = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, NAN], [NAN, NAN, NAN, NAN, 7.0, 8.0], [NAN] * 6])
    np.testing.assert_array_equal(naive(y, 2), [[5, 5], [8, 8], [NAN, NAN]])
    # season 3: the phases after column 5 are those of columns 3, 4 and (5 is missing) 2
    np.testing.assert_array_equal(seasonal_naive(y, 5, 3)[0], [4, 5, 3, 4, 5])
    np.testing.assert_array_equal(seasonal_naive(y, 3, 3)[1], [8, 7, 8])  # the phase of column 3 was never seen
    assert np.isnan(seasonal_naive(y, 3, 3)[2]).all()
    np.testing.assert_array_equal(seasonal_naive(y, 2, 1), naive(y, 2))
    np.testing.assert_array_equal(seasonal_naive(y[:1], 1, 12), [[5]])  # shorter than a season


@pytest.fixture
def report() -> Report:
    rows = (
        {"model": "GRU", "sMAPE": 12.345, "80% coverage": 0.8123},
        {"model": "naive", "sMAPE": 20.0, "80% coverage": None},
    )
    return Report(rows, ("mind this",))


def test_report(report: Report) -> None:
    assert str(report).splitlines() == [
        "model  sMAPE  80% coverage",
        "GRU    12.35         81.2%",
        "naive  20.00             -",
        "note: mind this",
    ]
    assert report.to_csv() == "model,sMAPE,80% coverage\nGRU,12.345,0.8123\nnaive,20.0,\n"
    assert '"notes": [\n    "mind this"\n  ]' in report.to_json()
    assert report["naive"]["sMAPE"] == 20.0
    with pytest.raises(KeyError):
        report["Theta"]
