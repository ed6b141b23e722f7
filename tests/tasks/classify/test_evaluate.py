"""Reports: the model's row, the baselines', and what cannot be compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus import installed
from grus.errors import InputError
from grus.model import Model
from grus.spec import Classify, Words
from grus.tasks import baselines
from grus.tasks.classify import metrics
from grus.tasks.classify.evaluate import evaluate
from grus.tasks.classify.examples import Examples, as_examples
from grus.tasks.classify.predict import predict_proba
from grus.tasks.classify.prepare import make_task
from grus.tasks.classify.settings import Settings

MakeModel = Callable[..., Model]
Texts = tuple[list[str], list[str]]


@pytest.fixture
def model(make_model: MakeModel, texts: Texts) -> Model:
    return make_model(make_task(as_examples(*texts), Settings()))


def test_the_model_beside_baselines(model: Model, texts: Texts) -> None:
    X, y = texts
    report = evaluate(model, as_examples(X[:20], y[:20]), as_examples(X[20:], y[20:]))
    assert [row["model"] for row in report.rows] == ["GRU", "most frequent class", "TF-IDF + logistic regression"]
    p = np.asarray(predict_proba(model, X[:20]))
    truth = np.array([label == "good" for label in y[:20]]).astype(np.int64)
    assert report["GRU"]["accuracy"] == np.mean(p.argmax(axis=1) == truth)
    assert report["GRU"]["log loss"] == pytest.approx(metrics.log_loss(truth, p))
    assert report["most frequent class"]["accuracy"] == 0.5
    assert report["most frequent class"]["log loss"] is None
    assert report["TF-IDF + logistic regression"]["accuracy"] > 0.9
    assert sum(map(sum, report.confusion)) == report["GRU"]["count"] == 20
    assert [row["count"] for row in report.classes] == [10, 10]
    whole = json.loads(report.to_json())
    assert whole["rows"][0]["accuracy"] == report["GRU"]["accuracy"]
    text = str(report)
    assert "true \\ predicted" in text
    assert text.splitlines()[0].endswith("accuracy  macro F1  log loss  calibration error  count")
    with pytest.raises(KeyError):
        report["none"]


def test_series_beside_baselines(make_model: MakeModel, series: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = [values[-6:] for values in series[0]], series[1]
    X[0] = np.vstack([X[0][:-1], [np.nan, np.nan]])

    def minirocket(train: list[Any], labels: list[str], test: list[Any]) -> list[str]:  # compiles for half a minute
        assert np.isfinite(np.array([*train, *test])).all()
        return labels[: len(test)]

    monkeypatch.setattr(baselines, "minirocket", minirocket)
    train = as_examples(X[:45], y[:45])
    report = evaluate(make_model(make_task(train, Settings())), as_examples(X[45:], y[45:]), train)
    assert [row["model"] for row in report.rows[2:]] == ["1-nearest neighbour", "MiniROCKET"]
    assert report["1-nearest neighbour"]["accuracy"] > 0.8
    assert report["MiniROCKET"]["accuracy"] == np.mean([a == b for a, b in zip(y, y[45:], strict=False)])
    assert [row["class"] for row in report.classes] == [3, 10, 25]


def test_baselines_get_the_channels_and_scales_of_the_model(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named channels in any order, one of them far from 0 and wide, some values missing: all as the model reads it."""
    got: list[tuple[list[Any], list[Any]]] = []

    def record(train: list[Any], labels: list[str], test: list[Any]) -> list[str]:
        got.append((train, test))
        return labels[: len(test)]

    for name in ("minirocket", "nearest_neighbour"):
        monkeypatch.setattr(baselines, name, record)
    X = rng.normal(0, 1, (12, 4, 2)) * [1, 1e6] + [0, 1e9]
    X[:, 2, 1] = np.nan
    y = ["x", "y"] * 6
    train = Examples("series", list(X[:8]), y[:8], channels=("a", "b"))
    test = Examples("series", list(X[8:, :, ::-1]), y[8:], channels=("b", "a"))
    evaluate(make_model(make_task(train, Settings(longest=3))), test, train)
    assert len(got) == 2
    mean, std = np.nanmean(X[:8], axis=(0, 1)), np.nanstd(X[:8], axis=(0, 1))
    expected = np.nan_to_num((X - mean) / std)
    for series in got:
        np.testing.assert_allclose(np.array(series[0]), expected[:8], atol=1e-6)
        np.testing.assert_allclose(np.array(series[1]), expected[8:], atol=1e-6)


def test_without_the_training_data(model: Model, texts: Texts) -> None:
    X, y = texts
    report = evaluate(model, as_examples(X[:3], y[:3]))
    assert [row["model"] for row in report.rows] == ["GRU", "most frequent class"]
    assert report["most frequent class"]["accuracy"] == pytest.approx(2 / 3)


def test_another_classifier_has_a_row(model: Model, texts: Texts) -> None:
    examples = as_examples(texts[0][:2], texts[1][:2])
    report = evaluate(model, examples, others={"oracle": [np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])]})
    assert report["oracle"]["accuracy"] == 1.0
    assert report["oracle"]["log loss"] == 0.0


def test_steps(make_model: MakeModel) -> None:
    tagged = as_examples([["a", "b"], ["a"]], [["x", "y"], ["x"]])
    model = make_model(Classify(Words(("a", "b")), ("x", "y"), "step"))
    report = evaluate(model, tagged, tagged)
    assert report["GRU"]["count"] == 3
    assert report["most frequent class"]["accuracy"] == pytest.approx(2 / 3)


def test_a_baseline_that_is_not_installed(model: Model, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    examples = as_examples(*texts)
    report = evaluate(model, examples, examples)
    assert report.rows[-1]["accuracy"] is None
    assert installed.command("baselines") in report.notes[-1]
    assert "note: TF-IDF + logistic regression: " in str(report)


@pytest.mark.parametrize(
    ("data", "train", "message"),
    [
        ((["a"], None), None, "the data have no labels to compare with"),
        (([["a"]], [["good"]]), None, "the data have one label a step, but the model gives one a sequence"),
        ((["a"], ["good"]), (["a"], None), "the data to train on have no labels"),
        ((["a"], ["good"]), (["a"], ["new"]), "the data to train on have the label 'new'"),
        ((["a"], ["good"]), (np.eye(2), ["good", "bad"]), "train holds series, but the data to evaluate on text"),
    ],
)
def test_what_cannot_be_compared(model: Model, data: Any, train: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(model, as_examples(*data), None if train is None else as_examples(*train))


def test_an_output_that_is_not_finite(model: Model) -> None:
    class Broken:
        def run(self, x: Any, *, last: bool, lengths: Any) -> Any:
            return np.full((x.shape[1], 2), np.nan, np.float32), None

    with pytest.raises(InputError, match="not finite"):
        evaluate(model, as_examples(["a"], ["good"]), session=Broken())
