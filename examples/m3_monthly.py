"""The demo: a forecaster for the 1,428 monthly series of the M3 competition, from the data to one file.

Trains on the official training part alone, forecasts the official 18 months of test, prints the errors beside those of
other methods, draws a picture, and loads the model in a process where importing torch fails.

    python examples/m3_monthly.py [--output demo] [--members 5] [--quiet]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from datasets import M3, long_table, m3

from grus.errors import InputError
from grus.files import write_whole
from grus.tasks.forecast import Architecture, Forecaster, Report, Table
from grus.tasks.forecast.plot import plot

HORIZON, SEASON = 18, 12
LAYERS, MEMBERS, QUANTILES = 2, 5, (0.1, 0.25, 0.5, 0.75, 0.9)  # chosen on the last 18 months of the training part
# As published: Makridakis & Hibon 2000, average sMAPE of the monthly series over forecasting horizons 1 to 18.
THETA = {"model": "Theta (published)", "sMAPE": 13.85}
# What the demo must reach on all the monthly series, or it ends with status 1.
SERIES, MOST_SMAPE, LEAST_COVERAGE, MOST_COVERAGE = 1428, 14.0, 0.75, 0.85

WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
try:
    import torch
except ImportError:
    print("PyTorch cannot be imported in this process, as intended", flush=True)
from grus.cli import main
sys.exit(main(["forecast", "predict", *sys.argv[1:]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for what is written (default: demo)")
    parser.add_argument("--members", type=int, default=MEMBERS, help="networks in the ensemble (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args()
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)

    series = [s for s in m3() if s.period == "MONTHLY"]
    train, test = (Table(long_table(series, test=part)) for part in (False, True))
    whole = Table({name: [*train[name], *test[name]] for name in ("unique_id", "ds", "y")})
    train.write(folder / "m3_monthly_train.csv")
    whole.write(folder / "m3_monthly.csv")
    print(f"M3, monthly: {len(series):,} series, {train.num_rows:,} values to train on, {test.num_rows:,} to test on")
    print(f"data: {M3.credit}\n", flush=True)

    architecture = Architecture(num_layers=LAYERS, members=options.members)
    forecaster = Forecaster(HORIZON, season=SEASON, quantiles=QUANTILES, architecture=architecture)
    begin = time.perf_counter()
    forecaster.fit(train, progress=not options.quiet)
    seconds = time.perf_counter() - begin
    model = folder / "m3_monthly.safetensors"
    forecaster.save(model)
    size = model.stat().st_size / 1024
    print(f"trained in {seconds:.0f} s: {model}, {forecaster.model_.num_parameters:,} weights, {size:.0f} KB\n")

    report = forecaster.evaluate(whole)
    theta = {name: THETA.get(name) for name in report.rows[0]}
    keep = ("model", "sMAPE", "MASE", "80% coverage", "points")
    rows = [{name: row[name] for name in keep} for row in (*report.rows, theta)]
    rows[-1]["points"] = report.rows[0]["points"]
    report = Report(tuple(rows), (*report.notes, "Theta: as Makridakis & Hibon 2000 publish it, not run here"))
    write_whole(folder / "m3_monthly.json", (report.to_json() + "\n").encode())
    print(f"the {HORIZON} months after each series' end, official test part\n{report}\n")

    forecast = forecaster.predict()
    shown = [s.name for s in series[:: len(series) // 6][:6]]
    picture = plot(train, forecast, ids=shown, actual=whole, title="M3, monthly: 18 months ahead")
    write_whole(folder / "m3_monthly.png", picture)
    print(f"picture: {folder / 'm3_monthly.png'}\n")
    again_without_torch(folder, model, forecast, shown[0])
    missed = missed_bars(report["GRU"])
    if missed and len(series) == SERIES:
        sys.exit(f"error: {'; '.join(missed)}")


def missed_bars(row: dict[str, Any]) -> list[str]:
    """Of a report's row, what is not as good as it must be."""
    missed = []
    if not row["sMAPE"] <= MOST_SMAPE:
        missed.append(f"sMAPE is {row['sMAPE']:.2f}, expected at most {MOST_SMAPE:.2f}")
    if not LEAST_COVERAGE <= row["80% coverage"] <= MOST_COVERAGE:
        share = f"{row['80% coverage']:.1%}"
        missed.append(f"the 80 % interval covers {share}, expected {LEAST_COVERAGE:.0%} to {MOST_COVERAGE:.0%}")
    return missed


def again_without_torch(folder: Path, model: Path, forecast: Table, name: str) -> None:
    """Forecast again in a process where importing torch fails, and compare."""
    output = folder / "m3_monthly_forecast.csv"
    print(f"grus forecast predict {model} {folder / 'm3_monthly_train.csv'} -o {output}    (torch blocked)", flush=True)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(model), str(folder / "m3_monthly_train.csv"), "-o", str(output)]
    subprocess.run(command, check=True)
    again = Table.read(output, target=False)
    quantiles = {c: again.numeric(c) for c in forecast if c.startswith("q")}
    same = all((values == forecast[c]).all() for c, values in quantiles.items())
    for i in [i for i, other in enumerate(forecast["unique_id"]) if other == name][:3]:
        values = "  ".join(f"{c} {column[i]:.1f}" for c, column in quantiles.items())
        print(f"  {name}  ds {again['ds'][i]}  {values}")
    print(f"the same forecasts as in training, to the last bit: {'yes' if same else 'NO'}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        print(f"{stop or 'interrupted'}: nothing of the training is kept, the demo starts over", file=sys.stderr)
        sys.exit(130)
