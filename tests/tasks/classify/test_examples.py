"""Python's objects as examples, and every way they can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from grus.errors import InputError
from grus.tasks.classify.examples import Examples, as_examples


@pytest.mark.parametrize("make", [list, tuple, np.array, pd.Series, lambda v: np.array(v, dtype=object)])
def test_texts(make: Any) -> None:
    examples = as_examples(make(["a b", "c"]), make(["x", "y"]))
    assert (examples.kind, list(examples.inputs), list(examples.labels or [])) == ("text", ["a b", "c"], ["x", "y"])
    assert examples.labelled == "sequence"
    assert examples.place(1) == "sequence 2"


def test_tokens_with_a_label_each() -> None:
    examples = as_examples([["a", "b"], np.array(["c"])], [["x", "y"], ["x"]])
    assert (examples.kind, examples.labelled) == ("tokens", "step")
    assert examples.inputs == [["a", "b"], ["c"]]
    assert as_examples([["a", "b"], ["c"]], ["x", "y"]).labelled == "sequence"


@pytest.mark.parametrize(
    ("X", "shapes"),
    [
        ([np.zeros((3, 2)), np.zeros((5, 2))], [(3, 2), (5, 2)]),
        ([[1.0, 2.0], [3.0]], [(2, 1), (1, 1)]),
        (np.zeros((2, 4, 3), np.float32), [(4, 3), (4, 3)]),
        (np.zeros((2, 4), np.int64), [(4, 1), (4, 1)]),
        (pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, np.nan]}), [(2, 1), (2, 1)]),
        ([[[1, 2], [3, 4]], [[5, 6]]], [(2, 2), (1, 2)]),
    ],
)
def test_series(X: Any, shapes: list[tuple[int, int]]) -> None:
    examples = as_examples(X, [0, 1])
    assert examples.kind == "series"
    assert [values.shape for values in examples.inputs] == shapes
    assert all(values.dtype == np.float64 for values in examples.inputs)
    assert len(examples.channels) == shapes[0][1]


def test_labels_keep_their_types() -> None:
    assert as_examples(["a", "b"], np.array([3, 1])).labels == [3, 1]
    assert all(type(label) is int for label in as_examples(["a", "b"], pd.Series([3, 1])).labels or [])


def test_some_of_them() -> None:
    examples = Examples("text", ["a", "b", "c"], ["x", "y", "z"], ids=["1", "2", "3"], where=["A", "B", "C"])
    some = examples.take(np.array([2, 0]))
    assert (some.inputs, some.labels, some.ids, some.place(0)) == (["c", "a"], ["z", "x"], ["3", "1"], "C")


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([], None, "X has no sequences"),
        ("a text", None, "X is a str, expected a sequence with one entry for each"),
        (3, None, "X is a int"),
        (["a", 3], None, r"X\[1\] is 3, expected a str as X\[0\] is"),
        (["a", None], None, r"X\[1\] is None"),
        (
            [None, "a"],
            None,
            r"X\[0\] is None, expected a text, or the steps of a sequence: leave it out, or fill it in",
        ),
        ([float("nan"), "a"], None, r"X\[0\] is nan, expected a text"),
        ([["a"], "b"], None, r"X\[1\] is 'b', expected a list of str"),
        ([[1.0], "b"], None, r"X\[1\] is 'b', expected numbers"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], None, r"X\[1\] has 1 channels, but X\[0\] has 2"),
        ([np.zeros((3, 2, 1))], None, r"X\[0\] has the shape \(3, 2, 1\), expected \(T, C\)"),
        (np.zeros((2, 3, 4, 5)), None, r"X has the shape \(2, 3, 4, 5\), expected \(N, T, C\) or \(N, T\)"),
        (np.zeros(3), None, r"X has the shape \(3,\)"),
        ([[1.0, np.inf]], None, r"X\[0\] holds inf, expected finite numbers"),
        ([[1.0, -1e31]], None, r"X\[0\] holds -1e\+31"),
        (["a", "b"], ["x"], "y has 1 labels, but X has 2 sequences"),
        (["a", "b"], ["x", None], r"y\[1\] is None, expected a label"),
        (["a", "b"], ["x", ""], r"y\[1\] is '', expected a label"),
        (["a", "b"], [1.0, np.nan], r"y\[1\] is nan, expected a label"),
        (["a", "b"], [["x"], ["y"]], "X needs the steps"),
        ([["a", "b"], ["c"]], [["x", "y"], "x"], r"y\[1\] is 'x', but y\[0\] has a label for each step"),
        ([["a", "b"], ["c"]], ["x", ["y"]], r"y\[1\] is \['y'\], but y\[0\] is one label"),
        ([["a", "b"], ["c"]], [["x"], ["y"]], r"y\[0\] has 1 labels, but X\[0\] has 2 steps"),
        ([["a", "b"]], [["x", None]], r"y\[0\]\[1\] is None, expected a label"),
        (Examples("text", ["a"]), ["x"], "y is given, but X has labels of its own"),
    ],
)
def test_what_is_wrong_is_named(X: Any, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        as_examples(X, y)
    assert "\n" not in str(caught.value)


def test_a_path(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\nhello,x\n")
    assert as_examples(path).inputs == ["hello"]
