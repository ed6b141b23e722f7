"""Predictions of models as they are before training: what they depend on, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import GRU, Classify, Linear, Numeric, Series, Spec, Words, parameters
from grus.tasks.classify import predict as module
from grus.tasks.classify.predict import predict, predict_proba, task_of

WORDS = Words(tuple("abcdef"))
MakeModel = Callable[..., Model]


@pytest.mark.parametrize("pooling", ["last", "max", "mean", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_text_has_the_same_bits_in_any_batch(
    make_model: MakeModel, rng: np.random.Generator, pooling: str, bidirectional: bool
) -> None:
    model = make_model(Classify(WORDS, ("x", "y", "z")), pooling=pooling, bidirectional=bidirectional)
    texts = [" ".join(rng.choice(list("abcdefg"), n)) for n in rng.integers(1, 40, 30)]
    together = predict_proba(model, texts)
    assert isinstance(together, np.ndarray)
    alone = np.concatenate([np.asarray(predict_proba(model, [text])) for text in texts])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    assert predict(model, texts) == [("x", "y", "z")[i] for i in together.argmax(axis=1)]


def test_a_label_for_each_step(make_model: MakeModel, rng: np.random.Generator) -> None:
    model = make_model(Classify(WORDS, ("x", "y"), "step"), members=2)
    tokens = [rng.choice(list("abcdefg"), n).tolist() for n in (3, 1, 7)]
    found = predict_proba(model, tokens)
    assert [p.shape for p in found] == [(3, 2), (1, 2), (7, 2)]
    np.testing.assert_array_equal(found[0], np.asarray(predict_proba(model, tokens[:1])[0]))
    assert [len(row) for row in predict(model, tokens)] == [3, 1, 7]


def test_the_session_reads_the_same_text(make_model: MakeModel) -> None:
    model = make_model(Classify(WORDS, ("x", "y"), temperature=2.0))
    texts = ["a b c", "F, a"]
    logits, _ = Session(model).run(texts, last=True)
    expected = np.exp(logits / 2.0) / np.exp(logits / 2.0).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict_proba(model, texts), expected, rtol=1e-6)


def test_many_sequences_in_bounded_batches(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Classify(Series((Numeric("a", 0.0, 1.0),)), ("x", "y"))
    model = make_model(task)
    X = [np.full(n, 0.1 * n) for n in (50, 3, 3, 20, 1)]
    whole = predict_proba(model, X)
    monkeypatch.setattr(module, "STEPS", 20)
    sizes = []

    class Counted:
        def __init__(self) -> None:
            self.session = Session(model)

        def run(self, x: Any, *, last: bool, lengths: Any) -> Any:
            sizes.append(x.shape[:2])
            return self.session.run(x, last=last, lengths=lengths)

    np.testing.assert_array_equal(whole, predict_proba(model, X, session=Counted()))
    assert sizes == [(50, 1), (20, 1), (3, 3)]


def test_models_that_are_no_classifier() -> None:
    blocks = (GRU(1, 3), Linear(3, 2))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in parameters(blocks).items()}
    with pytest.raises(InputError, match="the model is no classifier"):
        task_of(Model(Spec(blocks), arrays))


def test_numbers_that_overflow(make_model: MakeModel) -> None:
    X = [np.zeros((2, 2)), np.array([[0.0, 0.0], [1e28, 0.0]])]
    narrow = make_model(Classify(Series((Numeric("a", 0.0, 1e-15), Numeric("b", 0.0, 1.0))), ("x", "y")))
    message = r"sequence 2, step 2: channel 1 is 1e\+28, 1e\+43 standard deviations from the mean"
    with pytest.raises(InputError, match=message):
        predict(narrow, X)
    least = make_model(Classify(Series((Numeric("a", 0.0, 3e-308), Numeric("b", 0.0, 1.0))), ("x", "y")))
    with pytest.raises(InputError, match="inf standard deviations"):
        predict(least, X)


@pytest.mark.parametrize("labels", ["sequence", "step"])
def test_an_output_that_is_not_finite(make_model: MakeModel, labels: Any) -> None:
    model = make_model(Classify(WORDS, ("x", "y"), labels), bidirectional=False)
    model.arrays["0.weight"][2] = np.nan  # of the word b
    given = [["a"], ["a", "b"]]
    assert len(predict_proba(model, given[:1])) == 1
    with pytest.raises(InputError, match="the model's output for sequence 2 is not finite: look for extreme values"):
        predict_proba(model, given)


@pytest.mark.parametrize("texts", [[""], ["a", " "], [["a"], []], [[], ["a"]]])
def test_an_empty_text(make_model: MakeModel, texts: Any) -> None:
    model = make_model(Classify(WORDS, ("x", "y")))
    with pytest.raises(InputError, match="sequence [12] is empty: it has no words"):
        predict(model, texts)
