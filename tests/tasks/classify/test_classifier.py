"""The classifier in scikit-learn's manner, judged by scikit-learn."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from grus import installed
from grus.errors import InputError
from grus.tasks.classify import Architecture, Classifier, Optimiser, Settings, Trainer

Texts = tuple[list[str], list[str]]


@pytest.fixture
def quick(small: Callable[..., Settings]) -> dict[str, Any]:
    settings = small()
    return {name: getattr(settings, name) for name in ("architecture", "optimiser", "trainer")}


def test_fit_predict_score(texts: Texts, quick: dict[str, Any], tmp_path: Path) -> None:
    X, y = texts
    classifier = Classifier(**quick)
    assert classifier.fit(X, y) is classifier
    assert classifier.classes_.tolist() == ["bad", "good"]
    found, p = classifier.predict(X), classifier.predict_proba(X)
    assert found.tolist() == [classifier.classes_[i] for i in np.asarray(p).argmax(axis=1)]
    assert classifier.score(X, y) == np.mean(found == np.array(y)) > 0.9
    assert classifier.evaluate(X, y)["GRU"]["accuracy"] == classifier.score(X, y)
    classifier.save(tmp_path / "model.safetensors")
    again = Classifier.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(X), p)
    assert again.predict(X).tolist() == found.tolist()
    assert again.longest == 1000


def test_labels_come_back_as_they_were(series: Any, quick: dict[str, Any], tmp_path: Path) -> None:
    X, y = series
    classifier = Classifier(**quick).fit(X, np.array(y))
    assert classifier.classes_.tolist() == [3, 10, 25]
    assert classifier.predict(X).dtype.kind == "i"
    assert classifier.score(X, y) > 0.9
    classifier.save(tmp_path / "model.safetensors")
    again = Classifier.load(tmp_path / "model.safetensors")
    assert again.predict(X).tolist() == classifier.predict(X).tolist()
    assert again.score(X, y) == classifier.score(X, y)


def test_tags(quick: dict[str, Any], rng: np.random.Generator) -> None:
    X = [rng.choice(["a", "b"], n).tolist() for n in rng.integers(1, 6, 40)]
    y = [[word == "a" for word in row] for row in X]
    classifier = Classifier(**quick).fit(X, y)
    found = classifier.predict(X)
    assert [row.tolist() for row in found] == y
    assert found[0].dtype == bool
    assert classifier.score(X, y) == 1.0


def test_cross_validation(series: Any, quick: dict[str, Any]) -> None:
    X, y = series
    assert is_classifier(Classifier())
    scores = cross_val_score(Classifier(**quick), X, y, cv=2)
    assert scores.shape == (2,)
    assert scores.mean() > 0.8
    even = np.array([values[-6:] for values in X])
    assert cross_val_score(Classifier(**quick), even, y, cv=2, scoring="neg_log_loss").mean() > -1


def test_a_pipeline_and_a_search(texts: Texts, quick: dict[str, Any]) -> None:
    shout = FunctionTransformer(lambda X: [text.upper() for text in X])
    pipeline = make_pipeline(shout, Classifier(**quick)).fit(*texts)
    assert pipeline.score(*texts) > 0.9
    search = GridSearchCV(Classifier(**quick), {"lower": [True, False], "tokens": ["words"]}, cv=2).fit(*texts)
    assert search.best_score_ > 0.8
    assert search.best_estimator_.model_


def test_a_search_reaches_what_is_within(series: Any, quick: dict[str, Any]) -> None:
    X, y = series
    tried = {"architecture__hidden_size": [4, 6], "trainer__epochs": [1]}
    search = GridSearchCV(Classifier(optimiser=quick["optimiser"]), tried, cv=2, error_score="raise").fit(X, y)
    assert [p["architecture__hidden_size"] for p in search.cv_results_["params"]] == [4, 6]
    best = search.best_estimator_
    assert best.model_.spec.blocks[0].hidden_size == best.architecture.hidden_size
    assert best.architecture.hidden_size == search.best_params_["architecture__hidden_size"]
    assert (best.trainer.epochs, best.optimiser) == (1, quick["optimiser"])
    copied = clone(best)
    assert copied.get_params() == best.get_params()
    assert clone(Classifier()).trainer is None
    with pytest.raises(InputError, match="hidden_size is 0"):
        Classifier().set_params(architecture__hidden_size=0)


def test_parameters(quick: dict[str, Any]) -> None:
    classifier = Classifier(**quick, tokens="characters")
    copied = clone(classifier)
    assert copied is not classifier
    assert copied.get_params() == classifier.get_params()
    assert copied.set_params(tokens="words", longest=3) is copied
    assert (copied.tokens, copied.longest) == ("words", 3)
    assert repr(Classifier()) == "Classifier()"
    assert repr(Classifier(tokens="characters", longest=0)) == "Classifier(tokens='characters', longest=0)"
    with pytest.raises(InputError, match="Classifier has no parameter 'depth'; it has tokens"):
        copied.set_params(depth=3)
    with pytest.raises(InputError, match="tokens is 'bytes'"):
        Classifier(tokens="bytes").fit(["a", "b"], [0, 1])


def test_before_fit(texts: Texts) -> None:
    with pytest.raises(InputError, match="not fitted yet"):
        Classifier().predict(["a"])
    with pytest.raises(InputError, match="not fitted yet"):
        Classifier().save("never")


def test_unknown_labels_are_wrong_in_a_score(texts: Texts, quick: dict[str, Any]) -> None:
    X, y = texts
    classifier = Classifier(**quick).fit(X, y)
    assert classifier.score(X[:2], ["new", "new"]) == 0.0
    with pytest.raises(InputError, match="score needs the true labels"):
        classifier.score(X[:2])


def test_fit_without_torch(texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "grus.tasks.classify.fit", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=re.escape(installed.command("train"))):
        Classifier().fit(*texts)


def test_imports_and_predictions_need_no_torch(
    texts: Texts, quick: dict[str, Any], tmp_path: Path, python: Callable[..., CompletedProcess[str]]
) -> None:
    path = tmp_path / "model.safetensors"
    classifier = Classifier(**quick).fit(*texts)
    classifier.save(path)
    done = python(
        "import sys; sys.modules['torch'] = None\n"
        "from grus.tasks.classify import Classifier\n"
        f"print(*Classifier.load({str(path)!r}).predict({texts[0][:5]!r}))\n"
        "print(sorted({'sklearn', 'pandas', 'tokenizers', 'pyarrow'} & set(sys.modules)))"
    )
    assert done.stdout.splitlines() == [" ".join(classifier.predict(texts[0][:5])), "[]"], done.stderr


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = Classifier().settings
    assert settings == Settings()
    assert (settings.architecture, settings.optimiser, settings.trainer) == (Architecture(), Optimiser(), Trainer())
