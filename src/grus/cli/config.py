"""``--config FILE`` and ``--save-config FILE``: a command's options from a YAML file, and back into one.

An option of the command line goes before the file's, and the file's before the default. Paths in a file are taken from
the working folder, as those on the command line.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grus.cli import names, yamlfile
from grus.errors import InputError
from grus.files import check_output, write_whole
from grus.inputs import mapping
from grus.training.torchrun import is_first

__all__ = ["add", "apply", "saving"]

OURS = {"config", "save_config"}
OF_ONE_RUN = {"resume"}  # not saved: the saved settings start the run anew
MISSING = object()


def add(parser: argparse.ArgumentParser) -> None:
    """Give a command both options; :func:`apply` then parses what it is called with."""
    group = parser.add_argument_group("settings")
    group.add_argument("--config", type=Path, metavar="FILE", help="YAML such as hidden-size: 64; flags go before it")
    group.add_argument("--save-config", type=Path, metavar="FILE", help="write every option for --config")


def apply(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line, with the settings of its ``--config``, if any; what is required may stand in the file.

    parser: that of the command, or one whose subcommands have it; what has no ``--config`` is parsed as ever.
    The result has attributes more: ``settings``, what :func:`saving` writes; ``flags`` and ``places``, what an option
    is called and where in the file it stands, for :func:`grus.cli.names.told`.

    Raises InputError for a file that cannot be read or whose settings are not those of the command, and where
    ``--save-config`` cannot be written; what ``parser.error`` raises for the command line.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    verb = _verb(parser, argv)
    known = {action.dest for action in verb._actions}
    if not known >= OURS or not {"-h", "--help"}.isdisjoint(argv):
        options = _parse(parser, verb, argv)
        options.flags = names.flags(verb)
        return options
    actions = [action for action in verb._actions if action.dest not in (*OURS, "help", "version")]
    with _nothing_set(verb, actions):
        options = _parse(parser, verb, argv)
    given = {a.dest for a in actions if getattr(options, a.dest, MISSING) not in (MISSING, None)}
    if options.config is not None:
        read = yamlfile.read(options.config, actions)
        for dest in _excluded(verb, given):
            read.pop(dest, None)
    else:
        read = {}
    options.flags = names.flags(verb)
    options.places = {options.flags[d]: read[d].place for d in read if d not in given and d in options.flags}
    for action in actions:
        if action.dest not in given:
            setattr(options, action.dest, read[action.dest].value if action.dest in read else _default(action))
    _check_required(verb, actions, given | set(read))
    options.settings = yamlfile.plain(options, [a for a in actions if a.dest not in OF_ONE_RUN])
    _check_target(options)
    options.settings_of = verb.prog
    return options


@contextmanager
def saving(options: argparse.Namespace) -> Iterator[None]:
    """Write ``--save-config``, where it was given, once the command has ended well or was interrupted.

    Bad input leaves nothing behind, as ever.
    """
    try:
        yield
    except KeyboardInterrupt:
        _save(options)
        raise
    _save(options)


def _save(options: argparse.Namespace) -> None:
    path = getattr(options, "save_config", None)
    if path is not None and is_first():
        write_whole(path, mapping.text(options.settings, options.settings_of).encode())


def _parse(parser: argparse.ArgumentParser, verb: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """As ``parser.parse_args``, whose message about what is left over would be that of the whole program."""
    options, rest = parser.parse_known_args(argv)
    if rest:
        known = [option for action in verb._actions for option in action.option_strings]
        near = (
            difflib.get_close_matches(rest[0].partition("=")[0], known, n=1, cutoff=0.75) if rest[0][:1] == "-" else []
        )
        verb.error(f"unrecognized arguments: {' '.join(rest)}" + "".join(f", did you mean {n}?" for n in near))
    return options


def _verb(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command that is named."""
    for token in argv:
        below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not below:
            break
        parser = below[0].choices.get(token, parser)
    return parser


@contextmanager
def _nothing_set(parser: argparse.ArgumentParser, actions: Sequence[argparse.Action]) -> Iterator[None]:
    """No defaults and nothing required, so that parsing shows what was given."""
    before = [(action, action.default, action.required) for action in actions]
    groups = [(group, group.required) for group in parser._mutually_exclusive_groups]
    for action in actions:
        gathers = isinstance(action, (argparse._AppendAction, argparse._CountAction))  # these build on their default
        action.default, action.required = None if gathers else MISSING, False
    for group, _ in groups:
        group.required = False
    try:
        yield
    finally:
        for action, default, required in before:
            action.default, action.required = default, required
        for group, needed in groups:
            group.required = needed


def _default(action: argparse.Action) -> Any:
    """As argparse takes it: a string goes through the option's type."""
    if isinstance(action.default, str) and callable(action.type):
        return action.type(action.default)
    return action.default


def _excluded(parser: argparse.ArgumentParser, given: set[str]) -> set[str]:
    """The options that may not stand beside one that was given: the flag goes before the file."""
    groups = [{action.dest for action in group._group_actions} for group in parser._mutually_exclusive_groups]
    return {dest for group in groups if group & given for dest in group}


def _check_required(parser: argparse.ArgumentParser, actions: Sequence[argparse.Action], there: set[str]) -> None:
    missing = [_name(action) for action in actions if action.required and action.dest not in there]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    for group in parser._mutually_exclusive_groups:
        members = [action for action in group._group_actions if action.dest in there]
        if group.required and not members:
            parser.error(f"one of the arguments {' '.join(map(_name, group._group_actions))} is required")
        if len({action.dest for action in members}) > 1:
            parser.error(f"argument {_name(members[1])}: not allowed with argument {_name(members[0])}")


def _name(action: argparse.Action) -> str:
    return "/".join(action.option_strings) or str(action.metavar or action.dest)


def _check_target(options: argparse.Namespace) -> None:
    """Raise InputError where ``--save-config`` could not be written, or is a file the command reads or writes."""
    path = options.save_config
    check_output("--save-config", path, options.config)
    if path is None:
        return
    for value in vars(options).values():
        for other in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(other, Path) and other is not path and os.path.realpath(other) == os.path.realpath(path):
                raise InputError(
                    f"--save-config {str(path)!r} is another file of this command too: choose another name"
                )
