"""The command line: ``grus TASK fit|…`` for forecast, classify and language, and what is done with a model: export,
import, info, verify, stream.

Exit status: 0 done; 1 an export that does not agree with its model; 2 bad input, told in one line on stderr;
130 interrupted. GRUS_DEBUG=1 shows tracebacks.

May import: everything, within the verb that needs it, so that the command starts at once. Begin with ``fitting``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from grus.cli import config, export, import_file, info, names, stream, verify
from grus.cli.classify import evaluate as classify_evaluate
from grus.cli.classify import fit as classify_fit
from grus.cli.classify import predict as classify_predict
from grus.cli.forecast import evaluate as forecast_evaluate
from grus.cli.forecast import fit as forecast_fit
from grus.cli.forecast import predict as forecast_predict
from grus.cli.language import evaluate as language_evaluate
from grus.cli.language import fit as language_fit
from grus.cli.language import generate as language_generate
from grus.errors import InputError

__all__ = ["main"]

FORECAST = """\
a forecaster in three lines:
  grus forecast fit sales.csv --horizon 18 -o model.safetensors
  grus forecast predict model.safetensors sales.csv -o forecast.csv --plot forecast.png
  grus forecast evaluate model.safetensors sales.csv
"""

CLASSIFY = """\
a classifier in three lines:
  grus classify fit reviews.csv -o model.safetensors
  grus classify predict model.safetensors new.csv -o labels.csv
  grus classify evaluate model.safetensors test.csv --train reviews.csv
"""

LANGUAGE = """\
a language model in three lines:
  grus language fit plays.txt -o model.safetensors
  grus language generate model.safetensors --prompt "To be, "
  grus language evaluate model.safetensors other.txt --train plays.txt
"""

MODELS = """\
a model elsewhere:
  grus info model.safetensors
  grus export model.safetensors --to onnx -o model.onnx
  grus verify model.safetensors model.onnx
  grus import model.keras -o model.safetensors
  grus stream model.safetensors < steps.csv
"""

TASKS = (
    (
        "forecast",
        "forecast time series, with intervals",
        "Forecast the series of a long table (columns unique_id, ds, y) with one GRU over them all.",
        FORECAST,
        (forecast_fit, forecast_predict, forecast_evaluate),
    ),
    (
        "classify",
        "sort texts or numeric series into classes, whole or step by step",
        "Sort texts or numeric series into classes, a label a sequence or a label a step, with probabilities.",
        CLASSIFY,
        (classify_fit, classify_predict, classify_evaluate),
    ),
    (
        "language",
        "learn to write a text on, by characters or subwords",
        "Learn from a text how texts like it go on: to judge others by it, and to write.",
        LANGUAGE,
        (language_fit, language_evaluate, language_generate),
    ),
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are the same one line as all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def parser() -> Parser:
    raw = argparse.RawDescriptionHelpFormatter
    everything = "\n".join((FORECAST, CLASSIFY, LANGUAGE, MODELS))
    top = Parser("grus", description="Train GRUs and run them.", epilog=everything, formatter_class=raw)
    top.add_argument("--version", action=_Version, help="show the version and exit")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for name, summary, description, examples, modules in TASKS:
        task = commands.add_parser(name, help=summary, description=description, epilog=examples, formatter_class=raw)
        verbs = task.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=Parser)
        for module in modules:
            module.add(verbs)
        config.add(verbs.choices["fit"])
    for command in (export, import_file, info, stream, verify):
        command.add(commands)
    return top


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from grus import __version__

        print(f"grus {__version__}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Without ``arguments``, as the program itself, one of several processes of torchrun ends with that status at once.
    """
    status = _run(arguments)
    if arguments is None and "grus.training.distributed" in sys.modules:
        sys.modules["grus.training.distributed"].leave(status)
    return status


def _run(arguments: Sequence[str] | None) -> int:
    options = None
    try:
        options = config.apply(parser(), arguments)
        with config.saving(options):
            status: int = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of our output has gone: no one is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        return _end(stop, 130, f"grus: {str(stop) or 'interrupted'}")
    except (InputError, OSError) as error:
        return _end(error, 2, f"grus: error: {_words(error, options)}")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):  # PyTorch's way to say it
            raise
        return _end(error, 2, "grus: error: out of memory: take a smaller network, horizon or window")


def _end(error: BaseException, status: int, line: str) -> int:
    if os.environ.get("GRUS_DEBUG", "") not in ("", "0"):
        raise error
    print(" ".join(line.split()), file=sys.stderr)
    return status


def _words(error: Exception, options: argparse.Namespace | None) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    message = names.told(error, options) if isinstance(error, InputError) else str(error)
    return message.removesuffix("; call run(x)")
