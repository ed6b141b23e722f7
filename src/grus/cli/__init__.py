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
from importlib import import_module
from typing import NoReturn

from grus import __version__
from grus.cli import classify, config, export, forecast, import_file, info, language, names, shared, stream, verify
from grus.errors import InputError, notes_on_stderr
from grus.training.torchrun import is_first

__all__ = ["main", "parser"]

TASKS = {"forecast": forecast, "classify": classify, "language": language}
MODELS = """\
a model elsewhere:
  grus info model.safetensors
  grus export model.safetensors --to onnx -o model.onnx
  grus verify model.safetensors model.onnx
  grus import model.keras -o model.safetensors
  grus stream model.safetensors < steps.csv
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are the same one line as all others."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            option = message.removeprefix("argument ").split(":")[0].split("/")[-1]
            message += f"; one that begins with a hyphen is given as {option}=-…"
        raise InputError(f"{message} (see {self.prog} --help)")


def parser(argv: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of the program; with ``argv`` without the verbs of tasks that are not named in it."""
    everything = "\n".join((*(task.EXAMPLES for task in TASKS.values()), MODELS))
    top = Parser("grus", description="Train GRUs and run them.", epilog=everything, formatter_class=shared.Help)
    top.add_argument("--version", action="version", version=f"grus {__version__}", help="show the version and exit")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for name, task in TASKS.items():
        told = {"help": task.SUMMARY, "description": task.DESCRIPTION, "epilog": task.EXAMPLES}
        command = commands.add_parser(name, formatter_class=shared.Help, **told)
        if argv is None or name in argv:
            verbs = command.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=Parser)
            for verb in task.VERBS:
                import_module(f"grus.cli.{name}.{verb}").add(verbs)
            config.add(verbs.choices["fit"])
    for one in (export, import_file, info, stream, verify):
        one.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Without ``arguments``, as the program itself, one of several processes of torchrun ends with that status at once.
    """
    status = _run(arguments)
    if arguments is None and (distributed := sys.modules.get("grus.training.distributed")):
        distributed.leave(status)
    return status


def _run(arguments: Sequence[str] | None) -> int:
    options = None
    try:
        argv = sys.argv[1:] if arguments is None else arguments
        if not argv:  # as git and pip answer it
            parser().print_help()
            return 0
        options = config.apply(parser(argv), argv)
        with config.saving(options), notes_on_stderr(shown=is_first()):
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
