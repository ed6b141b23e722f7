"""Models and fitted estimators go to other processes and are copied: pickle, copy, joblib, to the bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus import Model, Session
from grus.quantized import layout
from grus.spec import GRU, Characters, Classify, Embedding, Language, Linear, Series, Spec, Words
from grus.spec.task import Numeric
from grus.tasks.classify import Classifier
from grus.tasks.language import LanguageModel


def model_of(spec: Spec) -> Model:
    rng = np.random.default_rng(0)
    return Model(spec, {name: rng.normal(size=shape).astype(dtype) for name, (shape, dtype) in layout(spec).items()})


def language() -> Model:
    kind = Characters(tuple("abcdefg ä"))
    blocks = (Embedding(kind.size, 3), GRU(3, 5), Linear(5, kind.size))
    return model_of(Spec(blocks, Language(kind)))


def classify(kind: Words | Series, size: int) -> Model:
    first = (Embedding(size, 2),) if isinstance(kind, Words) else ()
    return model_of(Spec((*first, GRU(2, 4, bidirectional=True), Linear(8, 2)), Classify(kind, ("no", "yes"))))


def out_of_band(value: Any) -> Any:
    """As joblib hands arrays to another process: beside the pickle, read-only there."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


def by_joblib(value: Any, folder: Path) -> Any:
    joblib = pytest.importorskip("joblib")
    joblib.dump(value, folder / "value.joblib")
    return joblib.load(folder / "value.joblib", mmap_mode="r")


@pytest.fixture(params=["pickle", "out of band", "deepcopy", "copy", "joblib"])
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Any]:
    ways: dict[str, Callable[[Any], Any]] = {
        "pickle": lambda value: pickle.loads(pickle.dumps(value)),
        "out of band": out_of_band,
        "deepcopy": copy.deepcopy,
        "copy": copy.copy,
        "joblib": lambda value: by_joblib(value, tmp_path),
    }
    return ways[request.param]


def test_a_model(copied: Callable[[Any], Any]) -> None:
    model = language()
    model.hash  # noqa: B018  # kept once it is known
    again = copied(model)
    assert again is not model
    assert again.spec == model.spec
    assert again.hash == model.hash
    assert list(again.arrays) == list(model.arrays)
    y, _ = Session(model).run("a bad cab")
    assert Session(again).run("a bad cab")[0].tobytes() == y.tobytes()


def test_a_language_model(copied: Callable[[Any], Any]) -> None:
    estimator = LanguageModel(held_out=0.1)
    estimator.model_ = language()
    text = "".join(estimator.generate("a", 40, seed=1))  # makes a session, which cannot be pickled
    again = copied(estimator)
    assert (again.held_out, again.model_.hash) == (0.1, estimator.model_.hash)
    assert "".join(again.generate("a", 40, seed=1)) == text
    assert "".join(estimator.generate("a", 40, seed=1)) == text


@pytest.mark.parametrize(
    ("kind", "size", "X"),
    [
        (Words(("good", "bad")), 3, ["good", "bad good", "bad bad bad"]),
        (Series((Numeric("a", 0.0, 1.0), Numeric("b", 1.0, 2.0))), 2, [np.ones((3, 2)), np.arange(8.0).reshape(4, 2)]),
    ],
    ids=["words", "series"],
)
def test_a_classifier(kind: Any, size: int, X: Any, copied: Callable[[Any], Any]) -> None:
    estimator = Classifier(longest=7)
    estimator.model_, estimator.classes_ = classify(kind, size), np.array(["no", "yes"])
    again = copied(estimator)
    assert again.longest == 7
    np.testing.assert_array_equal(again.predict_proba(X), estimator.predict_proba(X))
    assert again.predict(X).tolist() == estimator.predict(X).tolist()
