"""``grus classify fit``: labelled sequences in, a model file out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import fitting, shared
from grus.cli.classify import data as classify_data
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.tasks.classify.examples import Examples
    from grus.tasks.classify.fit import Trained
    from grus.tasks.classify.settings import Settings
    from grus.tasks.fitted import Fitted

NO_MODEL = (".csv", ".tsv", ".parquet", ".pq", ".json", ".jsonl", ".ts", ".npz", ".txt")  # said to be something else

EPILOG = (
    """\
examples:
  grus classify fit reviews.csv -o model.safetensors --test reviews_test.csv
  grus classify fit topics/ -o model.safetensors --members 3
  grus classify fit Vowels_TRAIN.ts -o model.safetensors --test Vowels_TEST.ts --compare-lstm
  grus classify fit tagged.csv -o model.safetensors --token-col word --label-col tag
  torchrun --nproc-per-node 2 -m grus classify fit reviews.csv -o model.safetensors

"""
    + classify_data.FORMATS
    + """
Ctrl-C leaves MODEL.checkpoint, from which --resume ends at the same weights as a run that was never broken off.
"""
)


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "fit",
        help="train a model on labelled texts or series",
        description="Train a GRU that gives the class of a text or series, or of each of its steps.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("data", type=shared.data, metavar="DATA", help=classify_data.DATA)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model file to write")
    parser.add_argument("--test", type=shared.data, metavar="DATA", help="then evaluate on these, beside baselines")
    parser.add_argument(
        "--compare-lstm", action="store_true", help="with --test: also train an LSTM of as many parameters"
    )
    classify_data.add_data(parser)
    _add_text(parser.add_argument_group("text"))
    _add_network(parser.add_argument_group("the network"))
    _add_training(parser.add_argument_group("the training"))
    fitting.add(parser)


def _add_text(group: Any) -> None:
    from grus.tasks.classify.settings import Settings

    default = Settings()
    group.add_argument(
        "--tokens",
        choices=("words", "characters", "subwords"),
        default=default.tokens,
        help="what a step of a text is (default: %(default)s)",
    )
    _integer(group, "--vocabulary-size", default.vocabulary_size, "different ones at most")
    _integer(group, "--least-count", default.least_count, "times a word must occur")
    group.add_argument("--case", action="store_true", help="tell capital letters from small ones")
    group.add_argument(
        "--vocabulary", type=Path, metavar="FILE", help="one word or character a line, or a tokenizer.json"
    )
    group.add_argument(
        "--longest",
        type=shared.natural,
        metavar="N",
        help="steps that are read, 0 for all (default: 1000 of a text, all of a series)",
    )


def _add_network(group: Any) -> None:
    from grus.tasks.classify.settings import Architecture

    default = Architecture()
    _integer(group, "--hidden-size", default.hidden_size, "units in each direction")
    _integer(group, "--layers", default.num_layers, "GRU layers")
    _integer(group, "--embedding-size", default.embedding_size, "numbers a word becomes")
    _integer(group, "--members", default.members, "networks whose mean is the output")
    group.add_argument("--forward", action="store_true", help="read forward alone, so that the model can be streamed")
    group.add_argument(
        "--pooling",
        choices=("last", "max", "mean", "attention"),
        default=default.pooling,
        help="what of the steps the class is read from (default: %(default)s)",
    )


def _add_training(group: Any) -> None:
    from grus.tasks.checks import PRECISIONS, SCHEDULES
    from grus.tasks.classify.settings import Optimiser, Trainer

    optimiser, trainer = Optimiser(), Trainer()
    group.add_argument(
        "--epochs", type=shared.positive, metavar="N", help="times to see the data at most (default: by the data)"
    )
    _integer(group, "--batch-size", optimiser.batch_size, "sequences a step, in each process")
    _integer(group, "--accumulate", optimiser.accumulate, "parts a batch is computed in, for less memory")
    _number(group, "--learning-rate", optimiser.learning_rate, "the highest rate of the schedule")
    _number(group, "--weight-decay", optimiser.weight_decay, "of AdamW")
    _number(group, "--clip", optimiser.clip, "the largest norm of a gradient")
    _number(group, "--average", trainer.average, "decay of the moving average of the weights, 0 for none")
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default=optimiser.schedule,
        help="(default: %(default)s)",
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=optimiser.precision,
        help="of products, on devices that have it (default: %(default)s)",
    )
    _number(group, "--validation", trainer.validation, "share held back to stop and to calibrate by, 0 for none")
    _integer(group, "--patience", trainer.patience, "looks at it, 20 in all, that may bring nothing new")
    group.add_argument("--refit", action="store_true", help="then train on all data, for as many epochs as were best")
    _number(group, "--dropout", trainer.dropout, "of the GRUs' outputs")
    _number(group, "--word-dropout", trainer.word_dropout, "of whole words")
    _number(group, "--input-dropout", trainer.input_dropout, "of what the first GRU reads")
    _number(group, "--label-smoothing", trainer.label_smoothing, "share of a label spread over all classes")
    group.add_argument(
        "--initial",
        choices=("uniform", "spread"),
        default=trainer.initial,
        help="weights to begin with; spread: for sequences of hundreds of steps (default: %(default)s)",
    )
    group.add_argument("--balanced", action="store_true", help="let rare classes count as much as frequent ones")
    group.add_argument(
        "--seed", type=int, default=trainer.seed, metavar="N", help="of all that is random (default: %(default)s)"
    )


def _integer(group: Any, option: str, default: int, what: str) -> None:
    group.add_argument(
        option, type=shared.positive, default=default, metavar="N", help=f"{what} (default: %(default)s)"
    )


def _number(group: Any, option: str, default: float, what: str) -> None:
    group.add_argument(option, type=float, default=default, metavar="R", help=f"{what} (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    settings = _settings(options)
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
    from grus.tasks.classify.fit import fit
    from grus.training import distributed

    distributed.start(options.device)
    resume, metrics, begin = fitting.resumes(files), fitting.open_metrics(options), time.perf_counter()
    with fitting.ending(files):
        fitted = fit(
            data,
            settings,
            progress=not options.quiet,
            checkpoint=files.checkpoint,
            resume=resume,
            metrics=metrics,
            device=options.device,
        )
    seconds = time.perf_counter() - begin
    if fitting.is_first():
        files.write(fitted.model, fitted.history)
        if not options.quiet:
            took = f"{seconds:.0f} s" + " after the resume" * resume
            print(_summary(options.output, fitted, data, took), flush=True)
    other = _lstm(data, settings, options) if options.compare_lstm else None
    if test is not None and fitting.is_first():
        from grus.tasks.classify.evaluate import evaluate

        others = {} if other is None else {"LSTM of equal parameters": other.predict_proba(test)}
        print(evaluate(fitted.model, test, data, others=others))
    return 0


def _summary(path: Path, fitted: Fitted, data: Examples, took: str) -> str:
    from grus.tasks.classify.predict import task_of

    found, held = task_of(fitted.model), fitted.validation
    line = (
        f"{path}: {fitted.model.num_parameters:,} weights, trained on {len(data):,} sequences in {took} "
        f"({len(found.classes)} classes, one a {found.labels})"
    )
    if held:
        line += (
            f"\nheld back: {held['sequences']:,} sequences, accuracy {held['accuracy']:.4f}, "
            f"log loss {held['log loss']:.4f}, temperature {found.temperature:.2f}"
        )
    return line


def _lstm(data: Examples, settings: Settings, options: argparse.Namespace) -> Trained:
    from grus.tasks.classify.fit import fit_networks
    from grus.torch.network.peers import lstm_of_equal_parameters

    progress, device = not options.quiet, options.device
    return fit_networks(data, settings, recurrent=lstm_of_equal_parameters, progress=progress, device=device)


def _settings(options: argparse.Namespace) -> Settings:
    from grus.tasks.classify.settings import Architecture, Optimiser, Settings, Trainer

    return Settings(
        tokens=options.tokens,
        vocabulary_size=options.vocabulary_size,
        least_count=options.least_count,
        lower=not options.case,
        vocabulary=options.vocabulary,
        longest=options.longest,
        architecture=Architecture(
            hidden_size=options.hidden_size,
            num_layers=options.layers,
            bidirectional=not options.forward,
            pooling=options.pooling,
            embedding_size=options.embedding_size,
            members=options.members,
        ),
        optimiser=Optimiser(
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            batch_size=options.batch_size,
            clip=options.clip,
            accumulate=options.accumulate,
            schedule=options.schedule,
            precision=options.precision,
        ),
        trainer=Trainer(
            epochs=options.epochs,
            validation=options.validation,
            patience=options.patience,
            refit=options.refit,
            dropout=options.dropout,
            word_dropout=options.word_dropout,
            input_dropout=options.input_dropout,
            average=options.average,
            class_weights="balanced" if options.balanced else None,
            label_smoothing=options.label_smoothing,
            initial=options.initial,
            seed=options.seed,
        ),
    )
