"""What an evaluation found: a row for each model, as text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Report", "aligned", "one_line"]


@dataclass(frozen=True)
class Report:
    """rows: for each model its figures by name, None where it has none. notes: what to know when reading them."""

    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, model: str) -> dict[str, Any]:
        """The row of a model: report["GRU"]."""
        for row in self.rows:
            if row["model"] == model:
                return row
        raise KeyError(model)

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """An aligned table, the notes below it; where it is wider than ``width`` characters, a line for each figure."""
        return "\n".join([aligned(self.rows, self.show, width), *(f"note: {note}" for note in self.notes)])

    @staticmethod
    def show(name: str, number: float) -> str:
        """A figure, which is no integer, as text."""
        return f"{number:.3f}"

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=str)

    def to_dict(self) -> dict[str, Any]:
        return {"rows": list(self.rows), "notes": list(self.notes)}

    def to_csv(self) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def one_line(value: object) -> str:
    """As text, line breaks and tabs in it as ``\\n`` and ``\\t``: a label may have them, a line of a table may not."""
    return str(value).translate({ord(c): repr(c)[1:-1] for c in "\n\r\t"})


def aligned(rows: Sequence[dict[str, Any]], show: Callable[[str, float], str], width: int | None = None) -> str:
    """The rows as a table, its first column to the left and the others to the right.

    Where a line has more than ``width`` characters, each row becomes a paragraph, a line for each of its figures.
    """

    def text(name: str, value: Any) -> str:
        if value is None:
            return "-"
        if isinstance(value, float):
            return show(name, value)
        return f"{value:,}" if isinstance(value, int) else one_line(value)

    names = list(rows[0])
    cells = [list(map(one_line, names))] + [[text(name, row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    if width is not None and sum(widths) + 2 * len(widths) - 2 > width:
        named = max(map(len, cells[0][1:]), default=0)
        return "\n".join(
            "\n".join([line[0], *(f"  {name:{named}}  {c}" for name, c in zip(cells[0][1:], line[1:], strict=True))])
            for line in cells[1:]
        )
    lines = (
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)
