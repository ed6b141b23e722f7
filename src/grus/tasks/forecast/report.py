"""What an evaluation found: a row for each forecaster, as text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """rows: for each forecaster its errors by name, None where it has none. notes: what to know when reading them."""

    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, model: str) -> dict[str, Any]:
        """The row of a forecaster: report["GRU"]["sMAPE"]."""
        for row in self.rows:
            if row["model"] == model:
                return row
        raise KeyError(model)

    def __str__(self) -> str:
        """An aligned table, the notes below it."""
        names = list(self.rows[0])
        cells = [names] + [[_show(name, row[name]) for name in names] for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = [
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
            for line in cells
        ]
        return "\n".join([line.rstrip() for line in lines] + [f"note: {note}" for note in self.notes])

    def to_json(self) -> str:
        return json.dumps({"rows": list(self.rows), "notes": list(self.notes)}, indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def _show(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if name.endswith("coverage"):
        return f"{value:.1%}"
    return f"{value:.2f}" if name == "sMAPE" else f"{value:.3f}" if name == "MASE" else f"{value:.4g}"
