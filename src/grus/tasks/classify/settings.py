"""What a person can choose before training: how text is read, the architecture, the optimiser, the trainer."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from grus.errors import InputError
from grus.tasks import optimiser
from grus.tasks.checks import keep
from grus.tasks.options import Options, option

__all__ = ["Architecture", "Optimiser", "Settings", "Trainer"]


@dataclass(frozen=True)
class Architecture(Options):
    """The network: ``members`` networks whose outputs are averaged, each of ``num_layers`` GRUs of ``hidden_size``
    units, in both directions where ``bidirectional``.
    """

    title = "the network"

    hidden_size: int = option(64, "units in each direction", least=1)
    num_layers: int = option(1, "GRU layers", flag="--layers", least=1)
    bidirectional: bool = option(True, "read forward alone, so that the model can be streamed", flag="--forward")
    pooling: Literal["last", "max", "mean", "attention"] = option(
        "max",
        "what of the steps the class is read from",
        more="the last one (backwards the first, which is read last), or of all the maximum, the mean, or a mean that "
        "attends to some; without use where every step has a label",
    )
    embedding_size: int = option(128, "numbers a word becomes", least=1)
    members: int = option(1, "networks whose mean is the output", more="from other first weights", least=1)


@dataclass(frozen=True)
class Optimiser(optimiser.Optimiser):
    """How the weights move: ``batch_size`` sequences a step."""

    weight_decay: float = 1e-2


@dataclass(frozen=True)
class Trainer(Options):
    """How long to train, when to stop, and against what."""

    epochs: int | None = option(
        None,
        "times to see the data at most",
        otherwise="by the data",
        more="as many as give 2,000 steps, 6 to 100",
        least=1,
    )
    validation: float = option(
        0.1,
        "share held back to stop and to calibrate by, 0 for none",
        more="of each class alike: the best epoch and the temperature are found by it",
        least=0,
        below=1,
    )
    patience: int = option(8, "looks at it, 20 in all, that may bring nothing new", least=1)
    refit: bool = option(False, "then train on all data, for as many epochs as were best")
    dropout: float = option(0.3, "of the GRUs' outputs", least=0, below=1)
    word_dropout: float = option(0.1, "of whole words", least=0, below=1)
    input_dropout: float = option(0.1, "of what the first GRU reads", least=0, below=1)
    average: float = option(
        0.99,
        "decay of the moving average of the weights, 0 for none",
        more="the average is what is kept",
        least=0,
        below=1,
    )
    class_weights: Literal["balanced"] | None = option(
        None, "let rare classes count as much as frequent ones", flag="--balanced"
    )
    label_smoothing: float = option(
        0.0, "share of a label spread over all classes", more="Szegedy et al. 2016, arXiv:1512.00567", least=0, below=1
    )
    initial: Literal["uniform", "spread"] = option(
        "uniform",
        "weights to begin with; spread: for sequences of hundreds of steps",
        more="`uniform` as PyTorch draws them; `spread`: orthogonal recurrent matrices (Saxe et al. 2014, "
        "arXiv:1312.6120), and units that keep their state for short, long and very long (Gu et al. 2020, "
        "arXiv:1910.09890); the LSTM of `--compare-lstm` begins likewise",
    )
    seed: int = option(0, "of all that is random", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refit and not self.validation:
            raise InputError(
                "refit is True, but validation is 0: nothing is held back to find the best epoch by",
                "refit",
                "validation",
            )


@dataclass(frozen=True)
class Settings(Options):
    """All that training needs beside the data.

    Of text in tokens each is a step, looked up as one of words. What would have no effect is refused where it is not
    the default: least_count or lower of what is not words, vocabulary_size or least_count beside a vocabulary, any of
    the first five for series.
    """

    title = "text"

    tokens: Literal["words", "characters", "subwords"] = option(
        "words", "what a step of a text is", more="subwords: byte-level pair encoding"
    )
    vocabulary_size: int = option(20_000, "different ones at most", least=1)
    least_count: int = option(2, "times a word must occur", least=1)
    lower: bool = option(True, "tell capital letters from small ones", flag="--case")
    vocabulary: str | None = option(
        None,
        "one word or character a line, or a tokenizer.json",
        metavar="FILE",
        more="taken instead of learning one",
    )
    longest: int | None = option(
        None,
        "steps that are read, 0 for all",
        otherwise="1000 of a text, all of a series",
        more="`predict` and `evaluate` have it too: reading whole texts can be worth more than training on them, and "
        "costs less",
        least=0,
    )
    architecture: Architecture = field(default_factory=Architecture)
    optimiser: Optimiser = field(default_factory=Optimiser)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary is not None:
            keep(self, "vocabulary", _path(self.vocabulary))
        self._check_text()

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
