"""``grus classify predict``: a model and sequences in, their classes out. Never needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grus.cli import shared
from grus.cli.classify import data as classify_data
from grus.errors import InputError
from grus.files import check_output, is_piped, write_whole

EPILOG = f"""\
examples:
  grus classify predict model.safetensors reviews.csv -o classes.csv --proba
  grus classify predict model.safetensors --text "A film to remember." --text "Dull."
  cat texts.txt | grus classify predict model.safetensors

{classify_data.FORMATS}
The output has the columns unique_id (where the data has none: the number of the sequence, from 1) and label; with
--proba one more for each class; where every step has a label a row a step, with step (from 1) and, of text, token.
"""


def add(verbs: Any) -> None:
    what = "Give the class of each text or series, or of each of its steps."
    parser = shared.verb(verbs, "predict", run, "the classes of texts or series", what, EPILOG)
    shared.add_model(parser, "classify")
    shared.add_data(parser, classify_data.DATA, nargs="?")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="a .csv or .jsonl file (default: show them)")
    parser.add_argument("--text", action="append", metavar="TEXT", help="a text in the place of DATA; may be repeated")
    parser.add_argument("--proba", action="store_true", help="also the probability of every class")
    classify_data.add_longest(parser)
    classify_data.add_columns(parser)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    if options.data is None and options.text is None and is_piped():
        options.data = shared.data("-")
    if (options.data is None) == (options.text is None):
        raise InputError("expected either DATA or --text, one of them (see grus classify predict --help)")
    data = None if options.data is None or options.data.is_dir() else options.data
    check_output("--output", options.output, options.model, data, suffixes=(".csv", ".jsonl"))

    from grus.model import load
    from grus.tasks.classify import rows
    from grus.tasks.classify.examples import Examples
    from grus.tasks.classify.predict import reading

    shared.set_threads(options.threads)
    model = reading(load(options.model), options.longest)
    if options.text is not None:
        examples = Examples("text", options.text, where=["--text"] * len(options.text))
    else:
        examples = classify_data.read(options.data, options, lines=True)
    found = rows.of(model, examples, proba=options.proba)
    if options.output is None:
        plain = examples.kind == "text" and examples.ids is None and examples.labels is None
        print(rows.as_text(found) if plain else rows.as_csv(found).removesuffix("\n"))
        return 0
    lines = options.output.suffix.lower() == ".jsonl"
    write_whole(options.output, (rows.as_json_lines(found) if lines else rows.as_csv(found)).encode())
    print(f"{options.output}: {shared.count(len(examples), 'sequence')}, {shared.count(len(found), 'row')}")
    return 0
