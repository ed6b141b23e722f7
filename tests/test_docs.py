"""The documents agree with the code, and with one another."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from grus import weights

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for pattern in ("*.md", "docs/**/*.md") for p in ROOT.glob(pattern))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the table that starts with ``header``, without its two head lines."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = lines.index(header)
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def anchors(page: Path) -> set[str]:
    """The anchors a page's headings get: lower case, spaces as hyphens, punctuation dropped."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+\s+(.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_conventions_page_is_the_table_in_the_code() -> None:
    header = "| convention | gates | update gate | reset | biases | matrices | source |"
    assert rows("docs/conventions.md", header) == [
        [
            f"`{name}`",
            ", ".join(convention.gate_order),
            "keeps" if convention.z_keeps else "renews",
            " or ".join("after" if after else "before" for after in convention.reset_after),
            convention.biases,
            "[input, 3H]" if convention.transposed else "[3H, input]",
            convention.source,
        ]
        for name, convention in weights.CONVENTIONS.items()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_on_a_page_print_what_it_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    if page.name == "conventions.md":
        assert len(examples.examples) >= 10
    report: list[str] = []
    assert doctest.DocTestRunner().run(examples, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_pages_are_there() -> None:
    names = {str(p.relative_to(ROOT)) for p in PAGES}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/spec.md", "docs/conventions.md"} <= names


def test_dependencies_each_have_a_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = {re.split(r"[\[<>=;]", entry)[0] for entry in re.findall(r'"([A-Za-z][\w.\-\[\],]*[<>=]=[^"]*)"', project)}
    reasons = rows("docs/decisions/0006-dependencies.md", "| package | needed by | reason |")
    assert named == {row[0].strip("`") for row in reasons}


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert re.findall(r"@[A-Z]+@", page.read_text(encoding="utf-8")) == []
