"""The tables of options in the docs, made from the fields of the settings: ``python -m tests.option_tables`` writes."""

from __future__ import annotations

import re
from pathlib import Path

from grus.cli.options import shown
from grus.tasks.classify import Settings as Classify
from grus.tasks.forecast import Settings as Forecast
from grus.tasks.language import Settings as Language
from grus.tasks.options import Options, every

DOCS = Path(__file__).parent.parent / "docs"
TABLES = {"forecast": ("training.md", Forecast), "classify": ("classify.md", Classify)}
TABLES |= {"language": ("language.md", Language)}


def table(kind: type[Options]) -> str:
    """A row an option: its flag, what it is, its default."""
    rows = ["| option | what | default |", "|---|---|---|"]
    for _, fields in every(kind).values():
        for one in fields:
            values = [str(value) for value in one.choices if value is not None]
            told = f"{one.option.help} ({', '.join(values)})" if len(values) > 1 else one.option.help
            rows.append(f"| `{one.flag}` | {'; '.join(filter(None, (told, one.option.more)))} | {shown(one)} |")
    return "\n".join(rows)


def page(task: str) -> tuple[Path, str]:
    """The page with a task's table, and its text with the table as it should be."""
    name, kind = TABLES[task]
    text = (DOCS / name).read_text(encoding="utf-8")
    begin, end = f"<!-- options of grus {task} fit, by tests/option_tables.py -->", "<!-- end of options -->"
    assert begin in text
    new = f"{begin}\n\n{table(kind)}\n\n{end}"
    return DOCS / name, re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: new, text, flags=re.DOTALL)


if __name__ == "__main__":
    for each in TABLES:
        path, text = page(each)
        path.write_text(text, encoding="utf-8")
