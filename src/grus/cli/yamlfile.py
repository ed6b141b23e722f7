"""A YAML file of a command's options: checked as the command line is, and the values that are written to one."""

from __future__ import annotations

import argparse
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from grus.cli import shared
from grus.errors import InputError
from grus.inputs import mapping

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["Setting", "plain", "read"]

FEW = 20  # names that a message lists
ONE = (None, str, int, float, Path, shared.data)  # types of options that take no list


class Setting(NamedTuple):
    """An option's value, and the file and line it stands in."""

    value: Any
    place: str


def read(path: Path, actions: Sequence[argparse.Action]) -> dict[str, Setting]:
    """A file's settings by their attributes, the value of each read as its option's text would be.

    Raises InputError, naming the file, the line and the key, for a file that is no YAML mapping of names to values, for
    a name that is none of the options', and for a value the option does not take; OSError for a missing file.
    """
    found: dict[str, Setting] = {}
    keys = {key: action for action in actions for key in _keys(action)}
    for key, where, value_node in mapping.pairs(path):
        action = keys.get(key.replace("_", "-"))
        if action is None:
            raise InputError(f"{where}: unknown setting {key!r}{_nearest(key, keys)}")
        try:
            value, is_set = _value(action, value_node)
        except InputError as error:
            raise InputError(f"{where}: {key} {error}") from None
        if is_set:
            if action.dest in found:
                raise InputError(f"{where}: {key} was set before in this file")
            found[action.dest] = Setting(value, where)
    return found


def plain(options: argparse.Namespace, actions: Sequence[argparse.Action]) -> dict[str, Any]:
    """The options by their names, as values that YAML knows."""
    found: dict[str, Any] = {}
    for action in actions:
        value = getattr(options, action.dest)
        if action.nargs == 0 and not isinstance(action, (argparse.BooleanOptionalAction, argparse._CountAction)):
            value = value == action.const
        found[_keys(action)[0]] = _plain(value)
    return found


def _keys(action: argparse.Action) -> list[str]:
    """The names of an option in a file, the one it is saved under first; hyphens for underscores."""
    long = [name[2:] for name in action.option_strings if name.startswith("--")]
    if isinstance(action, argparse.BooleanOptionalAction):
        long = [name for name in long if not name.startswith("no-")]
    return [name.replace("_", "-") for name in long or [action.dest]]


def _nearest(key: str, keys: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key.replace("_", "-").lower(), keys, n=1, cutoff=0.75)
    if near:
        return f", did you mean {near[0]!r}?"
    if len(keys) > FEW:
        return ", expected the name of an option without its hyphens, such as hidden-size: see --help"
    return f", expected some of {', '.join(keys)}"


def _value(action: argparse.Action, node: Node) -> tuple[Any, bool]:
    """The option's value, and whether the file sets it: a null, or a switch that is off, leaves it as it is."""
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if node.id == "mapping" or not kind.isalpha():  # a tag of someone's own, !this or !!python/that
        raise InputError(f"is {_shown(node)}, expected a value or a list of values")
    if kind == "null":
        if action.default is not None:
            raise InputError("has no value")
        return None, False
    if isinstance(action, argparse._CountAction):
        return _converted(action, node, int), True
    if action.nargs == 0:
        if kind != "bool":
            raise InputError(f"is {_shown(node)}, expected true or false")
        on = node.value.lower() in ("true", "yes", "on")
        return (on, True) if isinstance(action, argparse.BooleanOptionalAction) else (action.const, on)
    several = action.nargs not in (None, "?") or isinstance(action, argparse._AppendAction)
    parts = node.value if node.id == "sequence" else [node]
    if several:
        return [_converted(action, part, action.type) for part in parts], True
    if node.id == "sequence" and action.type not in ONE:  # an option such as --quantiles 0.1,0.5
        joined = ",".join(str(_converted(action, part, str, choices=False)) for part in parts)
        return (_checked(action, joined, action.type) if joined else ()), True
    return _converted(action, node, action.type), True


def _converted(action: argparse.Action, node: Node, to: Any, *, choices: bool = True) -> Any:
    if node.id != "scalar":
        raise InputError(f"has {_shown(node)}, expected one value")
    return _checked(action, node.value, to, choices=choices)


def _checked(action: argparse.Action, written: str, to: Any, *, choices: bool = True) -> Any:
    """The text as the option's type reads it."""
    try:
        value = written if to is None else to(written)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"is wrong: {error}") from None
    except (TypeError, ValueError):
        called = {int: "an integer", float: "a number"}.get(to, f"a value for {getattr(to, '__name__', to)}")
        raise InputError(f"is {written!r}, expected {called}") from None
    if choices and action.choices is not None and value not in action.choices:
        raise InputError(f"is {written!r}, expected {' or '.join(map(str, action.choices))}")
    return value


def _shown(node: Node) -> str:
    return repr(node.value) if node.id == "scalar" else f"a {'list' if node.id == 'sequence' else 'mapping'}"


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # YAML would write .inf, which float does not read
    return value
