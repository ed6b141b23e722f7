"""``grus forecast fit``: a table of series in, a model file out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import fitting, shared

if TYPE_CHECKING:
    from grus.tasks.fitted import Fitted
    from grus.tasks.forecast.settings import Settings
    from grus.tasks.forecast.table import Table

NO_MODEL = (".csv", ".tsv", ".parquet", ".pq", ".json", ".png")  # endings that say a file is something else

EPILOG = """\
examples:
  grus forecast fit sales.csv --horizon 18 -o model.safetensors
  grus forecast fit sales.csv --horizon 14 --future price,holiday --static shop -o model.safetensors
  grus forecast fit sales.csv --horizon 18 -o model.safetensors --backtest 3
  grus forecast fit sales.csv --horizon 18 -o model.safetensors --resume    (after Ctrl-C)
  torchrun --nproc-per-node 2 -m grus forecast fit sales.csv --horizon 18 -o model.safetensors

The table has one row for each series and time: unique_id, ds, y, and covariates. An empty y is a missing value.
Ctrl-C leaves MODEL.checkpoint, from which --resume ends at the same weights as a run that was never broken off.
"""


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "fit",
        help="train a model on a table of series",
        description="Train one GRU on all series of a table and write it to one file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("data", type=shared.data, metavar="DATA", help="a CSV or Parquet file, - for standard input")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model file to write")
    parser.add_argument("--horizon", type=shared.positive, required=True, metavar="H", help="steps ahead to forecast")
    _add_series(parser.add_argument_group("the series"))
    shared.add_columns(parser)
    _add_training(parser.add_argument_group("the network and its training"))
    parser.add_argument(
        "--backtest",
        type=shared.positive,
        metavar="K",
        help="then train on all but the last K horizons, forecast these, and compare with naive forecasts",
    )
    fitting.add(parser, device=False)


def _add_series(group: Any) -> None:
    some = shared.names
    group.add_argument("--window", type=shared.positive, metavar="W", help="steps to look back (default: by the data)")
    group.add_argument(
        "--quantiles",
        type=shared.floats,
        default=(0.1, 0.5, 0.9),
        metavar="Q,…",
        help="levels to forecast, the median is always one (default: 0.1,0.5,0.9)",
    )
    group.add_argument("--past", type=some, default=(), metavar="A,…", help="columns known up to the present")
    group.add_argument("--future", type=some, default=(), metavar="B,…", help="columns known over the horizon too")
    group.add_argument("--static", type=some, default=(), metavar="C,…", help="columns with one value a series")
    group.add_argument("--freq", metavar="F", help="the step, as pandas names it: MS, D, h, … (default: by the data)")
    group.add_argument("--season", type=shared.positive, metavar="S", help="steps in a cycle (default: by the step)")
    group.add_argument(
        "--scale",
        choices=("auto", "log", "linear"),
        default="auto",
        help="log: for positive data whose spread grows with its level (default: auto, by the data)",
    )


def _add_training(group: Any) -> None:
    from grus.tasks.forecast.settings import Architecture, Optimiser, Trainer

    architecture, optimiser, trainer = Architecture(), Optimiser(), Trainer()
    size = shared.positive
    group.add_argument(
        "--hidden-size", type=size, default=architecture.hidden_size, metavar="N", help="units (default: %(default)s)"
    )
    group.add_argument(
        "--layers", type=size, default=architecture.num_layers, metavar="N", help="GRU layers (default: %(default)s)"
    )
    group.add_argument(
        "--members",
        type=size,
        default=architecture.members,
        metavar="N",
        help="networks whose mean is the forecast (default: %(default)s)",
    )
    group.add_argument(
        "--steps", type=size, default=trainer.steps, metavar="N", help="training steps at most (default: by the data)"
    )
    group.add_argument(
        "--batch-size",
        type=size,
        default=optimiser.batch_size,
        metavar="N",
        help="series a step, in each process (default: %(default)s)",
    )
    group.add_argument(
        "--learning-rate",
        type=float,
        default=optimiser.learning_rate,
        metavar="R",
        help="the highest rate of the schedule (default: %(default)s)",
    )
    group.add_argument(
        "--seed", type=int, default=trainer.seed, metavar="N", help="of all that is random (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    files = fitting.Files(options, [options.data], NO_MODEL)
    table = shared.read_table(options.data, options)
    if options.backtest is not None:
        from grus.tasks.forecast.backtest import plan

        plan(table, settings, options.backtest)  # raises now what would end the backtest after the training
    fitting.use_torch(options.threads)
    from grus.tasks.forecast.fit import fit
    from grus.training import distributed

    distributed.start()
    resume, metrics, begin = fitting.resumes(files), fitting.open_metrics(options), time.perf_counter()
    with fitting.ending(files):
        fitted = fit(
            table, settings, progress=not options.quiet, checkpoint=files.checkpoint, resume=resume, metrics=metrics
        )
    if fitting.is_first():
        files.write(fitted.model, fitted.history)
        took = f"{time.perf_counter() - begin:.0f} s" + " after the resume" * resume
        _tell(options, fitted, f"trained on {len(table.ids):,} series in {took}")
    if options.backtest is not None:
        _backtest(table, settings, options)
    return 0


def _tell(options: argparse.Namespace, fitted: Fitted, how: str) -> None:
    from grus.tasks.forecast.predict import task_of

    if not options.quiet:
        task = task_of(fitted.model)
        print(
            f"{options.output}: {fitted.model.num_parameters:,} weights, {how} (window {task.window}, "
            f"frequency {task.frequency}, season {task.season}, {task.scale} scale)",
            flush=True,
        )


def _backtest(table: Table, settings: Settings, options: argparse.Namespace) -> None:
    """All processes train its model, as they did the one that was written; the first prints the report."""
    from grus.tasks.forecast.backtest import backtest
    from grus.training.interrupt import Interrupted

    try:
        report = backtest(table, settings, options.backtest, progress=not options.quiet)
    except Interrupted as stop:
        raise Interrupted(f"{stop} of the backtest; {options.output} is written") from None
    if fitting.is_first():
        print(report)


def _settings(options: argparse.Namespace) -> Settings:
    from grus.tasks.forecast.settings import Architecture, Optimiser, Settings, Trainer

    return Settings(
        horizon=options.horizon,
        window=options.window,
        quantiles=options.quantiles,
        past=options.past,
        future=options.future,
        static=options.static,
        freq=options.freq,
        season=options.season,
        scale=options.scale,
        architecture=Architecture(options.hidden_size, options.layers, options.members),
        optimiser=Optimiser(learning_rate=options.learning_rate, batch_size=options.batch_size),
        trainer=Trainer(steps=options.steps, seed=options.seed),
    )
