"""``grus classify evaluate``: a model's classes held against the true ones. Never needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grus.cli import shared
from grus.cli.classify import data as classify_data
from grus.files import check_outputs, write_whole

EPILOG = f"""\
examples:
  grus classify evaluate model.safetensors reviews_test.csv --train reviews.csv -o report.json

{classify_data.FORMATS}
With --train, baselines learn from what the model was fitted to: the most frequent class; for texts TF-IDF with logistic
regression; for series the nearest neighbour and MiniROCKET.
"""


def add(verbs: Any) -> None:
    what = "Compare a model's classes with the true ones, and put its errors beside those of baselines."
    parser = shared.verb(verbs, "evaluate", run, "how often a model's classes are the true ones", what, EPILOG)
    shared.add_model(parser, "classify")
    shared.add_data(parser, f"{classify_data.DATA}, with labels")
    parser.add_argument("--train", type=shared.data, metavar="DATA", help="what baselines learn from")
    shared.add_report(parser)
    parser.add_argument("--plot", type=Path, metavar="PNG", help="a picture of which classes are taken for which")
    classify_data.add_longest(parser)
    classify_data.add_columns(parser)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    inputs = [path for path in (options.model, options.data, options.train) if path is not None and not path.is_dir()]
    written = {"--output": options.output, "--plot": options.plot}
    check_outputs(written, *inputs, suffixes={"--output": (".json",), "--plot": (".png",)})

    from grus.model import load
    from grus.tasks import pictures
    from grus.tasks.classify.evaluate import evaluate
    from grus.tasks.classify.files import part
    from grus.tasks.classify.predict import reading, task_of

    shared.set_threads(options.threads)
    model, data = reading(load(options.model), options.longest), classify_data.read(part(options.data, "test"), options)
    if options.plot is not None:
        pictures.check_confusion(len(task_of(model).classes))
    train = None if options.train is None else classify_data.read(part(options.train, "train"), options)
    report = evaluate(model, data, train)
    shared.tell(report, options.output)
    if options.plot is not None:
        accuracy = f"{options.model.name}: accuracy {report['GRU']['accuracy']:.4f}"
        picture = pictures.confusion([row["class"] for row in report.classes], report.confusion, accuracy)
        write_whole(options.plot, picture)
        print(f"\npicture: {options.plot}")
    return 0
