"""docs/torch.md lists every argument of the constructor, and the page's tables are those of the results."""

from __future__ import annotations

import inspect
import json

from benchmarks import options, report
from test_docs import rows

import grus.torch


def test_the_table_of_arguments_is_the_signature() -> None:
    parameters = [
        (f"`{p.name}`", "" if p.default is p.empty else str(p.default))
        for p in inspect.signature(grus.torch.GRU).parameters.values()
        if p.kind is not p.VAR_KEYWORD
    ]
    assert [(row[0], row[1]) for row in rows("docs/torch.md", "| argument | default | what |")] == parameters


def test_the_tables_of_times_are_those_of_the_results() -> None:
    results = json.loads(options.RESULTS.read_text(encoding="utf-8"))
    page = options.PAGE.read_text(encoding="utf-8")
    assert page == report.insert(options.PAGE, options.markdown(results))
