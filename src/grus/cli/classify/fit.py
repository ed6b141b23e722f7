"""``grus classify fit``: labelled sequences in, a model file out."""

from __future__ import annotations

import argparse
from typing import Any

from grus.cli import fitting, shared
from grus.cli import options as settings
from grus.cli.classify import data as classify_data
from grus.errors import InputError
from grus.tasks.classify.files import train_and_test
from grus.tasks.classify.settings import Settings
from grus.training.torchrun import is_first

NO_MODEL = (".csv", ".tsv", ".parquet", ".pq", ".json", ".jsonl", ".ts", ".npz", ".txt")  # said to be something else

EPILOG = f"""\
examples:
  grus classify fit reviews.csv -o model.safetensors --test reviews_test.csv
  grus classify fit Vowels_TRAIN.ts -o model.safetensors --test Vowels_TEST.ts --compare-lstm
  grus classify fit tagged.csv -o model.safetensors --token-col word --label-col tag

{classify_data.FORMATS}
After Ctrl-C the same command with --resume goes on.
"""


def add(verbs: Any) -> None:
    what = "Train a GRU that gives the class of a text or series, or of each of its steps."
    parser = shared.verb(verbs, "fit", run, "train a model on labelled texts or series", what, EPILOG)
    shared.add_data(parser, classify_data.DATA)
    parser.add_argument("--test", type=shared.data, metavar="DATA", help="then evaluate on these, beside baselines")
    parser.add_argument("--compare-lstm", action="store_true", help="with --test: also train an LSTM of like size")
    classify_data.add_columns(parser)
    fitting.add(parser, Settings)


def run(options: argparse.Namespace) -> int:
    chosen = settings.settings(options, Settings)
    options.data, beside = train_and_test(options.data)
    options.test = options.test or beside
    if options.compare_lstm and options.test is None:
        raise InputError("--compare-lstm needs --test DATA, on which the two are compared")
    inputs = (options.data, options.test, options.vocabulary)
    files = fitting.Files(options, [path for path in inputs if path is not None], NO_MODEL)
    data = classify_data.read(options.data, options)
    test = None if options.test is None else classify_data.read(options.test, options)
    if test is not None:
        from grus.tasks.classify.prepare import check_alike

        check_alike(data, test)
    fitting.use_torch(options.threads)
    from grus.tasks.classify.fit import fit, fit_networks

    fitted = fitting.train(files, fit, data, chosen)
    others = {}
    if options.compare_lstm:
        from grus.torch.network.peers import lstm_of_equal_parameters as lstm

        other = fit_networks(data, chosen, recurrent=lstm, progress=not options.quiet, device=options.device)
        if is_first():
            others["LSTM of equal parameters"] = other.predict_proba(test)
    if test is not None and is_first():
        from grus.tasks.classify.evaluate import evaluate

        shared.show(evaluate(fitted.model, test, data, others=others))
    return 0
