"""What the verbs share: options, and the checks that come before any work."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grus.files import STDIN, write_whole

__all__ = [
    "Help",
    "add_data",
    "add_encoding",
    "add_model",
    "add_report",
    "add_threads",
    "count",
    "data",
    "escaped",
    "floats",
    "names",
    "natural",
    "positive",
    "set_threads",
    "show",
    "tell",
    "verb",
]


class Help(argparse.RawDescriptionHelpFormatter):
    """The texts as they are written; paragraphs that are wider than the terminal are folded, examples are not."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = re.split(r"(\n\s*\n|\n(?=  )|:\n)", super()._fill_text(text, width, indent))
        wide = [any(len(line) > width for line in p.splitlines()) and not p.startswith("  ") for p in parts]
        return "".join(textwrap.fill(p, width) if w else p for p, w in zip(parts, wide, strict=True))


def verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, description: str, epilog: str
) -> Any:
    """The parser of a command that ``run`` runs."""
    parser = verbs.add_parser(name, help=help, description=description, epilog=epilog, formatter_class=Help)
    parser.set_defaults(run=run)
    return parser


def add_model(parser: argparse.ArgumentParser, task: str) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help=f"a model file of grus {task} fit")


def add_data(parser: argparse.ArgumentParser, help: str, **more: Any) -> None:
    parser.add_argument("data", type=data, help=help, **({"metavar": "DATA"} | more))


def add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="JSON", help="also write the report as JSON")


def tell(report: Any, path: Path | None) -> None:
    """Print a report, and write it to the file that :func:`add_report` asks for."""
    if path is not None:
        write_whole(path, (report.to_json() + "\n").encode())
    show(report)


def show(report: Any) -> None:
    """Print a report, in a terminal no wider than that."""
    print(report.text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None))


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: one a core)")


def add_encoding(parser: Any) -> None:
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help="of text files (default: %(default)s)")


def data(text: str) -> Path:
    """A file to read; ``-`` is the standard input."""
    return Path(STDIN if text == "-" else text)


def escaped(text: str) -> str:
    r"""A text in which \n, \t, \r and \\ are a line end, a tab, a return and a backslash; another backslash is one."""
    return re.sub(r"\\([ntr\\])", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], "\\"), text)


def natural(text: str, least: int = 0) -> int:
    """An integer of at least 0."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {least}")
    return int(text)


def positive(text: str) -> int:
    return natural(text, 1)


def floats(text: str) -> tuple[float, ...]:
    """``0.1,0.5,0.9``"""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.1,0.5,0.9") from None


def names(text: str) -> tuple[str, ...]:
    """``price,holiday``"""
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names such as price,holiday")
    return parts


def count(number: int, what: str) -> str:
    """``1 row``, ``2,000 rows``"""
    return f"{number:,} {what}{'s' * (number != 1)}"


def set_threads(threads: int | None) -> None:
    if threads is not None:
        from grus.runtime.kernels import set_num_threads

        set_num_threads(threads)
