"""What a person can choose before training: the tokens, the architecture, the dropout, the optimiser, the trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from grus.errors import InputError
from grus.tasks import optimiser
from grus.tasks.options import Options, option

__all__ = ["Architecture", "Dropout", "Optimiser", "Settings", "Trainer"]

TOKENS = ("characters", "subwords")
VOCABULARY = {"characters": 5000, "subwords": 4096}  # tokens at most, where the settings leave it open
BYTES = 256
EMBEDDING = {"characters": 64, "subwords": 256}


@dataclass(frozen=True)
class Architecture(Options):
    """The network: an embedding, ``num_layers`` GRUs of ``hidden_size`` units one above the other, the logits."""

    title = "the network"

    hidden_size: int = option(512, "units", more="time grows with its square", least=1)
    num_layers: int = option(1, "GRU layers", flag="--layers", least=1)
    embedding_size: int | None = option(None, "features of a token", otherwise="64 characters, 256 subwords", least=1)
    tied: bool | None = option(
        None,
        "one matrix for the embedding and the logits",
        otherwise="with subwords",
        more="Press and Wolf 2017, arXiv:1608.05859",
    )


@dataclass(frozen=True)
class Dropout(Options):
    """What is left out while training, with one mask for a whole window (variational: Gal & Ghahramani 2016,
    arXiv:1512.05287).
    """

    called = "{} dropout"

    output: float = option(
        0.0,
        "of each GRU's output, one mask a window",
        flag="--dropout",
        metavar="SHARE",
        more="for where the validation rises while the loss falls, as are those below",
        least=0,
        below=1,
    )
    input: float = option(0.0, "of its input, one mask a window", metavar="SHARE", least=0, below=1)
    recurrent: float = option(
        0.0, "of its state, where it is multiplied, one mask a window", metavar="SHARE", least=0, below=1
    )
    word: float = option(0.0, "of tokens: their whole embeddings, one mask a window", metavar="SHARE", least=0, below=1)
    weight: float = option(
        0.0,
        "of recurrent weights, one mask a window",
        flag="--weight-drop",
        metavar="SHARE",
        more="Merity et al. 2018, arXiv:1708.02182",
        least=0,
        below=1,
    )


@dataclass(frozen=True)
class Optimiser(optimiser.Optimiser):
    """How the weights move: ``batch_size`` streams of text side by side."""

    too_many = "but the batch has {} streams only"

    learning_rate: float = 5e-3
    batch_size: int = option(
        32,
        "streams of text read side by side, in each process",
        more="fewer for short texts: more steps an epoch",
        least=1,
    )
    clip: float = 0.25


@dataclass(frozen=True)
class Trainer(Options):
    """How long to train, and on how much at once: by default ten epochs, within 1,500 to 20,000 steps."""

    epochs: int | None = option(
        None,
        "times to read the text",
        otherwise="by its length",
        more="ten, within 1,500 to 20,000 steps; more where the validation still falls at the end",
        least=1,
    )
    steps: int | None = option(None, "training steps instead, one a window", instead_of="epochs", least=1)
    window: int = option(
        100, "tokens the gradient goes back through", more="the state goes on from window to window", least=1
    )
    seed: int = option(0, "of all that is random", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and self.steps is not None:
            raise InputError(
                f"epochs is {self.epochs} and steps is {self.steps}, expected one of the two", "epochs", "steps"
            )


@dataclass(frozen=True)
class Settings(Options):
    """All that training needs beside the text."""

    title = "the text"

    tokens: Literal["characters", "subwords"] = option(
        "characters",
        "what the model reads and writes one of a step",
        more="subwords are pieces of byte-level byte-pair encoding, three to four characters each, and so is what a "
        "window sees: for long texts",
    )
    vocabulary_size: int | None = option(
        None, "different tokens at most", otherwise="5000 characters, 4096 subwords", least=1
    )
    lines: bool = option(
        False,
        "every line of the files is a text of its own, with an end",
        more="such as names, titles, messages; what is held back is then drawn at random",
    )
    held_out: float = option(0.05, "of the text, at its end, to evaluate on alone", metavar="SHARE", least=0, below=1)
    validation: float = option(
        0.05,
        "of the rest, at its end, to choose the best weights by; 0 to train on all of it",
        metavar="SHARE",
        more="which weights to keep, and when to stop; with 0 all steps are trained, and the last weights kept",
        least=0,
        below=1,
    )
    architecture: Architecture = field(default_factory=Architecture)
    dropout: Dropout = field(default_factory=Dropout)
    optimiser: Optimiser = field(default_factory=Optimiser)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens == "subwords" and self.most < BYTES:
            raise InputError(
                f"vocabulary_size is {self.most}, expected at least {BYTES}: every byte is a subword", "vocabulary_size"
            )

    @property
    def most(self) -> int:
        """The size of the vocabulary at most."""
        return self.vocabulary_size or VOCABULARY[self.tokens]

    @property
    def embedding_size(self) -> int:
        return self.architecture.embedding_size or EMBEDDING[self.tokens]

    @property
    def tied(self) -> bool:
        return self.tokens == "subwords" if self.architecture.tied is None else self.architecture.tied
