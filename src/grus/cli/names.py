"""What the library calls a setting, told as what the command line calls it, and where a file of settings has it."""

from __future__ import annotations

import argparse
import re

__all__ = ["flags", "told"]

# Where the command line has another name for it, or says it the other way round.
OTHERS = (
    ("num_layers", "layers", "--layers"),
    ("bidirectional=False", "forward", "--forward"),
    ("leave labels out", "labels", "leave --labels out"),
    ("leave channels out", "channels", "leave --channels out"),
    ("channels names", "channels", "--channels names"),
    ("lower is False", "case", "--case is given"),
    ("leave lower out", "case", "leave --case out"),
    ("refit is True", "refit", "--refit is given"),
    ("class_weights is 'balanced'", "balanced", "--balanced is given"),
    ("output dropout", "dropout", "--dropout"),
    ("input dropout", "input_dropout", "--input-dropout"),
    ("recurrent dropout", "recurrent_dropout", "--recurrent-dropout"),
    ("word dropout", "word_dropout", "--word-dropout"),
    ("weight dropout", "weight_drop", "--weight-drop"),
)
OPTION = re.compile(r"--[a-z-]+")


def flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The options of a command by the names of their values: ``{"hidden_size": "--hidden-size", …}``."""
    named = (
        (action.dest, next((o for o in action.option_strings if o[:2] == "--"), None)) for action in parser._actions
    )
    return {dest: option for dest, option in named if option is not None}


def told(message: str, options: argparse.Namespace | None) -> str:
    """``message`` with the options' names, and before it the place in ``--config`` of the first, if it came from there.

    A name is replaced where it is not taken for a common word: before ``is``, ``are`` or ``=``, or with an underscore.
    """
    known: dict[str, str] = getattr(options, "flags", {})
    for words, dest, instead in OTHERS:
        if dest in known:
            message = re.sub(rf"(?<![\w'\"/-]){re.escape(words)}(?!\w)", instead, message)
    if known:
        names = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
        before = r"(?<![\w'\"/-])(?<!the )(?<!its )(?<!an )(?<!a )"
        message = re.sub(rf"^({names})(?= are )", lambda m: known[m[1]], message)
        message = re.sub(
            rf"{before}({names})(?:(=(?=['\"\w.]))|=|(?= is ))",
            lambda m: known[m[1]] + " " * bool(m[2]),
            message,
        )
        long = "|".join(name for name in known if "_" in name) or "$."
        message = re.sub(rf"(?<![\w'\"/-])({long})(?![\w'\"])", lambda m: known[m[1]], message)
    first = OPTION.match(message)
    place = getattr(options, "places", {}).get(first[0]) if first else None
    return message if place is None else f"{place}: {message}"
