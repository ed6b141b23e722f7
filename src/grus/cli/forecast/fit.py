"""``grus forecast fit``: a table of series in, a model file out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from grus.cli import fitting, shared
from grus.cli import options as settings
from grus.cli.forecast import data as forecast_data
from grus.tasks.forecast.settings import Settings
from grus.training.torchrun import is_first

if TYPE_CHECKING:
    from grus.tasks.forecast.table import Table

NO_MODEL = (".csv", ".tsv", ".parquet", ".pq", ".json", ".png")  # endings that say a file is something else

EPILOG = """\
examples:
  grus forecast fit sales.csv --horizon 14 --future price,holiday --static shop -o model.safetensors
  torchrun --nproc-per-node 2 -m grus forecast fit sales.csv --horizon 18 -o model.safetensors

The table has one row for each series and time: unique_id, ds, y, and covariates. An empty y is a missing value.
After Ctrl-C the same command with --resume goes on.
"""


def add(verbs: Any) -> None:
    what = "Train one GRU on all series of a table and write it to one file."
    parser = shared.verb(verbs, "fit", run, "train a model on a table of series", what, EPILOG)
    shared.add_data(parser, forecast_data.DATA)
    forecast_data.add_columns(parser)
    what = "then train on all but the last K horizons, forecast these, and compare with naive forecasts"
    parser.add_argument("--backtest", type=shared.positive, metavar="K", help=what)
    fitting.add(parser, Settings)


def run(options: argparse.Namespace) -> int:
    chosen = settings.settings(options, Settings)
    files = fitting.Files(options, [options.data], NO_MODEL)
    table = forecast_data.read(options.data, options)
    if options.backtest is not None:
        from grus.tasks.forecast.backtest import plan

        plan(table, chosen, options.backtest)  # raises now what would end the backtest after the training
    fitting.use_torch(options.threads)
    from grus.tasks.forecast.fit import fit

    fitting.train(files, fit, table, chosen)
    if options.backtest is not None:
        _backtest(table, chosen, options)
    return 0


def _backtest(table: Table, chosen: Settings, options: argparse.Namespace) -> None:
    """All processes train its model, as they did the one that was written; the first prints the report."""
    from grus.tasks.forecast.backtest import backtest
    from grus.training.interrupt import Interrupted

    try:
        report = backtest(table, chosen, options.backtest, progress=not options.quiet, device=options.device)
    except Interrupted as stop:
        raise Interrupted(f"{stop} of the backtest; {options.output} is written") from None
    if is_first():
        shared.show(report)
