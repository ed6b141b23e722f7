"""What the library calls a setting, told as what the command line calls it, and where a file of settings has it."""

from __future__ import annotations

import argparse
import re

from grus.errors import InputError

__all__ = ["flags", "told"]

QUOTED = re.compile(r"((?<!\w)'[^']*'(?!\w))")  # not from an apostrophe on
OPTION = re.compile(r"--[a-z-]+")


def flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The options of a command by the names of their values: ``{"hidden_size": "--hidden-size", …}``.

    One without a value is there by what it sets, too: ``{"lower is False": "--case is given", …}``.
    """
    found: dict[str, str] = {}
    for action in parser._actions:
        long = [option for option in action.option_strings if option.startswith("--")]
        if long:
            called = getattr(action, "called", action.dest)
            found |= {action.dest: long[0], called: long[0]}
            if isinstance(action, argparse._StoreConstAction):
                found[f"{called}={action.const!r}"] = long[0]
                found[f"{called} is {action.const!r}"] = f"{long[0]} is given"
    return found


def told(error: InputError, options: argparse.Namespace | None) -> str:
    """The message with options for the error's parameters, and before it where ``--config`` sets the first of them.

    A name is replaced at the beginning, where it has an underscore or a space, and before ``=``, ``is``, ``names`` and
    ``out``: elsewhere it may be a common word. What stands in quotes, or is part of a path, stays as it is.
    """
    known: dict[str, str] = getattr(options, "flags", {})
    instead = {words: option for words, option in known.items() if re.split("=| is ", words)[0] in error.parameters}
    message = str(error)
    if not instead:
        return message
    ordered = sorted(instead, key=len, reverse=True)
    every, long = ("|".join(map(re.escape, names)) for names in (ordered, [n for n in ordered if not n.isalpha()]))
    # prefix= alone loses its sign, prefix=a and prefix='a' have a space for it
    after = rf"(?:{long or '(?!)'})(?![\w./-])|(?:{every})(?=$|=| is | names | out\b)"
    pattern = re.compile(rf"(^(?:{every})(?![\w./-])|(?<![\w./-])(?:{after}))(?:=(?=[,;) ])|(=))?")
    parts = QUOTED.split(message)
    begin, *rest = (pattern.sub(lambda found: instead[found[1]] + " " * bool(found[2]), part) for part in parts[::2])
    parts[::2] = [begin, *rest]
    message = "".join(parts)
    first = OPTION.match(message)
    place = getattr(options, "places", {}).get(first[0]) if first else None
    return message if place is None else f"{place}: {message}"
