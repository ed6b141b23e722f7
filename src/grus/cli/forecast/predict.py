"""``grus forecast predict``: a model and a table in, forecasts out. Never needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grus.cli import shared
from grus.cli.forecast import data as forecast_data
from grus.errors import InputError
from grus.files import check_outputs, write_whole

EPILOG = """\
examples:
  grus forecast predict model.safetensors sales.csv -o forecast.csv --plot forecast.png --plot-ids shop-1,shop-7
  grus forecast predict model.safetensors sales.csv --future-data prices.csv -o forecast.parquet
"""


def add(verbs: Any) -> None:
    what = "Forecast what follows the end of every series of a table."
    parser = shared.verb(verbs, "predict", run, "forecast what follows the end of every series", what, EPILOG)
    shared.add_model(parser, "forecast")
    shared.add_data(parser, forecast_data.DATA)
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="a CSV or Parquet file (default: show them)")
    parser.add_argument("--future-data", type=shared.data, metavar="FILE", help="covariates over the horizon")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="a picture of a few series and their forecasts")
    parser.add_argument("--plot-ids", type=shared.names, metavar="ID,…", help="the series in it (default: six of them)")
    forecast_data.add_columns(parser)
    forecast_data.add_strict(parser)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    from grus.tasks.forecast.tablefile import WRITTEN, as_csv

    inputs = (options.model, options.data, options.future_data)
    written = {"--output": options.output, "--plot": options.plot}
    check_outputs(written, *inputs, suffixes={"--output": WRITTEN, "--plot": (".png",)})
    if options.plot_ids is not None and options.plot is None:
        raise InputError("--plot-ids without --plot: name the picture to write with --plot")

    from grus.model import load
    from grus.tasks.forecast.predict import predict

    shared.set_threads(options.threads)
    model = load(options.model)
    table = forecast_data.read(options.data, options)
    future = None if options.future_data is None else forecast_data.read(options.future_data, options, target=False)
    forecast = predict(model, table, future, strict=options.strict)
    picture = None
    if options.plot is not None:
        from grus.tasks.forecast.plot import plot

        picture = plot(table, forecast, ids=options.plot_ids)
    if options.output is None:
        print(as_csv(forecast), end="")
    else:
        forecast.write(options.output)
    if picture is not None:
        write_whole(options.plot, picture)
    if options.output is None:
        return 0
    drawn = "" if picture is None else f"; picture: {options.plot}"
    print(f"{options.output}: {len(forecast.ids):,} series, {forecast.num_rows:,} rows{drawn}")
    return 0
