"""What the library calls a setting, told as what the command line calls it, and where a file of settings has it."""

from __future__ import annotations

import argparse
import re

from grus.errors import InputError

__all__ = ["flags", "told"]

# What the command line has another name for or says the other way round, and the value of the option it is.
OTHERS = {
    "num_layers": ("layers", "--layers"),
    "bidirectional=False": ("forward", "--forward"),
    "lower is False": ("case", "--case is given"),
    "lower": ("case", "--case"),
    "refit is True": ("refit", "--refit is given"),
    "output dropout": ("dropout", "--dropout"),
    "input dropout": ("input_dropout", "--input-dropout"),
    "recurrent dropout": ("recurrent_dropout", "--recurrent-dropout"),
    "word dropout": ("word_dropout", "--word-dropout"),
    "weight dropout": ("weight_drop", "--weight-drop"),
}
QUOTED = re.compile(r"((?<!\w)'[^']*'(?!\w))")  # not from an apostrophe on
OPTION = re.compile(r"--[a-z-]+")


def flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The options of a command by the names of their values: ``{"hidden_size": "--hidden-size", …}``."""
    long = ((a.dest, [option for option in a.option_strings if option.startswith("--")]) for a in parser._actions)
    return {dest: options[0] for dest, options in long if options}


def told(error: InputError, options: argparse.Namespace | None) -> str:
    """The message with options for the error's parameters, and before it where ``--config`` sets the first of them.

    A name is replaced at the beginning, where it has an underscore or a space, and before ``=``, ``is``, ``names`` and
    ``out``: elsewhere it may be a common word. What stands in quotes, or is part of a path, stays as it is.
    """
    known: dict[str, str] = getattr(options, "flags", {})
    instead = {name: known[name] for name in error.parameters if name in known}
    for words, (dest, option) in OTHERS.items():
        if dest in known and words.startswith(error.parameters):
            instead[words] = option
    message = str(error)
    if not instead:
        return message
    ordered = sorted(instead, key=len, reverse=True)
    every, long = ("|".join(map(re.escape, names)) for names in (ordered, [n for n in ordered if not n.isalpha()]))
    # prefix= alone loses its sign, prefix=a and prefix='a' have a space for it
    after = rf"(?:{every})(?=$|=| is | names | out\b)|(?:{long or '(?!)'})(?![\w./-])"
    pattern = re.compile(rf"(^(?:{every})(?![\w./-])|(?<![\w./-])(?:{after}))(?:=(?=[,;) ])|(=))?")
    parts = QUOTED.split(message)
    begin, *rest = (pattern.sub(lambda found: instead[found[1]] + " " * bool(found[2]), part) for part in parts[::2])
    parts[::2] = [begin, *rest]
    message = "".join(parts)
    first = OPTION.match(message)
    place = getattr(options, "places", {}).get(first[0]) if first else None
    return message if place is None else f"{place}: {message}"
