"""Parameters in the manner of scikit-learn, for the estimators of every task."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, ClassVar, TypeVar

from grus.errors import InputError
from grus.tasks.options import parts

__all__ = ["Parameters"]

Estimator = TypeVar("Estimator", bound="Parameters")


class Parameters:
    """An estimator that keeps the arguments of its ``__init__`` as they were given, each under its own name.

    ``kinds`` is the dataclass of the settings they become. A parameter that is a dataclass there (``architecture``)
    may be None, for its default; ``architecture__hidden_size`` is the parameter inside it.
    """

    kinds: ClassVar[type[Any]]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name, as they were given; with ``deep`` those inside them too, where none was given their
        defaults.
        """
        params = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        if deep:
            for name, kind in parts(self.kinds).items():
                group = kind() if params[name] is None else params[name]
                if isinstance(group, kind):  # else fit tells
                    params |= {f"{name}__{f.name}": getattr(group, f.name) for f in dataclasses.fields(group)}
        return params

    def set_params(self: Estimator, **params: Any) -> Estimator:
        """Change parameters by name, all of them or none. One inside another is written ``architecture__hidden_size``.

        Raises InputError for a name that does not exist, and for a value inside another that does not fit.
        """
        known, groups = list(inspect.signature(type(self)).parameters), parts(self.kinds)
        values: dict[str, Any] = {}
        inside: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, nested, field = key.partition("__")
            if name not in known or (nested and name not in groups):
                raise InputError(f"{type(self).__name__} has no parameter {key!r}; it has {', '.join(known)}")
            if nested:
                inside.setdefault(name, {})[field] = value
            else:
                values[name] = value
        for name, changes in inside.items():
            given = values.get(name, getattr(self, name))
            group = _group(name, groups[name], given)
            changed = _changed(name, group, changes)
            values[name] = given if changed == group else changed
        for name, value in values.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        shown = {name: repr(value) for name, value in self.get_params(deep=False).items()}
        defaults = {name: repr(p.default) for name, p in inspect.signature(type(self)).parameters.items()}
        changed = [f"{name}={text}" for name, text in shown.items() if text != defaults[name]]
        return f"{type(self).__name__}({', '.join(changed)})"


def _group(name: str, kind: type[Any], given: Any) -> Any:
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise InputError(f"{name} is {given!r}, expected {kind.__name__}(…)")
    return given


def _changed(name: str, group: Any, changes: dict[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(group)]
    for field in changes:
        if field not in known:
            there = ", ".join(f"{name}__{one}" for one in known)
            raise InputError(f"{name} has no parameter {name + '__' + field!r}; it has {there}")
    return dataclasses.replace(group, **changes)
