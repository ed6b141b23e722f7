"""A small text with much to learn, and models trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from grus.tasks.language import Architecture, LanguageModel, Optimiser, Settings, Trainer

WORDS = ("ein", "Kran", "ich", "fliegt", "über", "den", "Fluß")


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def text() -> str:
    """Words, of which every second is always the one after the word before it."""
    first = np.random.default_rng(0).integers(len(WORDS), size=600)
    return " ".join(f"{WORDS[i]} {WORDS[(i + 1) % len(WORDS)]}" for i in first)


@pytest.fixture(scope="package")
def small() -> Settings:
    """Settings for a training of a moment."""
    return Settings(
        architecture=Architecture(24, embedding_size=8),
        optimiser=Optimiser(learning_rate=0.02, batch_size=4),
        trainer=Trainer(steps=60, window=20),
    )


def _fitted(text: str, small: Settings, **options: Any) -> LanguageModel:
    parts = {name: getattr(small, name) for name in ("architecture", "optimiser", "trainer")}
    return LanguageModel(**parts, **options).fit(text)


@pytest.fixture(scope="package")
def characters(text: str, small: Settings) -> LanguageModel:
    return _fitted(text, small)


@pytest.fixture(scope="package")
def subwords(text: str, small: Settings) -> LanguageModel:
    pytest.importorskip("tokenizers")
    return _fitted(text, small, tokens="subwords", vocabulary_size=300)
