"""The fields of settings as options of a command: added to its parser, and read back into the dataclass."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from grus.cli import shared
from grus.tasks.options import Declared, Options, build, every

__all__ = ["add", "described", "settings", "shown"]

Kind = TypeVar("Kind", bound=Options)


def add(parser: argparse.ArgumentParser, kind: type[Options]) -> None:
    """An option for every field of the dataclass and of its parts, in a group by the title of each.

    Its action has an attribute ``called``: what messages call the field.
    """
    groups: dict[str, Any] = {}
    for each, fields in every(kind).values():
        group = groups.get(each.title) or groups.setdefault(each.title, parser.add_argument_group(each.title))
        rivals: dict[str, Any] = {one.option.instead_of: None for one in fields if one.option.instead_of}
        for one in fields:
            if one.name in rivals:
                rivals[one.name] = group.add_mutually_exclusive_group()
            _add(rivals.get(one.option.instead_of or one.name) or group, one)


def settings(options: argparse.Namespace, kind: type[Kind]) -> Kind:
    """The dataclass of what a parser that :func:`add` gave its options has read."""
    fields = [one for _, own in every(kind).values() for one in own]
    return build(kind, {one.called: getattr(options, one.flag[2:].replace("-", "_")) for one in fields})


def shown(one: Declared) -> str:
    """The default in a few words, "" where nothing is to be said."""
    if one.default is True and not one.option.flag:
        return "yes"
    if one.default is None or isinstance(one.default, bool) or not isinstance(one.default, (int, float, str, tuple)):
        return one.option.otherwise
    return ",".join(map(str, one.default)) if isinstance(one.default, tuple) else str(one.default)


def described(one: Declared) -> str:
    """The help of an option, its default at the end."""
    default = shown(one)
    return f"{one.option.help} (default: {default})" if default else one.option.help


def _add(group: Any, one: Declared) -> None:
    values = [value for value in one.choices if value is not None]
    needed = not isinstance(one.default, (type(None), bool, int, float, str, tuple))  # MISSING: there is no default
    given: dict[str, Any] = {"help": described(one), "default": None if needed else one.default}
    if one.base is bool and not one.option.flag and one.default is not False:
        action = group.add_argument(one.flag, action=argparse.BooleanOptionalAction, help=given["help"])
        action.default = one.default  # not before: until Python 3.13 the action tells its default in its own way
    elif one.base is bool or len(values) == 1:
        const = values[0] if values else not one.default
        action = group.add_argument(one.flag, action="store_const", const=const, **given)
    elif values:
        action = group.add_argument(one.flag, choices=values, **given)
    else:
        kind, metavar = _type(one)
        given |= {"metavar": one.option.metavar or metavar, "required": needed}
        action = group.add_argument(one.flag, type=kind, **given)
    action.called = one.called


def _type(one: Declared) -> tuple[Callable[[str], Any] | None, str | None]:
    """What reads an option's text, and what stands for it in the help."""
    if one.base is int:
        if one.option.least:
            return shared.positive, "N"
        return (shared.natural if one.optional else int), "N"  # a seed below 0 the settings refuse themselves
    if one.base is float:
        return float, "R"
    if one.base is tuple:
        return (shared.floats if one.default and isinstance(one.default[0], float) else shared.names), None
    return (Path if one.option.metavar == "FILE" else None), None
