"""Settings: what is not allowed, and what is left open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.tasks.language import Architecture, Dropout, Optimiser, Settings, Trainer


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Settings, {"tokens": "words"}, "tokens is 'words', expected one of 'characters', 'subwords'"),
        (Settings, {"held_out": 1.0}, "held_out is 1.0, expected a number from 0 to below 1"),
        (Settings, {"validation": -0.1}, "validation is -0.1"),
        (Settings, {"vocabulary_size": 0}, "vocabulary_size is 0"),
        (Settings, {"tokens": "subwords", "vocabulary_size": 255}, "vocabulary_size is 255, expected at least 256"),
        (Settings, {"trainer": None}, "trainer is None"),
        (Architecture, {"hidden_size": 0}, "hidden_size is 0"),
        (Architecture, {"hidden_size": None}, "hidden_size is None"),
        (Architecture, {"tied": "yes"}, "tied is 'yes'"),
        (Dropout, {"weight": 1}, "weight dropout is 1.0"),
        (Optimiser, {"learning_rate": 0}, "learning_rate is 0"),
        (Optimiser, {"schedule": "steps"}, "schedule is 'steps'"),
        (Optimiser, {"batch_size": 4, "accumulate": 5}, "accumulate is 5, but the batch has 4"),
        (Trainer, {"epochs": 1, "steps": 5}, "epochs is 1 and steps is 5"),
        (Optimiser, {"precision": "float16"}, "precision is 'float16'"),
        (Trainer, {"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings(kind: type[Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**given)


def test_what_is_left_open() -> None:
    assert (Settings().most, Settings().embedding_size, Settings().tied) == (5000, 64, False)
    pieces = Settings(tokens="subwords")
    assert (pieces.most, pieces.embedding_size, pieces.tied) == (4096, 256, True)
    assert Settings(architecture=Architecture(tied=True, embedding_size=9)).embedding_size == 9


def test_numbers_of_numpy_become_plain() -> None:
    trainer = Trainer(epochs=np.int64(3), window=np.int32(7))
    assert (type(trainer.epochs), type(trainer.window)) == (int, int)
