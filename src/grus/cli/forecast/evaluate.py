"""``grus forecast evaluate``: the last horizons hidden, forecast, and compared. Never needs PyTorch."""

from __future__ import annotations

import argparse
from typing import Any

from grus.cli import shared
from grus.cli.forecast import data as forecast_data
from grus.files import check_output

EPILOG = """\
example: grus forecast evaluate model.safetensors sales.csv --windows 3 -o report.json

To judge a model by what it never saw, train it on older rows, or use: grus forecast fit --backtest K
"""


def add(verbs: Any) -> None:
    what = "Hide the end of every series, forecast it, and put the errors beside those of naive forecasts."
    parser = shared.verb(verbs, "evaluate", run, "compare a model's forecasts with what happened", what, EPILOG)
    shared.add_model(parser, "forecast")
    shared.add_data(parser, forecast_data.DATA)
    what = "horizons to hide, one before the other (default: %(default)s)"
    parser.add_argument("--windows", type=shared.positive, default=1, metavar="K", help=what)
    shared.add_report(parser)
    forecast_data.add_columns(parser)
    forecast_data.add_strict(parser)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    check_output("--output", options.output, options.model, options.data, suffixes=(".json",))

    from grus.model import load
    from grus.tasks.forecast.evaluate import evaluate

    shared.set_threads(options.threads)
    table = forecast_data.read(options.data, options)
    shared.tell(evaluate(load(options.model), table, options.windows, strict=options.strict), options.output)
    return 0
