"""The rooms of src/grus in one picture, made from the imports: docs/images/architecture.svg.

    .venv/bin/python docs/architecture.py

A room is a package, or a module that stands by itself; it stands one floor above the highest room it imports from.
tests/test_architecture.py compares the file with what this draws, and looks for imports in a circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "grus"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
GROUND = ("errors", "files", "reference", "weights")  # drawn as one room
APART = ("tasks", "torch")  # their inner packages are rooms of their own
WAIST = ("spec", "model", "quantized", "exact", "calibration")
WIDTH, FLOOR, HEIGHT, GAP, MARGIN = 1040, 84, 36, 22, 20


def modules() -> dict[str, Path]:
    """The modules by name, without ``grus`` itself and ``grus.__main__``, which only collect."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name not in ("", "__main__"):
            found[name] = path
    return found


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """The modules of Grus that a file imports, at its head, in functions, and for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            found = name.removeprefix("grus.") if name.startswith("grus.") else ""
            if found.startswith("runtime._native"):
                yield "csrc"
            while found and found not in known:  # a name inside a module
                found = found.rpartition(".")[0]
            if found:
                yield found


def graph() -> dict[str, set[str]]:
    """Which modules each module imports; of ``from package import module`` the module, not the package."""
    files = modules()
    known = set(files)
    return {name: set(imports(path, known)) - {name} for name, path in files.items()}


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The sets of nodes that reach one another (Tarjan 1972), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for after in sorted(edges.get(node, ())):
            if after not in index:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], index[after])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def room(module: str) -> str:
    first, _, rest = module.partition(".")
    if first in GROUND:
        return "ground"
    inner = rest.partition(".")[0]
    return f"{first}/{inner}" if first in APART and (SOURCE / first / inner).is_dir() and inner else first


def rooms(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Which rooms each room imports from."""
    found: dict[str, set[str]] = {"csrc": set()}
    for module, others in edges.items():
        here = found.setdefault(room(module), set())
        here |= {room(other) for other in others} - {room(module)}
    return {name: others & found.keys() for name, others in found.items()}


def reach(edges: dict[str, set[str]], start: str) -> set[str]:
    """All rooms below one."""
    below: set[str] = set()
    todo = list(edges[start])
    while todo:
        one = todo.pop()
        if one not in below:
            below.add(one)
            todo.extend(edges[one])
    return below


def floors(edges: dict[str, set[str]]) -> dict[str, int]:
    """0 for a room that imports from none, else one above the highest it imports from. Needs rooms without circles."""
    if circle := circles(edges):
        raise ValueError(f"the rooms {' and '.join(circle[0])} import from one another")
    found: dict[str, int] = {}
    while len(found) < len(edges):
        for name, others in edges.items():
            if name not in found and others <= found.keys():
                found[name] = 1 + max((found[other] for other in others), default=-1)
    return found


def places(edges: dict[str, set[str]], levels: dict[str, int]) -> dict[str, tuple[float, float]]:
    """The middle of each room: floors from the bottom up, each room near the mean of those it imports from."""
    top, at = max(levels.values()), {}
    for level in range(top + 1):
        row = [name for name in sorted(edges) if levels[name] == level]
        row.sort(key=lambda name: sum(at[o][0] for o in edges[name]) / len(edges[name]) if edges[name] else 0)
        step = (WIDTH - 2 * MARGIN) / len(row)
        for i, name in enumerate(row):
            at[name] = (MARGIN + step * (i + 0.5), MARGIN + FLOOR * (top - level) + HEIGHT / 2)
    return at


def draw() -> str:
    """The picture. An arrow that follows from others is left out: A to C where A goes to B and B to C."""
    edges = rooms(graph())
    levels = floors(edges)
    at = places(edges, levels)
    height = 2 * MARGIN + FLOOR * max(levels.values()) + HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="14">',
        "<title>The rooms of Grus: each imports from those its arrows lead down to</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#777"/></marker>',
    ]
    for name in sorted(edges):
        implied = set().union(*(reach(edges, other) for other in edges[name])) if edges[name] else set()
        for other in sorted(edges[name] - implied):
            (x0, y0), (x1, y1) = at[name], at[other]
            y0, y1 = y0 + HEIGHT / 2, y1 - HEIGHT / 2
            bend = (y1 - y0) / 2
            path = f"M{x0:.0f} {y0:.0f}C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}"
            lines.append(f'<path d="{path}" fill="none" stroke="#999" stroke-width="1.2" marker-end="url(#tip)"/>')
    for name in sorted(edges):
        x, y = at[name]
        label = " · ".join(GROUND) if name == "ground" else name
        wide = 22 + 7.6 * len(label)
        fill = "#ffe9c7" if name in WAIST else "#dfe8f5" if name != "csrc" else "#e4e4e4"
        lines.append(
            f'<rect x="{x - wide / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{wide:.0f}" height="{HEIGHT}" rx="6" '
            f'fill="{fill}" stroke="#556"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{escape(label)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))
