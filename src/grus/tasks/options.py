"""Settings, each said once: a field of a dataclass has a type, a default, bounds and a help, from which its check, its
option on the command line, its row in the docs and its parameter in the manner of scikit-learn follow.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from grus.errors import InputError
from grus.tasks.checks import integer, keep, number, plain

__all__ = ["Option", "Options", "build", "declared", "every", "option", "parts"]

Value = TypeVar("Value")
Kind = TypeVar("Kind", bound="Options")


@dataclass(frozen=True)
class Option:
    """What a field says of itself beside its name, its type and its default.

    help: what it is, in a few words. more: what the docs add to it.
    flag: its option, where that is not its name with hyphens; of a bool that is True by default the one that says no.
    metavar: what stands for its value; "FILE" for a path. otherwise: what a default of None comes to.
    least, above, below: its bounds. instead_of: the field that may not be given beside it.
    """

    help: str
    flag: str = ""
    metavar: str = ""
    otherwise: str = ""
    least: float | None = None
    above: float | None = None
    below: float | None = None
    instead_of: str = ""
    more: str = ""


def option(default: Value, help: str, **more: Any) -> Value:
    """A field with this default, which says of itself what :class:`Option` has."""
    made: Value = field(default=default, metadata={"option": Option(help, **more)})
    return made


def required(help: str, **more: Any) -> dict[str, Option]:
    """The ``metadata`` of a field that has no default."""
    return {"option": Option(help, **more)}


class Options:
    """What the dataclasses of settings are: their fields are checked, and kept as plain values.

    called: how messages name a field. title: what its fields are, as a heading in ``--help``.
    """

    called: ClassVar[str] = "{}"
    title: ClassVar[str] = "the training"

    def __post_init__(self) -> None:
        for one in declared(type(self)):
            keep(self, one.name, one.checked(getattr(self, one.name)))
        for name, kind in parts(type(self)).items():
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name} is {getattr(self, name)!r}, expected {kind.__name__}(…)")


@dataclass(frozen=True)
class Declared:
    """A field with all that is known of it. base: int, float, bool, str or tuple; optional: it may be None.

    called: what messages name it. choices: the only values, where there are such. default: MISSING where it has none.
    """

    name: str
    called: str
    base: type[Any]
    optional: bool
    choices: tuple[Any, ...]
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        return self.option.flag or "--" + self.called.replace("_", "-").replace(" ", "-")

    @property
    def turned(self) -> bool:
        """Whether its flag says no."""
        return self.default is True and bool(self.option.flag)

    def checked(self, given: Any) -> Any:
        """The value as it is kept. Raises InputError that names the field, for one that it cannot have."""
        value, about = plain(given), self.option
        if self.choices:
            if value not in self.choices:
                self._refuse(value, f"one of {', '.join(map(repr, self.choices))}")
        elif value is None and self.optional:
            return None
        elif self.base is bool:
            if not isinstance(value, bool):
                self._refuse(value, "True, False or None" if self.optional else "True or False")
        elif self.base is int:
            return integer(self.called, value, int(about.least or 0))
        elif self.base is float:
            above = about.above is not None
            value = number(self.called, value, (about.above if above else about.least) or 0, above=above)
            if about.below is not None and value >= about.below:
                self._refuse(value, f"a number from {about.least} to below {about.below}")
        return value

    def _refuse(self, value: Any, expected: str) -> None:
        raise InputError(f"{self.called} is {value!r}, expected {expected}", self.called)


def declared(kind: type[Any]) -> tuple[Declared, ...]:
    """The fields of a dataclass that are options, not those that are dataclasses of them in turn.

    A field that a subclass gives another default alone says of itself what it said in the class above.
    """
    hints, found = get_type_hints(kind), []
    for one in fields(kind):
        above = (c.__dataclass_fields__.get(one.name) for c in kind.__mro__ if hasattr(c, "__dataclass_fields__"))
        about = next((f.metadata["option"] for f in above if f is not None and "option" in f.metadata), None)
        if about is None:
            continue
        hint = hints[one.name]
        ways = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        first, optional = ways[0], type(None) in ways
        choices = get_args(first) + (None,) * optional if get_origin(first) is Literal else ()
        base = str if choices else get_origin(first) or first
        found.append(Declared(one.name, kind.called.format(one.name), base, optional, choices, one.default, about))
    return tuple(found)


def parts(kind: type[Any]) -> dict[str, type[Any]]:
    """The fields that are dataclasses in turn, such as ``architecture``, and which."""
    made: dict[str, Any] = {one.name: one.default_factory for one in fields(kind)}
    return {name: each for name, each in made.items() if isinstance(each, type)}


def every(kind: type[Options]) -> dict[str, tuple[type[Options], tuple[Declared, ...]]]:
    """All options of a dataclass and of its parts: by the name of the part, "" for its own."""
    return {name: (each, declared(each)) for name, each in ({"": kind} | parts(kind)).items()}


def build(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """The dataclass of values by what messages call them. Raises InputError for one that does not fit."""
    inside = {name: build(each, values) for name, each in parts(kind).items()}
    return kind(**{one.name: values[one.called] for one in declared(kind)}, **inside)
