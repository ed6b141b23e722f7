"""What an evaluation found: a row for each classifier, and of the model how each class fares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Report"]

WIDEST = 20  # classes whose confusion matrix is shown as text


@dataclass(frozen=True)
class Report:
    """rows: for each classifier "model" and what was measured, None where it has no such thing.

    classes: for each class its precision, recall, F1 and number. confusion: [true][predicted] counts, in the order of
    ``classes``. notes: what to know when reading it.
    """

    rows: tuple[dict[str, Any], ...]
    classes: tuple[dict[str, Any], ...]
    confusion: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, model: str) -> dict[str, Any]:
        """The row of a classifier: report["GRU"]["accuracy"]."""
        for row in self.rows:
            if row["model"] == model:
                return row
        raise KeyError(model)

    def __str__(self) -> str:
        """Aligned tables, the notes below them."""
        parts = [_table(self.rows), _table(self.classes)]
        if len(self.classes) <= WIDEST:
            names = [row["class"] for row in self.classes]
            rows = [
                {"true \\ predicted": name} | dict(zip(names, counts, strict=True))
                for name, counts in zip(names, self.confusion, strict=True)
            ]
            parts.append(_table(rows))
        return "\n\n".join(parts) + "".join(f"\nnote: {note}" for note in self.notes)

    def to_json(self) -> str:
        whole = {
            "rows": list(self.rows),
            "classes": list(self.classes),
            "confusion": [list(row) for row in self.confusion],
            "notes": list(self.notes),
        }
        return json.dumps(whole, indent=2, ensure_ascii=False)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(rows[0])
    cells = [names] + [[_show(row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = (
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def _show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
