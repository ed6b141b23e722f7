"""A YAML file of settings, names and their values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus import installed
from grus.errors import InputError

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["pairs", "text"]

LARGEST = 1 << 20  # bytes of a file of settings


def pairs(path: Path) -> list[tuple[str, str, Node]]:
    """The names in a file's mapping, where each stands, and the nodes of their values: nothing in it is built or run.

    Raises InputError, naming file and line, for what is no YAML mapping of names; OSError for a missing file.
    """
    yaml = _yaml()
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise InputError(f"{path} is larger than {LARGEST} bytes, expected a file of settings")
    try:
        root = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8, expected a YAML file of settings") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        raise InputError(f"{where}: not YAML: {getattr(error, 'problem', None) or 'a character it has not'}") from None
    except RecursionError:
        raise InputError(f"{path}: too deep for a file of settings, expected name: value") from None
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path} holds no settings, expected lines such as hidden-size: 64")
    found = []
    for key, value in root.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"{where}: expected the name of an option")
        found.append((str(key.value), where, value))
    return found


def text(settings: Mapping[str, Any], command: str) -> str:
    """The file: YAML that :func:`pairs` reads."""
    written = _yaml().safe_dump(dict(settings), sort_keys=False, allow_unicode=True, default_flow_style=None)
    return f"# {command} --config FILE\n{written}"


def _yaml() -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise InputError(f"a file of settings needs PyYAML: {installed.command('train')}") from None
    return yaml
