"""Small data that a small network learns in a second, and untrained models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.model import Model
from grus.spec import Classify, Mean, Spec, parameters
from grus.tasks.classify.chain import make_chain
from grus.tasks.classify.settings import Architecture, Optimiser, Settings, Trainer

Texts = tuple[list[str], list[str]]


@pytest.fixture
def texts() -> Texts:
    """60 short texts of two classes, told apart by some of their words."""
    rng = np.random.default_rng(0)
    found, labels = [], []
    for i in range(60):
        good = i % 2 == 0
        words = rng.choice(["the", "film", "was", "a"], 4 + i % 5).tolist()
        words[int(rng.integers(len(words)))] = str(rng.choice(["fine", "lovely"] if good else ["dull", "awful"]))
        found.append(" ".join(words))
        labels.append("good" if good else "bad")
    return found, labels


@pytest.fixture
def series() -> tuple[list[np.ndarray[Any, Any]], list[int]]:
    """60 series [T, 2] of unequal lengths: class 3 rises, class 10 falls, class 25 does neither."""
    rng = np.random.default_rng(0)
    found, labels = [], []
    for i in range(60):
        slope, label = [(0.5, 3), (-0.5, 10), (0.0, 25)][i % 3]
        steps = 6 + i % 7
        one = rng.normal(0, 0.3, (steps, 2)) + 5
        one[:, 1] = slope * np.arange(steps) + one[:, 1]
        found.append(one)
        labels.append(label)
    return found, labels


@pytest.fixture
def small() -> Callable[..., Settings]:
    """Settings of a network that trains in a moment; keywords go to where they belong."""

    def make(**given: Any) -> Settings:
        def kind(cls: Any, **default: Any) -> Any:
            names = cls.__dataclass_fields__
            return cls(**default | {name: given.pop(name) for name in list(given) if name in names})

        architecture = kind(Architecture, hidden_size=8, embedding_size=8)
        optimiser = kind(Optimiser, batch_size=10, learning_rate=0.02)
        trainer = kind(Trainer, epochs=12, validation=0.2, dropout=0.1)
        return Settings(architecture=architecture, optimiser=optimiser, trainer=trainer, **given)

    return make


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """Random weights for a task."""

    def make(task: Classify, seed: int = 0, **architecture: Any) -> Model:
        chosen = Architecture(hidden_size=5, embedding_size=4, **architecture)
        chain = make_chain(task, chosen)
        blocks = (Mean((chain,) * chosen.members),) if chosen.members > 1 else chain
        rng = np.random.default_rng(seed)
        arrays = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in parameters(blocks).items()}
        return Model(Spec(blocks, task), arrays)

    return make
