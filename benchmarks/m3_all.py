"""make accuracy: all 3,003 series of the M3 competition, one GRU model for each period, beside other methods.

Each model sees the official training part of its period alone. Beside the horizon and the season, which the competition
names, only the number of layers differs between periods; it was chosen on the ends of the training parts. Theta and
dynamic optimised Theta are run by statsforecast on the same data; the other rows are published. Results go to
benchmarks/results/m3.json and, as a table, to the terminal and into docs/accuracy.md.

    python benchmarks/m3_all.py [--members 8] [--output benchmarks/results/m3.json]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import grus
from grus.errors import InputError
from grus.files import write_whole
from grus.tasks.forecast import Architecture, Forecaster, Table
from grus.tasks.forecast.baselines import naive, seasonal_naive
from grus.tasks.forecast.metrics import coverage, scaled, smape

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from datasets import M3Series, long_table, m3

PERIODS = {"YEARLY": (6, 1), "QUARTERLY": (8, 4), "MONTHLY": (18, 12), "OTHER": (8, 1)}  # horizon, season
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Average sMAPE over all 3,003 series, as published: the first two in Makridakis & Hibon 2000, the last in Oreshkin et
# al. 2020 (arXiv:1905.10437). Makridakis & Hibon's Theta is 12.76 when its forecasts are measured again (R. Hyndman).
PUBLISHED = {"ForecastPro (published)": 13.19, "Theta (published)": 13.01, "N-BEATS ensemble (published)": 12.37}

# What the GRU must reach on all series, or the run ends with status 1.
SERIES, MOST_SMAPE = 3003, 13.0

RESULTS = Path(__file__).parent / "results" / "m3.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "accuracy.md"
BEGIN, END = "<!-- m3: written by make accuracy -->", "<!-- m3: end -->"

Floats = NDArray[np.float64]
Scores = dict[str, Floats]  # measure -> one value a series


def score(series: list[M3Series], forecasts: Floats, season: int, interval: Floats | None = None) -> Scores:
    """forecasts [N, h] and perhaps interval [N, h, 2] against the test parts; MASE's season where it fits the data."""
    actual = np.array([s.test for s in series])
    longest = max(len(s.train) for s in series)
    history = np.full((len(series), longest), np.nan)
    for row, one in enumerate(series):
        history[row, longest - len(one.train) :] = one.train
    scores = {"sMAPE": smape(actual, forecasts), "MASE": scaled(actual, forecasts, history, season)}
    if interval is not None:
        scores["80% coverage"] = coverage(actual, interval[..., 0], interval[..., 1])
    return scores


def gru(series: list[M3Series], horizon: int, season: int, members: int) -> Scores:
    architecture = Architecture(num_layers=2 if season > 1 else 1, members=members)
    forecaster = Forecaster(horizon, season=season, quantiles=QUANTILES, architecture=architecture)
    forecast = forecaster.fit(Table(long_table(series, test=False)), progress=True).predict()
    order = {str(name): i for i, name in enumerate(dict.fromkeys(map(str, forecast["unique_id"].tolist())))}
    rows = [order[s.name] for s in series]
    low, middle, high = (forecast[name].reshape(-1, horizon)[rows] for name in ("q0.1", "q0.5", "q0.9"))
    return score(series, middle, season, np.stack([low, high], axis=-1))


def simple(series: list[M3Series], horizon: int, season: int) -> dict[str, Scores]:
    longest = max(len(s.train) for s in series)
    y = np.array([[np.nan] * (longest - len(s.train)) + s.train for s in series])
    return {
        "seasonal naive": score(series, seasonal_naive(y, horizon, season), season),
        "naive": score(series, naive(y, horizon), season),
    }


def theta(series: list[M3Series], horizon: int, season: int) -> dict[str, Scores]:
    """Theta and dynamic optimised Theta by statsforecast; nothing where it is not installed."""
    try:
        from statsforecast.models import DynamicOptimizedTheta, Theta
    except ImportError:
        return {}
    results = {}
    for name, method in (("Theta", Theta), ("dynamic optimised Theta", DynamicOptimizedTheta)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forecasts = [method(season_length=season).forecast(np.array(s.train), horizon)["mean"] for s in series]
        results[f"{name} (statsforecast)"] = score(series, np.array(forecasts), season)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="M3, all series: one GRU model for each period, beside other methods.")
    parser.add_argument("--members", type=int, default=8, help="networks in each ensemble (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    everything = m3()
    found: dict[str, dict[str, Scores]] = {}
    seconds: dict[str, float] = {}
    for period, (horizon, season) in PERIODS.items():
        series = [s for s in everything if s.period == period]
        print(f"{period}: {len(series):,} series, horizon {horizon}", flush=True)
        begin = time.perf_counter()
        methods = {"GRU": gru(series, horizon, season, options.members)}
        seconds[period] = time.perf_counter() - begin
        for name, scores in (methods | theta(series, horizon, season) | simple(series, horizon, season)).items():
            found.setdefault(name, {})[period] = scores
    rows = [{"model": name} | _row(scores) for name, scores in found.items()]
    rows += [{"model": name, "sMAPE": {"ALL": value}} for name, value in PUBLISHED.items()]
    rows.sort(key=lambda row: row["sMAPE"]["ALL"])
    record = {
        "command": "make accuracy",
        "date": dt.date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "threads": grus.get_num_threads(),
        "members": options.members,
        "training seconds": {k: round(v, 1) for k, v in seconds.items()},
        "rows": rows,
    }
    write_whole(options.output, (json.dumps(record, indent=1) + "\n").encode())
    text = table(rows)
    if options.output == RESULTS:
        put_in_docs(text)
    print(f"\n{text}\n")
    print(f"training and forecasting with the GRUs took {sum(seconds.values()):.0f} s; {options.output} is written")
    smape_of_all = next(row["sMAPE"]["ALL"] for row in rows if row["model"] == "GRU")
    if not smape_of_all <= MOST_SMAPE and len(everything) == SERIES:
        sys.exit(f"error: sMAPE of the GRU is {smape_of_all:.2f}, expected at most {MOST_SMAPE:.2f}")


def _row(periods: dict[str, Scores]) -> dict[str, dict[str, float]]:
    """measure -> period -> mean over its series; "ALL" is the mean over all series."""
    row: dict[str, dict[str, float]] = {}
    for measure in next(iter(periods.values())):
        values = {period: scores[measure] for period, scores in periods.items()}
        values["ALL"] = np.concatenate(list(values.values()))
        row[measure] = {period: round(float(np.nanmean(v)), 4) for period, v in values.items()}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: sMAPE of each period and of all, MASE and coverage of all; the best sMAPE first."""
    lines = ["| model | " + " | ".join(p.lower() for p in PERIODS) + " | all: sMAPE | MASE | 80 % coverage |"]
    lines.append("|---" * (len(PERIODS) + 4) + "|")
    for row in rows:
        cells = [f"{row['sMAPE'][p]:.2f}" if p in row["sMAPE"] else "–" for p in (*PERIODS, "ALL")]
        cells.append(f"{row['MASE']['ALL']:.2f}" if "MASE" in row else "–")
        cells.append(f"{100 * row['80% coverage']['ALL']:.1f}" if "80% coverage" in row else "–")
        lines.append(f"| {row['model']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def put_in_docs(text: str) -> None:
    """Replace the table between the two marks of docs/accuracy.md."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    write_whole(DOCUMENT, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}".encode())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
