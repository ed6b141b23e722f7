"""``grus classify predict``: a model and sequences in, their classes out. Never needs PyTorch."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import shared
from grus.cli.classify import data as classify_data
from grus.errors import InputError
from grus.files import write_whole

if TYPE_CHECKING:
    from grus.model import Model
    from grus.tasks.classify.examples import Examples

EPILOG = (
    """\
examples:
  grus classify predict model.safetensors reviews.csv -o classes.csv
  grus classify predict model.safetensors reviews.csv -o classes.csv --proba
  grus classify predict model.safetensors --text "A film to remember."

"""
    + classify_data.FORMATS
    + """
The output, CSV, or JSON lines where its name ends in .jsonl, has the columns unique_id (where the data has none: the
number of the sequence, from 1) and label; with --proba one more for each class. Where every step has a label there
is a row a step, with the columns step (from 1) and, of text, token.
"""
)


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "predict",
        help="the classes of texts or series",
        description="Give the class of each text or series, or of each of its steps.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file of grus classify fit")
    parser.add_argument("data", type=shared.data, nargs="?", metavar="DATA", help=classify_data.DATA)
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="the .csv or .jsonl file to write")
    parser.add_argument("--text", metavar="TEXT", help="one text, answered on standard output")
    parser.add_argument("--proba", action="store_true", help="also the probability of every class")
    classify_data.add_longest(parser)
    classify_data.add_data(parser)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    if (options.data is None) == (options.text is None):
        raise InputError("expected either DATA or --text, one of them (see grus classify predict --help)")
    if options.data is not None and options.output is None:
        raise InputError("DATA needs -o OUT: the file to write the classes to")
    if options.text is not None and options.output is not None:
        raise InputError("--text is answered on standard output: leave -o out")
    data = None if options.data is None or options.data.is_dir() else options.data
    shared.check_output("--output", options.output, options.model, data, suffixes=(".csv", ".jsonl"))

    from grus.model import load
    from grus.tasks.classify.examples import Examples

    shared.set_threads(options.threads)
    model = classify_data.reading(load(options.model), options)
    if options.text is not None:
        print(_rows_as_text(_rows(model, Examples("text", [options.text], where=["--text"]), options.proba)))
        return 0
    examples = classify_data.read(options.data, options)
    rows = _rows(model, examples, options.proba)
    lines = options.output.suffix.lower() == ".jsonl"
    write_whole(options.output, (_json_lines(rows) if lines else _csv(rows)).encode())
    print(f"{options.output}: {shared.count(len(examples), 'sequence')}, {shared.count(len(rows), 'row')}")
    return 0


def _rows(model: Model, examples: Examples, proba: bool) -> list[dict[str, Any]]:
    import numpy as np

    from grus.inputs.text import split_words
    from grus.tasks.classify.predict import predict_proba, task_of

    classes = task_of(model).classes
    found = predict_proba(model, examples)
    rows = []
    for i, p in enumerate(found):
        name = str(i + 1) if examples.ids is None else examples.ids[i]
        given = examples.inputs[i]
        tokens = split_words(given) if isinstance(given, str) else given
        for t, own in enumerate(np.atleast_2d(p)):
            row: dict[str, Any] = {"unique_id": name}
            if p.ndim == 2:
                row["step"] = t + 1
                if examples.kind != "series" and len(tokens) == len(p):
                    row["token"] = tokens[t]
            row["label"] = classes[int(own.argmax())]
            if proba:
                row |= {f"p({c})": round(float(v), 6) for c, v in zip(classes, own, strict=True)}
            rows.append(row)
    return rows


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _rows_as_text(rows: list[dict[str, Any]]) -> str:
    """A line for one label, or for each step, the most probable classes first where they are asked for."""
    lines = []
    for row in rows:
        shown = [row["token"]] if "token" in row else []
        shown.append(row["label"])
        p = sorted(((v, k[2:-1]) for k, v in row.items() if k.startswith("p(")), reverse=True)
        lines.append("\t".join([*shown, *(f"{name} {value:.4f}" for value, name in p)]))
    return "\n".join(lines)
