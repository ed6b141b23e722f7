"""The one exception for input a person can mend, notes of what was cut or left out, and the end of a match."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["InputError", "Note", "assert_never", "note", "notes_on_stderr"]

LONGEST = 2000  # characters of a message: what a hostile file says of itself must not fill a terminal or a log


class InputError(ValueError):
    """Bad input: the message names what was wrong, what came and what was expected.

    The command line prints it as one line and exits with status 2; everything else that is raised is a bug. A message
    beyond 2,000 characters keeps its beginning and its end.

    parameters: the names of arguments in the message, where these are options of the command line too, the one that is
    wrong first: the command line calls them what a person typed.
    """

    def __init__(self, message: str = "", *parameters: str) -> None:
        super().__init__(message)
        self.parameters = parameters

    def __str__(self) -> str:
        text = super().__str__()
        half = LONGEST // 2
        return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"


def assert_never(value: NoReturn) -> NoReturn:
    """The end of a match over all cases: mypy names those that are missing (``typing`` has it from Python 3.11 on)."""
    raise AssertionError(f"no case for {value!r}")


class Note(UserWarning):
    """What was cut, guessed, left out or replaced, so that a result is not what one might take it for."""


def note(message: str) -> None:
    """Tell it, in one line: a warning at the line that called Grus, on the command line ``note: …``."""
    frame, level, inside = sys._getframe(1), 2, str(Path(__file__).parent)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, Note, stacklevel=level)


@contextmanager
def notes_on_stderr(*, shown: bool = True) -> Iterator[None]:
    """Within, every note is a line on stderr, each said once; not ``shown``: none is."""
    said: set[str] = set()
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, Note):
            before(message, category, *where, **more)
        elif shown and str(message) not in said:
            said.add(str(message))
            print(f"note: {' '.join(str(message).split())}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        warnings.showwarning = show
        yield
