"""How well forecasts did: a row for each forecaster, with its errors by name."""

from __future__ import annotations

from grus.tasks import report

__all__ = ["Report"]


class Report(report.Report):
    """rows: for each forecaster its errors, such as report["GRU"]["sMAPE"], None where it has none. notes: what to know
    when reading them.
    """

    @staticmethod
    def show(name: str, number: float) -> str:
        if name.endswith("coverage"):
            return f"{number:.1%}"
        return f"{number:.2f}" if name == "sMAPE" else f"{number:.3f}" if name == "MASE" else f"{number:.4g}"
