"""Tables in memory: one column of texts, frames by the names of their columns, numbers that are no classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from grus.errors import InputError, Note
from grus.tasks.classify import Classifier, Settings
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.prepare import classes_of, encode_inputs, make_task


@pytest.mark.parametrize(
    "X",
    [
        np.array([["a b"], ["c d"]]),
        np.array([["a b"], ["c d"]], dtype=object),
        pd.DataFrame({"body": ["a b", "c d"]}),
    ],
)
@pytest.mark.parametrize("y", [["x", "y"], np.array([["x"], ["y"]]), pd.DataFrame({"kind": ["x", "y"]})])
def test_one_column_of_texts(X: Any, y: Any) -> None:
    examples = as_examples(X, y)
    assert (examples.kind, examples.inputs, examples.labels) == ("text", ["a b", "c d"], ["x", "y"])
    assert examples.labelled == "sequence"


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            pd.DataFrame({"text": ["a", "b"], "label": [0, 1]}),
            r"with the columns 'text', 'label', .* X\['text'\]",
        ),
        (pd.DataFrame({"unique_id": [1, 1], "v": [0.5, 1]}), r"a table with the columns 'unique_id', 'v'.*read takes"),
        (scipy.sparse.eye(2, format="csr"), "X is a sparse matrix"),
        ({"a", "b"}, "X is a set, expected a sequence"),
        ({"text": ["a"]}, "X is a dict, expected a sequence"),
    ],
)
def test_tables_that_are_no_texts(X: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_examples(X)


def test_tensors_are_series() -> None:
    x = torch.ones(2, 3, 1, requires_grad=True)
    assert [values.shape for values in as_examples(x, torch.tensor([[0, 1, 1], [1, 0, 0]])).inputs] == [(3, 1)] * 2
    assert as_examples(x, torch.tensor([[0, 1, -100], [1, 0, 0]])).labels == [[0, 1, None], [1, 0, 0]]
    assert as_examples(x, torch.tensor([[1], [0]])).labels == [1, 0]


def test_frames_go_by_the_names_of_their_columns() -> None:
    one = pd.DataFrame({"a": [1.0, 2.0], "b": [5.0, 7.0]})
    examples = as_examples([one, one[["b", "a"]] + 1], ["x", "y"])
    assert examples.channels == ("a", "b")
    np.testing.assert_array_equal(examples.inputs[1], [[2, 6], [3, 8]])
    task = make_task(examples, Settings())
    swapped = encode_inputs(as_examples([one[["b", "a"]]]), task)
    np.testing.assert_array_equal(swapped[0], encode_inputs(as_examples([one]), task)[0])
    with pytest.raises(InputError, match=r"X\[1\] has no column 'b', but X\[0\] has the columns 'a', 'b'"):
        as_examples([one, one[["a"]]])
    with pytest.raises(InputError, match=r"X\[1\] has the column 'c', but X\[0\]"):
        as_examples([one, one.assign(c=1)])
    with pytest.raises(InputError, match="the data have no column 'b', which the model reads"):
        encode_inputs(as_examples([one[["a"]]]), task)
    with pytest.warns(Note, match="the data have the column 'c', which the model does not read: it is left out"):
        encode_inputs(as_examples([one.assign(c=1)]), task)
    assert as_examples([pd.DataFrame(np.eye(2))]).channels == ("channel 1", "channel 2")


def test_a_frame_of_a_series_a_row_goes_by_names_too(small: Callable[..., Settings], rng: np.random.Generator) -> None:
    y = [0, 1] * 30
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60) + np.array(y) * 4, "c": 0.0})
    chosen = small()
    model = Classifier(architecture=chosen.architecture, optimiser=chosen.optimiser, trainer=chosen.trainer)
    model.fit(frame, y)
    p = model.predict_proba(frame)
    np.testing.assert_array_equal(model.predict_proba(frame[["c", "b", "a"]]), p)
    assert model.score(frame[["b", "a", "c"]], y) == model.score(frame, y)
    with pytest.raises(InputError, match="X has no column 'c', but was fitted to a, b, c"):
        model.predict(frame[["a", "b"]])
    with pytest.raises(InputError, match="X has the column 'd', but was fitted to a, b, c"):
        model.predict(frame.assign(d=1))


@pytest.mark.parametrize(
    "labels",
    [np.linspace(0, 1, 60), np.linspace(0, 1, 60).astype(str), np.round(np.linspace(0, 9, 600), 1), [0.1, 0.7, 0.35]],
)
def test_numbers_are_no_classes(labels: Any) -> None:
    with pytest.raises(InputError, match="y has .* different numbers, such as .*: Grus gives one of a few classes"):
        classes_of(as_examples(["a"] * len(labels), labels))


def test_few_numbers_are_classes_and_many_names_are_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        assert classes_of(as_examples(["a"] * 30, [0.5, 1.0, 1.5] * 10)) == [0.5, 1.0, 1.5]
        assert len(classes_of(as_examples(["a"] * 60, list(range(30)) * 2))) == 30
    with pytest.warns(Note, match="there are 60 classes for 60 labels"):
        classes_of(as_examples(["a"] * 60, list(range(60))))
