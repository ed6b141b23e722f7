"""How well a text was predicted: a row for each way to do it."""

from __future__ import annotations

from grus.tasks import report

__all__ = ["Report"]


class Report(report.Report):
    """rows: for each model its figures, such as report["GRU"]["bits/character"], None where it has none. notes: what to
    know when reading them.
    """
