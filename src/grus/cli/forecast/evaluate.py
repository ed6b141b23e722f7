"""``grus forecast evaluate``: the last horizons hidden, forecast, and compared. Never needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grus.cli import shared
from grus.files import write_whole

EPILOG = """\
examples:
  grus forecast evaluate model.safetensors sales.csv
  grus forecast evaluate model.safetensors sales.csv --windows 3 -o report.json

The last horizon of every series is hidden and forecast from what comes before it. To judge a model by what it never
saw, train it on older rows than it is evaluated on, or use: grus forecast fit --backtest K
"""


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="compare a model's forecasts with what happened, and with naive forecasts",
        description="Hide the end of every series, forecast it, and put the errors beside those of naive forecasts.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file of grus forecast fit")
    parser.add_argument("data", type=shared.data, metavar="DATA", help="a CSV or Parquet file, - for standard input")
    parser.add_argument(
        "--windows",
        type=shared.positive,
        default=1,
        metavar="K",
        help="how many horizons to hide, one before the other (default: %(default)s)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="JSON", help="also write the report as JSON")
    shared.add_columns(parser)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    shared.check_output("--output", options.output, options.model, options.data, suffixes=(".json",))

    from grus.model import load
    from grus.tasks.forecast.evaluate import evaluate

    shared.set_threads(options.threads)
    report = evaluate(load(options.model), shared.read_table(options.data, options), windows=options.windows)
    if options.output is not None:
        write_whole(options.output, (report.to_json() + "\n").encode())
    print(report)
    return 0
