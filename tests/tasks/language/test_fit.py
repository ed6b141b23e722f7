"""Training: that it learns, what it keeps, that the state is carried, and that it is repeatable."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grus.errors import InputError
from grus.model import Model
from grus.spec import GRU, Embedding, Linear
from grus.tasks.language import Architecture, Dropout, LanguageModel, Settings, Trainer
from grus.tasks.language import fit as fit_module
from grus.tasks.language.corpus import Streams, split
from grus.tasks.language.evaluate import evaluate
from grus.tasks.language.fit import bits_per_character, fit, fit_network, make_chain
from grus.torch.network import Network, from_model
from grus.torch.network.peers import lstm_of_equal_parameters, torch_gru
from grus.training.interrupt import Interrupt, Interrupted


def same(left: Model, right: Model) -> bool:
    return left.spec == right.spec and all(np.array_equal(left.arrays[n], right.arrays[n]) for n in left.arrays)


def test_it_learns_what_follows_what(characters: LanguageModel, small: Settings, text: str) -> None:
    fitted = fit(text, replace(small, trainer=replace(small.trainer, steps=400)), progress=False)
    validation = [row["validation"] for row in fitted.history]
    assert validation[-1] < 0.5 * validation[0]
    # of the two words in a pair of 2 · 5.4 characters the first is drawn from seven: that much cannot be known
    floor = math.log2(7) / (2 * np.mean([len(word) + 1 for word in text.split()]))
    assert floor < evaluate(fitted.model, split(text, small).test)["GRU"]["bits/character"] < 2 * floor


def test_what_it_says_of_itself(text: str, small: Settings) -> None:
    fitted, parts = fit(text, small, progress=False), split(text, small)
    assert parts.train + parts.validation + parts.test == text
    assert {row["training"] for row in fitted.history} == {"training"}
    assert [row["step"] for row in fitted.history] == list(range(3, 61, 3))
    kind = fitted.model.spec.task.input
    assert set(kind.vocabulary) == set(parts.train)


def test_what_is_held_out_has_no_say(text: str, small: Settings) -> None:
    fitted, parts = fit(text, small, progress=False), split(text, small)
    other = text[: -len(parts.test)] + "@" * len(parts.test)
    assert same(fitted.model, fit(other, small, progress=False).model)


def test_the_best_weights_by_the_validation_part_are_kept(
    text: str, small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(small, validation=0.0)
    assert all("validation" not in row for row in fit(text, whole, progress=False).history)
    scores = [3.0, 1.0, *[2.0] * 18]
    seen: list[dict[str, np.ndarray]] = []

    def validate(self: object, network: Network) -> float:
        seen.append({name: tensor.numpy().copy() for name, tensor in network.state_dict().items()})
        return scores[len(seen) - 1]

    monkeypatch.setattr(fit_module._Validation, "__call__", validate)
    fitted = fit(text, small, progress=False)
    assert fitted.history[-1]["step"] == 6 + 4 * 3  # the best, and four that brought nothing new
    assert all(np.array_equal(array, seen[1][name]) for name, array in fitted.model.arrays.items())


def test_seeds(text: str, small: Settings) -> None:
    quick = replace(small, trainer=replace(small.trainer, steps=5), dropout=Dropout(0.2, 0.1, 0.1, 0.1, 0.1))
    models = [
        fit(text, replace(quick, trainer=replace(quick.trainer, seed=seed)), progress=False).model for seed in (3, 3, 4)
    ]
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_a_wide_embedding_to_start_with(text: str, small: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grus.training.run.learning_rate", lambda *_: 0.0)
    trained = fit_network(text, replace(small, trainer=replace(small.trainer, steps=1)), progress=False)
    assert trained.networks[0].state_dict()["0.weight"].std().item() == pytest.approx(1, rel=0.2)


def make_reading(small: Settings, accumulate: int, window: int) -> tuple[Network, fit_module._Reading]:
    ids = np.random.default_rng(0).integers(1, 9, size=6 * 50)
    torch.manual_seed(0)
    streams = Streams(ids, 6, window)
    return Network(make_chain(9, small)), fit_module._Reading(streams, accumulate, torch.device("cpu"))


def totals(network: Network, reading: fit_module._Reading, steps: range) -> list[float]:
    with torch.no_grad():
        return [sum(part.total(network).item() for part in reading.parts(step)) for step in steps]


@pytest.mark.parametrize(("accumulate", "window"), [(1, 7), (4, 7), (6, 50), (1, 1)])
def test_windows_and_parts_do_not_change_what_is_read(small: Settings, accumulate: int, window: int) -> None:
    whole = totals(*make_reading(small, 1, 50), range(1))[0]
    network, reading = make_reading(small, accumulate, window)
    steps = reading.streams.epoch_steps
    assert sum(totals(network, reading, range(steps))) == pytest.approx(whole, rel=1e-5)
    assert sum(totals(network, reading, range(steps, 2 * steps))) == pytest.approx(whole, rel=1e-5)  # begins anew
    counts = [part.count for step in range(steps) for part in reading.parts(step)]
    assert sum(counts) == 6 * 50


def test_gradients_end_where_the_window_begins(small: Settings) -> None:
    network, reading = make_reading(small, 1, 7)
    for step in range(2):
        (part,) = reading.parts(step)
        part.total(network).backward()
        assert all(not tensor.requires_grad for state in reading.states for tensor in state or ())


@pytest.mark.parametrize("accumulate", [1, 4])
def test_what_is_carried_goes_on(small: Settings, accumulate: int) -> None:
    network, reading = make_reading(small, 2, 7)
    assert reading.carried() == {}
    totals(network, reading, range(3))
    carried = reading.carried()
    assert {name: array.shape for name, array in carried.items()} == {"0": (6, 24)}
    _, again = make_reading(small, accumulate, 7)
    again.restore(carried)
    assert totals(network, again, range(3, 5)) == pytest.approx(totals(network, reading, range(3, 5)), rel=1e-5)
    again.restore({})
    assert again.carried() == {}


def test_an_interrupted_fit_goes_on_to_the_same_bits(
    text: str, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, path = replace(small, dropout=Dropout(output=0.1)), tmp_path / "checkpoint"
    unbroken = fit(text, small, progress=False).model
    parts = fit_module._Reading.parts
    pressed: list[Interrupt] = []
    monkeypatch.setattr(Interrupt, "__enter__", lambda self: pressed.append(self) or self)

    def stopping(self: fit_module._Reading, step: int) -> object:
        if pressed:
            pressed[-1].requested = step == 17  # within an epoch: there is a state to carry
        return parts(self, step)

    monkeypatch.setattr(fit_module._Reading, "parts", stopping)
    with pytest.raises(Interrupted, match="stopped at step 17 of 60"):
        fit(text, small, progress=False, checkpoint=path)
    monkeypatch.undo()
    with pytest.raises(InputError, match="hidden_size was 24, is 25"):
        fit(
            text,
            replace(small, architecture=Architecture(25, embedding_size=8)),
            progress=False,
            checkpoint=path,
            resume=True,
        )
    with pytest.raises(InputError, match="the data are not the same"):
        fit(text + "!", small, progress=False, checkpoint=path, resume=True)
    assert same(fit(text, small, progress=False, checkpoint=path, resume=True).model, unbroken)


@pytest.mark.parametrize("width", [8, 24])
def test_tied_weights(text: str, small: Settings, width: int) -> None:
    quick = replace(
        small,
        architecture=Architecture(24, num_layers=2, embedding_size=width, tied=True),
        trainer=replace(small.trainer, steps=10),
    )
    model = fit(text, quick, progress=False).model
    blocks = model.spec.blocks
    inner = () if width == 24 else (Linear(24, width),)
    tokens = blocks[0].size
    assert blocks == (Embedding(tokens, width), GRU(width, 24), GRU(24, 24), *inner, Linear(width, tokens))
    assert np.array_equal(model.arrays["0.weight"], model.arrays[f"{len(blocks) - 1}.weight"])


def test_subwords(subwords: LanguageModel, text: str) -> None:
    kind = subwords.model_.spec.task.input
    assert len(kind.vocabulary) <= 300
    assert evaluate(subwords.model_, text)["GRU"]["bits/character"] < 3


def test_a_network_and_its_model_give_the_same_bits(characters: LanguageModel, text: str) -> None:
    model, part = characters.model_, text[:300] + "Ω"
    measured = bits_per_character(from_model(model), model.spec.task, part)
    assert measured == pytest.approx(evaluate(model, part)["GRU"]["bits/character"], rel=1e-6)


@pytest.mark.parametrize("recurrent", [torch_gru, lstm_of_equal_parameters])
def test_other_modules_in_the_place_of_the_gru(text: str, small: Settings, recurrent: Callable[..., object]) -> None:
    trained = fit_network(text, small, recurrent=recurrent, progress=False)  # type: ignore[arg-type]
    assert any(isinstance(module, (torch.nn.GRU, torch.nn.LSTM)) for module in trained.networks[0].modules())
    assert trained.history[-1]["loss"] < 0.8 * trained.history[0]["loss"]
    bits = bits_per_character(trained.networks[0], trained.task, split(text, small).test)  # type: ignore[arg-type]
    assert 0 < bits < math.log2(len(set(text)))


def test_the_same_weights_give_the_same_training_whoever_computes_the_gru(text: str, small: Settings) -> None:
    quick = replace(small, trainer=replace(small.trainer, steps=10))
    ours, torchs = (fit_network(text, quick, recurrent=r, progress=False) for r in (None, torch_gru))
    assert ours.history[0]["loss"] == pytest.approx(torchs.history[0]["loss"], rel=0.05)
    assert ours.history[-1]["loss"] == pytest.approx(torchs.history[-1]["loss"], rel=0.05)


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        (Trainer(steps=7), 7),
        (Trainer(epochs=3), 3 * 40),
        (Trainer(), 1500),  # ten epochs are too few
    ],
)
def test_how_long(trainer: Trainer, steps: int) -> None:
    assert fit_module._optimisation(Settings(trainer=trainer), 40).steps == steps
    assert fit_module._optimisation(Settings(), 10**6).steps == 20_000


def test_a_text_too_short(text: str) -> None:
    with pytest.raises(InputError, match="32 streams with a window of 100 need 3,200"):
        fit(text[:3000], Settings(), progress=False)


def test_metrics_go_to_a_file(text: str, small: Settings, tmp_path: Path) -> None:
    quick = replace(small, trainer=replace(small.trainer, steps=3))
    fitted = fit(text, quick, progress=False, metrics=tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [row["loss"] for row in fitted.history]
    fit(text, quick, progress=False, metrics=str(tmp_path / "rows.jsonl"))
    with pytest.raises(InputError, match="expected a file in a folder that exists"):
        fit(text, quick, progress=False, metrics=tmp_path / "no" / "rows.jsonl")


def test_a_fitted_language_model_is_pickled_with_its_text(characters: LanguageModel) -> None:
    again = pickle.loads(pickle.dumps(characters))
    assert "".join(again.generate("ein", 20, seed=2)) == "".join(characters.generate("ein", 20, seed=2))
    assert again.evaluate().to_json() == characters.evaluate().to_json()
