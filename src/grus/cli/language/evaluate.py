"""``grus language evaluate``: how many bits a character of a text costs a model. Never needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grus.cli import shared
from grus.files import check_output

TEXT = "text files, read one after the other"

EPILOG = """\
example: grus language evaluate model.safetensors unseen.txt --train plays.txt -o report.json

The figures flatter where the model was trained on the text; what grus language fit held out it evaluates itself.
"""


def add(verbs: Any) -> None:
    what = "Predict every character of a text from those before it, and tell in bits how well that went."
    parser = shared.verb(verbs, "evaluate", run, "bits per character of a text, beside baselines", what, EPILOG)
    shared.add_model(parser, "language")
    shared.add_data(parser, TEXT, nargs="+", metavar="TEXT")
    what = "what the model was trained on: the table then has what an n-gram model and xz make of it"
    parser.add_argument("--train", type=Path, nargs="+", metavar="FILE", help=what)
    shared.add_encoding(parser)
    shared.add_report(parser)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    inputs = (options.model, *options.data, *(options.train or ()))
    check_output("--output", options.output, *inputs, suffixes=(".json",))

    from grus.model import load
    from grus.tasks.language.corpus import as_text
    from grus.tasks.language.evaluate import evaluate

    shared.set_threads(options.threads)
    text = as_text(options.data, options.encoding)
    train = None if options.train is None else as_text(options.train, options.encoding)
    shared.tell(evaluate(load(options.model), text, train), options.output)
    return 0
