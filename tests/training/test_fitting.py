"""What stands around every fit: names of trainings, what tells two fits apart, the models of several members."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from grus.runtime.session import Session
from grus.spec import GRU, Language, Linear, Mean
from grus.spec.task import Characters
from grus.torch.network import Network
from grus.training.fitting import Fitting, Trained, identity, numbered, optimisation

CHAIN = (GRU(1, 4), Linear(4, 3))


@dataclasses.dataclass(frozen=True)
class Optimiser:
    learning_rate: float = 0.25
    weight_decay: float = 0.5
    clip: float = 2.0
    accumulate: int = 1
    schedule: str = "linear"
    precision: str = "float32"


@dataclasses.dataclass(frozen=True)
class Dropout:
    output: float = 0.1


@dataclasses.dataclass(frozen=True)
class Settings:
    tokens: str = "words"
    dropout: Dropout = Dropout()
    optimiser: Optimiser = Optimiser()


def test_a_fit_is_known_by_its_settings_and_data_but_not_by_the_parts_of_a_batch() -> None:
    found = [identity("toy", Settings(optimiser=Optimiser(accumulate=n)), hashlib.sha256(b"data")) for n in (1, 2)]
    assert found[0] == found[1]
    assert found[0] == {
        "task": "toy",
        "processes": 1,
        "recurrent": None,
        "tokens": "words",
        "output dropout": 0.1,
        "learning_rate": 0.25,
        "weight_decay": 0.5,
        "clip": 2.0,
        "schedule": "linear",
        "precision": "float32",
        "data": hashlib.sha256(b"data").hexdigest(),
    }


def test_twenty_looks_at_what_is_held_back() -> None:
    found = optimisation(Optimiser(), 101, patience=3, average=0.5)  # type: ignore[arg-type]
    assert (found.steps, found.validate_every, found.patience, found.average) == (101, 6, 3, 0.5)
    assert (found.learning_rate, found.weight_decay, found.clip_norm, found.schedule) == (0.25, 0.5, 2.0, "linear")


def test_only_several_members_are_numbered() -> None:
    assert [numbered("refit", 0, 1), numbered("refit", 1, 3)] == ["refit", "refit 2/3"]


def test_the_model_of_several_members_is_their_mean() -> None:
    task, x = Language(Characters(("a", "b"))), np.ones((2, 1, 1), np.float32)
    networks = [Network(CHAIN) for _ in range(2)]
    single = [Trained([network], task, [], {}).model() for network in networks]
    both = Trained(networks, task, [], {}).model()
    assert both.spec.blocks == (Mean((CHAIN, CHAIN)),)
    assert single[0].spec.blocks == CHAIN
    outputs = [Session(model).run(x)[0] for model in (*single, both)]
    np.testing.assert_allclose(outputs[2], (outputs[0] + outputs[1]) / 2, rtol=1e-6, atol=1e-7)


def test_an_unknown_keyword_is_told() -> None:
    with pytest.raises(TypeError, match="progres"):
        Fitting(progres=False)  # type: ignore[call-arg]
