"""What an evaluation found: a row for each classifier, and of the model how each class fares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grus.tasks import report

__all__ = ["Report"]

WIDEST = 20  # classes whose confusion matrix is shown as text


@dataclass(frozen=True)
class Report(report.Report):
    """rows: for each classifier "model" and what was measured, None where it has no such thing.

    classes: for each class its precision, recall, F1 and number. confusion: [true][predicted] counts, in the order of
    ``classes``. notes: what to know when reading it.
    """

    classes: tuple[dict[str, Any], ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()

    def text(self, width: int | None = None) -> str:
        """Aligned tables, the notes below them; one that is wider than ``width`` characters has a line a figure."""
        names = [str(row["class"]) for row in self.classes]  # no numbers of ours to be rounded
        classes = [row | {"class": name} for row, name in zip(self.classes, names, strict=True)]
        parts = [report.aligned(part, self.show, width) for part in (self.rows, classes)]
        if len(self.classes) <= WIDEST:
            rows = [
                {"true \\ predicted": name} | dict(zip(names, counts, strict=True))
                for name, counts in zip(names, self.confusion, strict=True)
            ]
            parts.append(report.aligned(rows, self.show, width))
        return "\n\n".join(parts) + "".join(f"\nnote: {note}" for note in self.notes)

    @staticmethod
    def show(name: str, number: float) -> str:
        return f"{number:.4f}"

    def to_dict(self) -> dict[str, Any]:
        confusion = [list(row) for row in self.confusion]
        return super().to_dict() | {"classes": list(self.classes), "confusion": confusion}
