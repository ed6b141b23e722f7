"""docs/architecture.md and its picture say what the imports say, and nothing imports in a circle."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

_spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
assert _spec is not None and _spec.loader is not None
architecture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(architecture)
PACKAGES = sorted(p.parent for p in architecture.SOURCE.rglob("__init__.py") if p.parent != architecture.SOURCE)


def test_the_picture_is_that_of_the_imports() -> None:
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.draw(), (
        "the rooms have changed: .venv/bin/python docs/architecture.py draws them anew"
    )


def test_no_module_imports_in_a_circle() -> None:
    modules = architecture.graph()
    assert len(modules) > 150
    assert architecture.circles(modules) == [] and architecture.circles(architecture.rooms(modules)) == []


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert architecture.circles(edges) == [["b", "c"]]
    with pytest.raises(ValueError, match="b and c import from one another"):
        architecture.floors(edges)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.relative_to(architecture.SOURCE).as_posix())
def test_a_package_says_what_it_is_for(package: Path) -> None:
    """In three lines: what it is for, what it may import, where to begin to read."""
    said = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert "ay import" in said and "Begin with" in said, said
    for name in re.findall(r"Begin with ``([\w.]+)``", said):
        module = package.joinpath(*name.split(".")[:1])
        assert module.with_suffix(".py").exists() or module.is_dir(), name


def test_the_page_names_every_room() -> None:
    rooms = set(re.findall(r"^\| `([\w/]+)`", PAGE, flags=re.MULTILINE))
    packages = {p.relative_to(architecture.SOURCE).as_posix() for p in PACKAGES}
    assert packages - {p for p in packages if p.startswith("cli/")} <= rooms


def test_what_the_page_names_is_there() -> None:
    """Each `file.py` and `file.py:name` of the ways through the house."""
    named = set(re.findall(r"`((?:src|csrc)/[\w/.]+)(?::(\w+))?`", PAGE))
    assert len(named) > 30
    for path, name in sorted(named):
        text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        assert (ROOT / path).exists() and re.search(rf"\b{name}\b" if name else "", text) is not None, (path, name)
