"""Training small networks: they learn, go on after an interruption to the bit, and fit what is said of them."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grus.errors import InputError, Note
from grus.runtime.session import Session
from grus.spec import Embedding, Mean, Pool
from grus.tasks.classify import fit as module
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.fit import fit, fit_networks
from grus.tasks.classify.predict import predict, predict_proba, run_all, task_of
from grus.tasks.classify.prepare import Encoded, encode_inputs, encode_labels, make_task
from grus.tasks.classify.settings import Settings
from grus.torch.network import from_model
from grus.torch.network.peers import lstm_of_equal_parameters, spread_lstm_, torch_gru
from grus.training.interrupt import Interrupt, Interrupted

Texts = tuple[list[str], list[str]]
Small = Callable[..., Settings]


def accuracy(found: Any, truth: Any) -> float:
    return float(np.mean([str(a) == str(b) for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("pooling", ["last", "max", "mean", "attention"])
def test_texts_are_learned(texts: Texts, small: Small, pooling: str) -> None:
    fitted = fit(as_examples(*texts), small(pooling=pooling), progress=False)
    assert accuracy(predict(fitted.model, texts[0]), texts[1]) > 0.9
    blocks = fitted.model.spec.blocks
    assert isinstance(blocks[0], Embedding)
    assert isinstance(blocks[2], Pool)
    assert blocks[2].function == ("ends" if pooling == "last" else pooling)
    assert fitted.validation["sequences"] == 12
    assert fitted.validation["accuracy"] > 0.7
    assert [row["step"] for row in fitted.history] == sorted({row["step"] for row in fitted.history})
    assert all(math.isfinite(row["validation"]) for row in fitted.history)


def test_series_are_learned(series: Any, small: Small) -> None:
    model = fit(as_examples(*series), small(), progress=False).model
    assert task_of(model).classes == ("3", "10", "25")
    assert accuracy(predict(model, series[0]), series[1]) > 0.9


def test_steps_are_learned(rng: np.random.Generator, small: Small) -> None:
    """A word's tag depends on the word before it."""
    X = [rng.choice(["a", "b"], n).tolist() for n in rng.integers(2, 9, 60)]
    y = [["first", *(f"after {word}" for word in row[:-1])] for row in X]
    settings = small(epochs=40, word_dropout=0.0, input_dropout=0.0)
    found = predict(fit(as_examples(X, y), settings, progress=False).model, X)
    assert accuracy(chain(*found), chain(*y)) > 0.95


def test_members_are_averaged_and_calibrated_together(texts: Texts, small: Small) -> None:
    fitted = fit(as_examples(*texts), small(members=2, epochs=4), progress=False)
    model = fitted.model
    assert isinstance(model.spec.blocks[0], Mean)
    assert {row["training"] for row in fitted.history} == {"training 1/2", "training 2/2"}
    first, second = (model.arrays[f"0.{m}.0.weight"] for m in (0, 1))
    assert not np.array_equal(first, second)
    assert task_of(model).temperature != 1.0
    network = from_model(model).eval()
    with torch.no_grad():
        ids = torch.tensor(encode_inputs(as_examples(texts[0][:1]), task_of(model))[0])[:, None]
        logits = network(ids, last=True).double() / task_of(model).temperature
    np.testing.assert_allclose(predict_proba(model, texts[0][:1]), torch.softmax(logits, -1), atol=1e-5)


def test_refit_trains_on_all_for_as_long_as_was_best(texts: Texts, small: Small) -> None:
    settings = small(refit=True, epochs=6)
    fitted = fit(as_examples(*texts), settings, progress=False)
    search = [row for row in fitted.history if row["training"] == "training"]
    again = [row for row in fitted.history if row["training"] == "refit"]
    best = min(row["validation"] for row in search) * (1 + module.TOLERANCE)
    share = max(row["step"] for row in search if row["validation"] <= best) / (6 * 5)  # 48 of 60 are five batches
    assert again[-1]["step"] == round(share * 6 * 6)
    assert "validation" not in again[-1]


def test_without_anything_held_back(texts: Texts, small: Small) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit(as_examples(*texts), small(validation=0.0, epochs=2))
    assert fitted.validation == {}
    assert task_of(fitted.model).temperature == 1.0
    few = as_examples(["a a", "b b"] * 2, ["x", "y"] * 2)
    with pytest.warns(Note, match="too few sequences to hold some back"):
        assert fit(few, small(epochs=2)).validation == {}


@pytest.mark.parametrize("recurrent", [None, torch_gru, lstm_of_equal_parameters])
def test_a_spread_start(series: Any, small: Small, recurrent: Any) -> None:
    """Nearly as it began, for one step at a tiny rate: every gate's recurrent matrix is orthogonal, and what is kept
    is spread from 1/H to 1 − 1/H."""
    settings = small(initial="spread", epochs=1, batch_size=60, learning_rate=1e-9, average=0.0)
    trained = fit_networks(as_examples(*series), settings, recurrent=recurrent, progress=False)
    arrays = {name: t.numpy() for name, t in trained.networks[0].state_dict().items()}
    names = [name for name in arrays if "weight_hh" in name]
    assert len(names) == 2
    for name in names:
        units = arrays[name].shape[1]
        gates = arrays[name].reshape(-1, units, units)
        np.testing.assert_allclose(gates @ gates.transpose(0, 2, 1), np.stack([np.eye(units)] * len(gates)), atol=1e-5)
        biases = sum(arrays[name.replace("weight_hh", kind)] for kind in ("bias_ih", "bias_hh"))
        if recurrent is lstm_of_equal_parameters:
            np.testing.assert_allclose(biases[:units], -biases[units : 2 * units], atol=1e-6)
        keep = 1 / (1 + np.exp(-biases.reshape(-1, units)[1]))  # the update gate of a GRU, the forget gate of an LSTM
        assert 1 / units < keep.min() < 0.5 < keep.max() < 1 - 1 / units


@pytest.mark.parametrize(("given", "message"), [({"bias": False}, "no biases"), ({"proj_size": 2}, "projections")])
def test_an_lstm_that_cannot_be_spread(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"LSTM\(3, 4, .*\) has {message}, expected one with biases alone"):
        spread_lstm_(torch.nn.LSTM(3, 4, **given))


def test_the_same_seed_the_same_model(texts: Texts, small: Small) -> None:
    examples = as_examples(*texts)
    hashes = [fit(examples, small(epochs=2, seed=seed), progress=False).model.hash for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_an_interrupted_fit_goes_on_to_the_bit(
    texts: Texts, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, settings = as_examples(*texts), small(members=2, refit=True, epochs=3)
    unbroken = fit(examples, settings, progress=False, metrics=tmp_path / "whole.jsonl").model
    checkpoint, log = tmp_path / "checkpoint", tmp_path / "log.jsonl"
    steps = 0
    train_parts = module._Objective.parts

    def parts(self: Any, step: int) -> Any:
        nonlocal steps
        steps += 1
        if steps in (7, 20, 39):
            raise_interrupt()
        return train_parts(self, step)

    interrupts: list[Interrupt] = []
    enter = Interrupt.__enter__
    monkeypatch.setattr(Interrupt, "__enter__", lambda self: interrupts.append(self) or enter(self))

    def raise_interrupt() -> None:
        interrupts[-1].requested = True

    monkeypatch.setattr(module._Objective, "parts", parts)
    resume = False
    for _ in range(3):
        with pytest.raises(Interrupted):
            fit(examples, settings, progress=False, checkpoint=checkpoint, resume=resume, metrics=log)
        resume = True
    with pytest.raises(InputError, match="seed was 0, is 5"):
        fit(
            examples, small(members=2, refit=True, epochs=3, seed=5), progress=False, checkpoint=checkpoint, resume=True
        )
    other = as_examples(texts[0], texts[1][::-1])
    with pytest.raises(InputError, match="the data are not the same"):
        fit(other, settings, progress=False, checkpoint=checkpoint, resume=True)
    done = fit(examples, settings, progress=False, checkpoint=checkpoint, resume=True, metrics=log).model
    assert done.hash == unbroken.hash
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (tmp_path / "whole.jsonl", log)]
    for row in chain(*rows):
        del row["seconds"]
    assert rows[0] == rows[1] != []


def test_a_resumed_fit_may_take_smaller_parts(
    texts: Texts, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, checkpoint = as_examples(*texts), tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "__enter__", lambda self: setattr(self, "requested", True) or self)
        with pytest.raises(Interrupted):
            fit(examples, small(epochs=1), progress=False, checkpoint=checkpoint)
    fitted = fit(examples, small(epochs=1, accumulate=2), progress=False, checkpoint=checkpoint, resume=True)
    assert fitted.history


def test_accumulation_changes_rounding_alone(series: Any, small: Small) -> None:
    examples = as_examples(*series)
    arrays = [
        fit(examples, small(accumulate=n, epochs=1, dropout=0.0, input_dropout=0.0), progress=False).model.arrays
        for n in (1, 3)
    ]
    for name, array in arrays[0].items():
        np.testing.assert_allclose(array, arrays[1][name], atol=2e-4)


def test_the_loss_of_padded_batches_is_that_of_each_alone(rng: np.random.Generator, small: Small) -> None:
    """Class weights, label smoothing, unequal lengths and labels a step: against the equation, sequence by sequence."""
    X = [rng.choice(["a", "b"], n).tolist() for n in (2, 5, 3)]
    y = [rng.choice(["p", "q", "r"], len(row)).tolist() for row in X]
    y[0][0], y[1][:3] = "r", ["p", "q", "p"]
    examples = as_examples(X, y)
    settings = small(least_count=1, class_weights="balanced", label_smoothing=0.3)
    task = make_task(examples, settings)
    x = encode_inputs(examples, task)
    encoded = Encoded(x, encode_labels(examples, task, x))
    objective = module._Objective(encoded, task, settings, (0,))
    (part,) = objective.parts(0)
    network = module.Network(module.make_chain(task, settings.architecture)).eval()
    counts = np.bincount(np.concatenate(encoded.target))
    expected = 0.0
    for steps, truth in zip(x, encoded.target, strict=True):
        with torch.no_grad():
            logits = network(torch.tensor(steps)[:, None])[:, 0].double()
        for row, k in zip(torch.log_softmax(logits, -1).numpy(), truth, strict=True):
            weights = counts.sum() / (3 * counts)
            expected -= 0.7 * weights[k] * row[k] + 0.3 / 3 * (weights * row).sum()
    assert part.count == 10
    assert part.total(network).item() == pytest.approx(expected, rel=1e-5)


def test_rare_classes_count_as_much_where_that_is_wanted(rng: np.random.Generator, small: Small) -> None:
    X = rng.normal(0, 1, (200, 3))
    y = np.where(np.arange(200) % 20 == 0, "rare", "often")
    X[y == "rare"] += 0.7
    examples = as_examples(X, y)
    plain, balanced = (
        predict(fit(examples, small(class_weights=w, epochs=4), progress=False).model, X).count("rare")
        for w in (None, "balanced")
    )
    assert balanced > plain + 10


@pytest.mark.parametrize("recurrent", [torch_gru, lstm_of_equal_parameters])
def test_other_layers_for_comparisons(texts: Texts, small: Small, recurrent: Any) -> None:
    trained = fit_networks(as_examples(*texts), small(), recurrent=recurrent, progress=False)
    p = np.concatenate(trained.predict_proba(texts[0]))
    assert accuracy([trained.task.classes[i] for i in p.argmax(axis=1)], texts[1]) > 0.85


def test_networks_and_session_agree(texts: Texts, small: Small) -> None:
    trained = fit_networks(as_examples(*texts), small(epochs=2), progress=False)
    model = fit(as_examples(*texts), small(epochs=2), progress=False).model
    for ours, theirs in zip(predict_proba(model, texts[0]), trained.predict_proba(texts[0]), strict=True):
        np.testing.assert_allclose(ours[None], theirs, atol=1e-5)
    assert trained.task == task_of(model)
    x = encode_inputs(as_examples(texts[0][:3]), trained.task)
    assert [o.shape for o in run_all(Session(model), x, trained.task)] == [(1, 2)] * 3


def test_a_loss_that_is_not_finite(texts: Texts, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.F, "cross_entropy", lambda logits, *_, **__: logits.sum() * math.nan)
    with pytest.raises(InputError, match="the loss became nan"):
        fit(as_examples(*texts), small(), progress=False)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a a", "b b"], ["x", "x"], "all labels are 'x'"),
        (["a a", ""], ["x", "y"], "sequence 2 is empty"),
        (["a a", "b b"], None, "the data have no labels"),
        ([[np.nan, np.nan], [1.0]], ["x", "y"], "sequence 1 has no number"),
    ],
)
def test_data_that_cannot_be_learned_from(small: Small, X: Any, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(as_examples(X, y), small(), progress=False)
