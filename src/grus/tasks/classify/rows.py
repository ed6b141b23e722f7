"""What a classifier says of sequences, as rows of a table: CSV, JSON lines or a few words."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np

from grus.inputs.text import split_words
from grus.model import Model
from grus.tasks.classify.examples import Examples
from grus.tasks.classify.predict import predict_proba, task_of
from grus.tasks.report import one_line

__all__ = ["as_csv", "as_json_lines", "as_text", "of"]


def of(model: Model, examples: Examples, *, proba: bool = False) -> list[dict[str, Any]]:
    """A row a sequence, or a step: unique_id, step and token where there are such, label, and p(CLASS) with proba."""
    task = task_of(model)
    labels, found = task.values, predict_proba(model, examples)
    rows = []
    for i, p in enumerate(found):
        name = str(i + 1) if examples.ids is None else examples.ids[i]
        given = examples.inputs[i]
        tokens = split_words(given) if isinstance(given, str) else given
        for t, own in enumerate(np.atleast_2d(p)):
            row: dict[str, Any] = {"unique_id": name}
            if p.ndim == 2:
                row["step"] = t + 1
                if examples.kind != "series" and len(tokens) == len(p):
                    row["token"] = tokens[t]
            row["label"] = labels[int(own.argmax())]
            if proba:
                row |= {f"p({c})": round(float(v), 6) for c, v in zip(task.classes, own, strict=True)}
            rows.append(row)
    return rows


def as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def as_text(rows: list[dict[str, Any]]) -> str:
    """A line for one label, or for each step, the most probable classes first where they are asked for.

    An empty line stands between the steps of two sequences.
    """
    lines = []
    for row, before in zip(rows, [None, *rows], strict=False):
        if before is not None and row.get("step") == 1:
            lines.append("")
        shown = [row["token"]] if "token" in row else []
        shown.append(one_line(row["label"]))
        p = sorted(((v, k[2:-1]) for k, v in row.items() if k.startswith("p(")), reverse=True)
        lines.append("\t".join([*shown, *(f"{one_line(name)} {value:.4f}" for value, name in p)]))
    return "\n".join(lines)
