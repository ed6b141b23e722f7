"""The one exception for input a person can mend, and the end of a match over all cases."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["InputError", "assert_never"]

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
