"""Labels keep their type, in memory, in a file and in what is written; steps without a label; labels never seen."""

from __future__ import annotations

import csv
import enum
import io
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from grus.errors import InputError
from grus.model import Model, load
from grus.spec import Classify, Embedding, Spec, Words
from grus.tasks.classify import Classifier, Settings, rows
from grus.tasks.classify.evaluate import evaluate
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.files import read
from grus.tasks.classify.labels import as_array
from grus.tasks.classify.metrics import log_loss
from grus.tasks.classify.predict import predict, predict_proba
from grus.tasks.classify.prepare import make_task

MakeModel = Callable[..., Model]
TEXTS = ["a a", "b b", "a b", "b"]


class Mood(str, enum.Enum):
    GLAD = "glad"
    SAD = "sad"


ZONE = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ([1, 0], [0, 1]),
        ([True, False], [False, True]),
        ([0.5, -1.0], [-1.0, 0.5]),
        ([date(2020, 1, 31), date(2019, 1, 1)], [date(2019, 1, 1), date(2020, 1, 31)]),
        ([datetime(2020, 1, 1, 12), datetime(2020, 1, 1)], [datetime(2020, 1, 1), datetime(2020, 1, 1, 12)]),
        ([datetime(2020, 1, 2, tzinfo=ZONE), datetime(2020, 1, 1, tzinfo=ZONE)], None),
        ([2**70, 1], [1, 2**70]),
        ([1, "b"], [1, "b"]),
        (["1", "0"], ["0", "1"]),
        ([Mood.SAD, Mood.GLAD], ["glad", "sad"]),
        (np.array([3, 1], np.int8), [1, 3]),
        (np.array([True, False]), [False, True]),
        (np.array(["2020-01-02", "2020-01-01"], "datetime64[D]"), [date(2020, 1, 1), date(2020, 1, 2)]),
        (pd.Series(pd.to_datetime(["2020-01-02", "2020-01-01"])), [datetime(2020, 1, 1), datetime(2020, 1, 2)]),
        (pd.Series(["x", "y"], dtype="category"), ["x", "y"]),
        (torch.tensor([1, 0]), [0, 1]),
        ([torch.tensor(1), torch.tensor(0)], [0, 1]),
    ],
)
def test_types_go_into_the_file_and_back(make_model: MakeModel, tmp_path: Path, labels: Any, values: Any) -> None:
    examples = as_examples(TEXTS[:2], labels)
    made = make_model(make_task(examples, Settings(least_count=1)))
    made.save(tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors")
    task = model.spec.task
    assert isinstance(task, Classify)
    expected = sorted(labels) if values is None else values
    assert list(task.values) == expected
    assert [type(value) for value in task.values] == [type(value) for value in expected]
    found = predict(model, TEXTS)
    assert {type(label) for label in found} <= {type(value) for value in expected}
    classifier = Classifier.load(tmp_path / "model.safetensors")
    assert classifier.classes_.tolist() == expected
    p = np.asarray(predict_proba(model, TEXTS))
    truth = [expected[i] for i in p.argmax(axis=1)]
    assert (classifier.predict(TEXTS) == as_array(truth)).all()
    assert classifier.score(TEXTS, truth) == 1.0
    assert evaluate(model, as_examples(TEXTS, truth))["GRU"]["accuracy"] == 1.0
    assert evaluate(model, as_examples(TEXTS, list(map(str, truth))))["GRU"]["accuracy"] == 1.0  # cells of a table


def test_models_of_text_have_the_json_they_had() -> None:
    task = make_task(as_examples(["a a", "b b"], ["1", "0"]), Settings())
    assert task == Classify(Words(("a", "b")), ("0", "1"), longest=1000)
    assert "kinds" not in _json(task)
    assert "kinds" in _json(make_task(as_examples(["a a", "b b"], [1, 0]), Settings()))


def _json(task: Classify) -> str:
    return Spec((Embedding(3, 2),), task).to_json()


@pytest.mark.parametrize(
    ("classes", "kinds", "message"),
    [
        (("1", "x"), ("integer", "integer"), "Classify.classes has 'x', which says no integer"),
        (("01", "2"), ("integer", "integer"), "'01', which says no integer"),
        (("nan", "2.0"), ("number", "number"), "'nan', which says no number"),
        (("true", "False"), ("boolean", "boolean"), "'true', which says no boolean"),
        (("2020-02-31", "2020-01-01"), ("date", "date"), "'2020-02-31', which says no date"),
        (("9" * 5000, "1"), ("integer", "integer"), "says no integer"),
        (("1", "1.0"), ("integer", "number"), "expected different values"),
        (("a", "b"), ("text",), "the kind of each class, or none"),
        (("a", "b"), ("text", "word"), "the kind of each class, or none"),
    ],
)
def test_kinds_that_the_names_do_not_say(classes: Any, kinds: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Classify(Words(("a",)), classes, kinds=kinds)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([Decimal(1), Decimal(2)], r"y\[0\] is 1, a Decimal, expected text, a finite number, True or False"),
        ([b"a", b"b"], r"y\[0\] is b'a', a bytes, .*: decode it, as y.astype\(str\) does"),
        ([1 + 2j, 1], "a complex"),
        ([1.0, float("inf")], r"y\[1\] is inf, a float, expected text, a finite number"),
        (pd.Series(pd.to_datetime([1, 2])), "a Timestamp|a datetime64"),
        ([{"x"}, {"x", "y"}], r"y\[0\] is {'x'}: Grus gives one label a sequence, or one a step: fit a Classifier for"),
        ([["x"], ["x", "y"]], "y has a list of labels for each text. Of several a text: Grus gives one label"),
        (np.array([[1, 0], [1, 1]]), "y has 2 columns of 0 and 1, .* one label a sequence, .*: fit a Classifier for"),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), r"y has 2 columns of 0 and 1, .*: y.argmax\(axis=1\) makes one label"),
    ],
)
def test_what_is_no_label(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_examples(TEXTS[:2], labels)


def test_true_is_not_1() -> None:
    with pytest.raises(InputError, match="some labels are True or False and others numbers"):
        make_task(as_examples(["a a", "b b", "a"], [True, False, 2]), Settings())


def test_rows_and_reports_have_the_types(make_model: MakeModel) -> None:
    model = make_model(make_task(as_examples(TEXTS[:2], [True, False]), Settings(least_count=1)))
    found = rows.of(model, as_examples(TEXTS), proba=True)
    written = [json.loads(line)["label"] for line in rows.as_json_lines(found).splitlines()]
    assert written == predict(model, TEXTS)
    assert {type(label) for label in written} == {bool}
    cells = [row["label"] for row in csv.DictReader(io.StringIO(rows.as_csv(found)))]
    assert cells == [str(label) for label in written]
    assert rows.as_text(found).splitlines()[0].startswith(cells[0])
    report = evaluate(model, as_examples(TEXTS, [True, False, True, False]))
    assert [row["class"] for row in report.classes] == [False, True]
    assert [row["class"] for row in json.loads(report.to_json())["classes"]] == [False, True]
    assert "\nFalse " in str(report)
    dates = make_model(make_task(as_examples(TEXTS[:2], [date(2020, 1, 2), date(2020, 1, 1)]), Settings(least_count=1)))
    assert "2020-01-0" in rows.as_json_lines(rows.of(dates, as_examples(TEXTS)))


def test_tables_with_types_keep_them(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    assert read(tmp_path / "a.jsonl").labels == [True, False]
    for values in ([1, 0], [True, False], [date(2020, 1, 1), date(2020, 1, 2)]):
        pd.DataFrame({"text": ["a", "b"], "label": values}).to_parquet(tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet").labels == values
    times = pd.to_datetime(["2020-01-01 00:00", "2020-01-02 12:00"])
    pd.DataFrame({"unique_id": ["a", "b"], "v": [1.0, 2.0], "label": times}).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").labels == [datetime(2020, 1, 1), datetime(2020, 1, 2, 12)]


@pytest.mark.parametrize("ignored", [-100, np.int64(-100), -100.0])
def test_a_step_without_a_label_is_neither_learned_nor_scored(small: Callable[..., Settings], ignored: Any) -> None:
    X = [["the", "dog", "runs"], ["a", "cat", "sat"]] * 10 + [["the", "cat"]]
    y: list[Any] = [[ignored, "N", "V"]] * 20 + [[ignored, ignored]]
    chosen = small()
    model = Classifier(architecture=chosen.architecture, optimiser=chosen.optimiser, trainer=chosen.trainer).fit(X, y)
    assert model.classes_.tolist() == ["N", "V"]
    assert model.score(X, y) == 1.0
    report = model.evaluate(X, y)
    assert (report["GRU"]["count"], report["GRU"]["accuracy"]) == (40, 1.0)
    assert report["most frequent class"]["accuracy"] == 0.5
    assert [len(row) for row in model.predict(X[-1:])] == [2]


def test_an_array_of_tags_with_gaps() -> None:
    examples = as_examples(np.zeros((2, 3, 1)), np.array([[-100, 1, 2], [1, -100, -100]]))
    assert examples.labels == [[None, 1, 2], [1, None, None]]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", "unique_id,token,label\n1,a,x\n1,b,\n2,c,-100\n2,d,y\n"),
        ("a.jsonl", '{"text": ["a", "b"], "label": ["x", null]}\n{"text": ["c", "d"], "label": [-100, "y"]}\n'),
        ("b.csv", "unique_id,v,label\n1,1,x\n1,2,\n2,3,\n2,4,y\n"),
    ],
)
def test_an_empty_cell_is_a_step_without_a_label(tmp_path: Path, name: str, data: str) -> None:
    (tmp_path / name).write_text(data)
    assert read(tmp_path / name, labels="step").labels == [["x", None], [None, "y"]]


def test_a_label_never_seen_is_wrong_and_said(make_model: MakeModel) -> None:
    model = make_model(make_task(as_examples(TEXTS[:2], ["x", "y"]), Settings(least_count=1)))
    p = np.asarray(predict_proba(model, TEXTS))
    truth = [("x", "y")[i] for i in p.argmax(axis=1)]
    report = evaluate(model, as_examples(TEXTS, [*truth[:3], "new"]))
    assert report["GRU"]["accuracy"] == 0.75
    assert report["GRU"]["log loss"] == pytest.approx((3 * log_loss(p[:3].argmax(axis=1), p[:3]) - np.log(1e-15)) / 4)
    assert report.notes == ("1 sequence with a label never seen in training, 'new': counted as wrong",)
    assert [row["class"] for row in report.classes] == ["x", "y", "new"]
    assert report.classes[2]["F1"] == 0
    step = make_model(Classify(Words(("a", "b")), ("x", "y"), "step"))
    report = evaluate(step, as_examples([["a", "b"]], [["new", -100]]))
    assert (report["GRU"]["accuracy"], report["GRU"]["count"]) == (0.0, 1)
    with pytest.raises(InputError, match="no step has one"):
        evaluate(step, as_examples([["a", "b"]], [[-100, -100]]))
