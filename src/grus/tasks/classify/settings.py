"""What a person can choose before training: how text is read, the architecture, the optimiser, the trainer."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from grus.errors import InputError
from grus.tasks.checks import PRECISIONS, SCHEDULES, choice, flags, integers, keep, number, shares

__all__ = ["Architecture", "Optimiser", "Settings", "Trainer"]


@dataclass(frozen=True)
class Architecture:
    """The network: ``members`` networks whose outputs are averaged, each of ``num_layers`` GRUs of ``hidden_size``
    units, in both directions where ``bidirectional``.

    pooling: what of the steps the classes are read from: the last one, or of all the maximum, the mean, or a mean that
    attends to some; without use where every step has a label. embedding_size: numbers a word becomes.
    """

    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = True
    pooling: str = "max"
    embedding_size: int = 128
    members: int = 1

    def __post_init__(self) -> None:
        integers(self, 1, "hidden_size", "num_layers", "embedding_size", "members")
        flags(self, "bidirectional")
        choice(self, "pooling", "last", "max", "mean", "attention")


@dataclass(frozen=True)
class Optimiser:
    """How the weights move: AdamW, ``batch_size`` sequences a step, the norm of the gradient held below ``clip``.

    accumulate: in how many parts a step's batch is computed one after the other, which takes less memory.
    """

    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    batch_size: int = 32
    clip: float = 1.0
    accumulate: int = 1
    schedule: str = "cosine"
    precision: str = "float32"

    def __post_init__(self) -> None:
        keep(self, "learning_rate", number("learning_rate", self.learning_rate, 0, above=True))
        keep(self, "weight_decay", number("weight_decay", self.weight_decay, 0))
        keep(self, "clip", number("clip", self.clip, 0, above=True))
        integers(self, 1, "batch_size", "accumulate")
        if self.accumulate > self.batch_size:
            raise InputError(
                f"accumulate is {self.accumulate}, expected at most batch_size, {self.batch_size}",
                "accumulate",
                "batch_size",
            )
        choice(self, "schedule", *SCHEDULES)
        choice(self, "precision", *PRECISIONS)


@dataclass(frozen=True)
class Trainer:
    """How long to train, when to stop, and against what.

    epochs: times every sequence is seen, at most; None leaves it to the amount of data.
    validation: the share of the sequences that is held back, of each class alike, to find the best epoch and to
        calibrate the probabilities; 0 for none. patience: looks at them (20 in all) that may bring nothing new.
    refit: then train anew, on all sequences, for as many epochs as were best.
    dropout: of the GRUs' outputs; word_dropout: of whole words; input_dropout: of what the first GRU reads.
    average: decay of the moving average of the weights, which is what is kept; 0 for the weights themselves.
    class_weights: "balanced" makes rare classes count as much as frequent ones.
    label_smoothing: the share of a label that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    initial: the weights the GRUs begin with: "uniform", as PyTorch draws them, or "spread" for sequences of hundreds of
        steps: orthogonal recurrent matrices (Saxe et al. 2014, arXiv:1312.6120), and units that keep their state for
        short, long and very long (Gu et al. 2020, arXiv:1910.09890).
    seed: everything random follows from it.
    """

    epochs: int | None = None
    validation: float = 0.1
    patience: int = 8
    refit: bool = False
    dropout: float = 0.3
    word_dropout: float = 0.1
    input_dropout: float = 0.1
    average: float = 0.99
    class_weights: str | None = None
    label_smoothing: float = 0.0
    initial: str = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs is not None:
            integers(self, 1, "epochs")
        integers(self, 1, "patience")
        integers(self, 0, "seed")
        shares(
            self, "validation", "dropout", "word_dropout", "input_dropout", "average", "label_smoothing"
        )  # fmt: skip
        flags(self, "refit")
        if self.refit and not self.validation:
            raise InputError(
                "refit is True, but validation is 0: nothing is held back to find the best epoch by",
                "refit",
                "validation",
            )
        choice(self, "class_weights", "balanced", None)
        choice(self, "initial", "uniform", "spread")


@dataclass(frozen=True)
class Settings:
    """All that training needs beside the data.

    tokens: what a step of a text is: "words", "characters", or "subwords" (byte-pair encoding). Of text in tokens each
        is a step, looked up as one of words.
    vocabulary_size: different ones at most. least_count: of words, how often one must occur. lower: them in lower case.
    vocabulary: a file to take instead of learning one (see ``grus.inputs.text.read_vocabulary``).
    longest: the steps of a sequence that are read; 0 for all, None for at most 1,000 of a text and all of a series.

    What would have no effect is refused where it is not the default: least_count or lower of what is not words,
    vocabulary_size or least_count beside a vocabulary, any of the first five for series.
    """

    tokens: str = "words"
    vocabulary_size: int = 20_000
    least_count: int = 2
    lower: bool = True
    vocabulary: str | None = None
    longest: int | None = None
    architecture: Architecture = field(default_factory=Architecture)
    optimiser: Optimiser = field(default_factory=Optimiser)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        choice(self, "tokens", "words", "characters", "subwords")
        integers(self, 1, "vocabulary_size", "least_count")
        flags(self, "lower")
        if self.vocabulary is not None:
            keep(self, "vocabulary", _path(self.vocabulary))
        self._check_text()
        if self.longest is not None:
            integers(self, 0, "longest")
        for name, kind in (("architecture", Architecture), ("optimiser", Optimiser), ("trainer", Trainer)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name} is {getattr(self, name)!r}, expected {kind.__name__}(…)")
        if self.architecture.pooling == "last" and self.architecture.bidirectional:
            raise InputError(
                "pooling is 'last' in both directions, but backwards the last step is read first and knows no other: "
                "read forward alone (bidirectional=False), or take 'max', 'mean' or 'attention'",
                "pooling",
                "bidirectional",
            )

    def of_text(self) -> list[str]:
        """The names of what is set to something else than its default and is for texts alone."""
        names = ("tokens", "vocabulary_size", "least_count", "lower", "vocabulary")
        return [name for name in names if getattr(self, name) != type(self).__dataclass_fields__[name].default]

    def _check_text(self) -> None:
        """Refuse what would have no effect beside the other settings of text."""
        given = self.of_text()
        words = self.tokens == "words"
        for name, useless, why in (
            ("vocabulary_size", self.vocabulary is not None, "vocabulary names a file to take as it is"),
            ("least_count", self.vocabulary is not None, "vocabulary names a file to take as it is"),
            ("least_count", not words, f"tokens is {self.tokens!r}: only words are left out where they are rare"),
            ("lower", not words, f"tokens is {self.tokens!r}, which always tell capitals apart"),
        ):
            if useless and name in given:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, but {why}: leave {name} out", name, "tokens", "vocabulary"
                )


def _path(given: Any) -> str:
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
        raise InputError(f"vocabulary is {given!r}, expected the path of a file")
    return os.fspath(given)
