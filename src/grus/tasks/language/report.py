"""What an evaluation found: a row for each way to predict the text, as a table or JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """rows: for each model its figures by name, None where it has none. notes: what to know when reading them."""

    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, model: str) -> dict[str, Any]:
        """The row of a model: report["GRU"]["bits/character"]."""
        for row in self.rows:
            if row["model"] == model:
                return row
        raise KeyError(model)

    def __str__(self) -> str:
        """An aligned table, the notes below it."""
        names = list(self.rows[0])
        cells = [names] + [[_show(row[name]) for name in names] for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = [
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
            for line in cells
        ]
        return "\n".join([line.rstrip() for line in lines] + [f"note: {note}" for note in self.notes])

    def to_json(self) -> str:
        return json.dumps({"rows": list(self.rows), "notes": list(self.notes)}, indent=2, ensure_ascii=False)


def _show(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
