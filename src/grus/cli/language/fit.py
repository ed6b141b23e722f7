"""``grus language fit``: a text in, a model file out."""

from __future__ import annotations

import argparse
from typing import Any

from grus.cli import fitting, shared
from grus.cli import options as settings
from grus.cli.language.evaluate import TEXT
from grus.tasks.language.settings import Settings
from grus.training.torchrun import is_first

NO_MODEL = (".txt", ".json", ".jsonl", ".csv", ".md")  # endings that say a file is something else

EPILOG = """\
examples:
  grus language fit plays.txt poems.txt -o model.safetensors --epochs 20 --hidden-size 256 --dropout 0.2
  grus language fit names.txt -o model.safetensors --lines
  grus language fit news.txt -o model.safetensors --tokens subwords --vocabulary-size 8000

The last 5 % of the text are held out, and evaluated at the end. After Ctrl-C the same command with --resume goes on.
"""


def add(verbs: Any) -> None:
    what = "Train a GRU to predict every character (or subword) of a text, and write it to one file."
    parser = shared.verb(verbs, "fit", run, "train a model on a text", what, EPILOG)
    shared.add_data(parser, TEXT, nargs="+", metavar="TEXT")
    shared.add_encoding(parser)
    fitting.add(parser, Settings)


def run(options: argparse.Namespace) -> int:
    chosen = settings.settings(options, Settings)
    files = fitting.Files(options, options.data, NO_MODEL)
    from grus.tasks.language.corpus import as_corpus, split

    text = as_corpus(options.data, options.encoding, lines=chosen.lines)
    fitting.use_torch(options.threads)
    from grus.tasks.language.evaluate import evaluate
    from grus.tasks.language.fit import fit

    parts = split(text, chosen)
    fitted = fitting.train(files, fit, text, chosen)
    if parts.test and is_first() and not options.quiet:
        what = "texts held out" if chosen.lines else "characters held out at the end"
        print(f"the {len(parts.test):,} {what}:", flush=True)
        shared.show(evaluate(fitted.model, parts.test, parts.train + parts.validation))
    return 0
