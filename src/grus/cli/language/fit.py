"""``grus language fit``: a text in, a model file out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import fitting, shared
from grus.cli.language.evaluate import add_encoding

if TYPE_CHECKING:
    from grus.tasks.fitted import Fitted
    from grus.tasks.language.corpus import Split
    from grus.tasks.language.settings import Settings

NO_MODEL = (".txt", ".json", ".jsonl", ".csv", ".md")  # endings that say a file is something else

EPILOG = """\
examples:
  grus language fit plays.txt -o model.safetensors
  grus language fit plays.txt poems.txt -o model.safetensors --epochs 20 --hidden-size 256 --dropout 0.2
  grus language fit news.txt -o model.safetensors --tokens subwords --vocabulary-size 8000
  grus language fit plays.txt -o model.safetensors --resume    (after Ctrl-C)

The last 5 % of the text are held out: the table printed at the end is of them, beside a character n-gram model and the
compressor xz. Ctrl-C leaves MODEL.checkpoint, from which --resume ends at the same weights as a run that was never
broken off.
"""


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "fit",
        help="train a model on a text",
        description="Train a GRU to predict every character (or subword) of a text, and write it to one file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "data", type=shared.data, nargs="+", metavar="TEXT", help="text files, read one after the other"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model file to write")
    _add_text(parser.add_argument_group("the text"))
    _add_network(parser.add_argument_group("the network"))
    _add_training(parser.add_argument_group("its training"))
    fitting.add(parser)


def _add_text(group: Any) -> None:
    from grus.tasks.language.settings import TOKENS, Settings

    settings = Settings()
    group.add_argument(
        "--tokens",
        choices=TOKENS,
        default=settings.tokens,
        help="what the model reads and writes one of a step (default: %(default)s)",
    )
    group.add_argument(
        "--vocabulary-size",
        type=shared.positive,
        metavar="N",
        help="different tokens at most (default: 5000 characters, 4096 subwords)",
    )
    group.add_argument(
        "--held-out",
        type=float,
        default=settings.held_out,
        metavar="SHARE",
        help="of the text, at its end, to evaluate on alone (default: %(default)s)",
    )
    group.add_argument(
        "--validation",
        type=float,
        default=settings.validation,
        metavar="SHARE",
        help="of the rest, at its end, to choose the best weights by; 0 to train on all of it (default: %(default)s)",
    )
    add_encoding(group)


def _add_network(group: Any) -> None:
    from grus.tasks.language.settings import Architecture

    architecture, size = Architecture(), shared.positive
    group.add_argument(
        "--hidden-size", type=size, default=architecture.hidden_size, metavar="N", help="units (default: %(default)s)"
    )
    group.add_argument(
        "--layers", type=size, default=architecture.num_layers, metavar="N", help="GRU layers (default: %(default)s)"
    )
    group.add_argument(
        "--embedding-size", type=size, metavar="N", help="features of a token (default: 64 characters, 256 subwords)"
    )
    group.add_argument(
        "--tied",
        action=argparse.BooleanOptionalAction,
        help="one matrix for the embedding and the logits (default: with subwords)",
    )


def _add_training(group: Any) -> None:
    from grus.tasks.checks import PRECISIONS, SCHEDULES
    from grus.tasks.language.settings import Dropout, Optimiser, Trainer

    optimiser, trainer, size = Optimiser(), Trainer(), shared.positive
    length = group.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=size, metavar="N", help="times to read the text (default: by its length)")
    length.add_argument("--steps", type=size, metavar="N", help="training steps instead, one a window")
    for option, kind, default, metavar, what in (
        ("--window", size, trainer.window, "N", "tokens the gradient goes back through"),
        ("--batch-size", size, optimiser.batch_size, "N", "streams of text read side by side, in each process"),
        ("--accumulate", size, optimiser.accumulate, "N", "parts to compute them in, for less memory"),
        ("--learning-rate", float, optimiser.learning_rate, "R", "the highest rate of the schedule"),
        ("--weight-decay", float, optimiser.weight_decay, "R", "of AdamW"),
        ("--clip", float, optimiser.clip, "R", "the largest norm of a gradient"),
        ("--seed", int, trainer.seed, "N", "of all that is random"),
    ):
        group.add_argument(option, type=kind, default=default, metavar=metavar, help=f"{what} (default: %(default)s)")
    for option, choices, what in (
        ("schedule", SCHEDULES, "of the learning rate after its warm-up"),
        ("precision", PRECISIONS, "of products, on devices that have it"),
    ):
        default = getattr(optimiser, option)
        group.add_argument(f"--{option}", choices=choices, default=default, help=f"{what} (default: %(default)s)")
    for name, what in (
        ("output", "of each GRU's output"),
        ("input", "of its input"),
        ("recurrent", "of its state, where it is multiplied"),
        ("word", "of tokens: their whole embeddings"),
        ("weight", "of recurrent weights"),
    ):
        option = {"output": "--dropout", "weight": "--weight-drop"}.get(name, f"--{name}-dropout")
        group.add_argument(
            option,
            type=float,
            default=getattr(Dropout(), name),
            metavar="SHARE",
            help=f"{what}, one mask a window (default: %(default)s)",
        )


def run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    files = fitting.Files(options, options.data, NO_MODEL)
    from grus.tasks.language.corpus import as_text, split

    text = as_text(options.data, options.encoding)
    fitting.use_torch(options.threads)
    from grus.tasks.language.fit import fit
    from grus.training import distributed

    distributed.start(options.device)
    resume, metrics, begin = fitting.resumes(files), fitting.open_metrics(options), time.perf_counter()
    with fitting.ending(files):
        fitted = fit(
            text,
            settings,
            progress=not options.quiet,
            checkpoint=files.checkpoint,
            resume=resume,
            metrics=metrics,
            device=options.device,
        )
    if fitting.is_first():
        files.write(fitted.model, fitted.history)
        took = f"{time.perf_counter() - begin:.0f} s" + " after the resume" * resume
        _tell(options, fitted, split(text, settings), took)
    return 0


def _tell(options: argparse.Namespace, fitted: Fitted, parts: Split, took: str) -> None:
    if options.quiet:
        return
    from grus.tasks.language.evaluate import evaluate, task_of

    size = len(task_of(fitted.model).input.vocabulary)
    print(
        f"{options.output}: {fitted.model.num_parameters:,} weights, {size:,} {options.tokens}, trained on "
        f"{len(parts.train):,} characters in {took}",
        flush=True,
    )
    if parts.test:
        print(f"the {len(parts.test):,} characters held out at the end:", flush=True)
        print(evaluate(fitted.model, parts.test, parts.train + parts.validation))


def _settings(options: argparse.Namespace) -> Settings:
    from grus.tasks.language.settings import Architecture, Dropout, Optimiser, Settings, Trainer

    return Settings(
        tokens=options.tokens,
        vocabulary_size=options.vocabulary_size,
        held_out=options.held_out,
        validation=options.validation,
        architecture=Architecture(options.hidden_size, options.layers, options.embedding_size, options.tied),
        dropout=Dropout(
            options.dropout, options.input_dropout, options.recurrent_dropout, options.word_dropout, options.weight_drop
        ),
        optimiser=Optimiser(
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            batch_size=options.batch_size,
            clip=options.clip,
            schedule=options.schedule,
            accumulate=options.accumulate,
            precision=options.precision,
        ),
        trainer=Trainer(options.epochs, options.steps, options.window, options.seed),
    )
