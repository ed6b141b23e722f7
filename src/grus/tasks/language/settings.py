"""What a person can choose before training: the tokens, the architecture, the dropout, the optimiser, the trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from grus.errors import InputError
from grus.tasks.checks import PRECISIONS, SCHEDULES, choice, integer, integers, keep, number, plain, shares

__all__ = ["Architecture", "Dropout", "Optimiser", "Settings", "Trainer"]

TOKENS = ("characters", "subwords")
VOCABULARY = {"characters": 5000, "subwords": 4096}  # tokens at most, where the settings leave it open
BYTES = 256
EMBEDDING = {"characters": 64, "subwords": 256}


@dataclass(frozen=True)
class Architecture:
    """The network: an embedding, ``num_layers`` GRUs of ``hidden_size`` units one above the other, the logits.

    embedding_size: None for 64 with characters, 256 with subwords.
    tied: one matrix embeds a token and gives its logit (Press & Wolf 2017, arXiv:1608.05859); None for subwords only.
    """

    hidden_size: int = 512
    num_layers: int = 1
    embedding_size: int | None = None
    tied: bool | None = None

    def __post_init__(self) -> None:
        integers(self, 1, "hidden_size", "num_layers", "embedding_size")
        keep(self, "tied", plain(self.tied))
        if self.tied not in (None, True, False):
            raise InputError(f"tied is {self.tied!r}, expected True, False or None")


@dataclass(frozen=True)
class Dropout:
    """What is left out while training, with one mask for a whole window (variational: Gal & Ghahramani 2016,
    arXiv:1512.05287).

    output: of each GRU's output. input: of its input. recurrent: of its state, where it is multiplied. word: whole rows
    of the embedding. weight: of the recurrent weights (Merity et al. 2018, arXiv:1708.02182).
    """

    output: float = 0.0
    input: float = 0.0
    recurrent: float = 0.0
    word: float = 0.0
    weight: float = 0.0

    def __post_init__(self) -> None:
        shares(self, "output", "input", "recurrent", "word", "weight", what=" dropout")


@dataclass(frozen=True)
class Optimiser:
    """How the weights move: AdamW, ``batch_size`` streams of text side by side (in each process), the norm of the
    gradient held below ``clip``.

    schedule: what the learning rate does after its warm-up: cosine or linear to zero, or constant.
    accumulate: parts the streams of a step are computed in, one after the other, for less memory.
    precision: "bfloat16" for products in it, on devices that have it.
    """

    learning_rate: float = 5e-3
    weight_decay: float = 0.0
    batch_size: int = 32
    clip: float = 0.25
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        keep(self, "learning_rate", number("learning_rate", self.learning_rate, 0, above=True))
        keep(self, "weight_decay", number("weight_decay", self.weight_decay, 0))
        keep(self, "clip", number("clip", self.clip, 0, above=True))
        integers(self, 1, "batch_size", "accumulate")
        choice(self, "schedule", *SCHEDULES)
        choice(self, "precision", *PRECISIONS)
        if self.accumulate > self.batch_size:
            raise InputError(
                f"accumulate is {self.accumulate}, but the batch has {self.batch_size} streams only", "accumulate"
            )


@dataclass(frozen=True)
class Trainer:
    """How long to train, and on how much at once.

    epochs: times the text is read. steps: updates instead. With neither, ten epochs within 1,500 to 20,000 steps.
    window: tokens the gradient goes back through; the state goes on from window to window.
    seed: everything random follows from it.
    """

    epochs: int | None = None
    steps: int | None = None
    window: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        integers(self, 1, "epochs", "steps", "window")
        keep(self, "seed", integer("seed", self.seed, 0))
        if self.epochs is not None and self.steps is not None:
            raise InputError(
                f"epochs is {self.epochs} and steps is {self.steps}, expected one of the two", "epochs", "steps"
            )


@dataclass(frozen=True)
class Settings:
    """All that training needs beside the text.

    tokens: "characters", or "subwords" for the pieces of byte-level byte-pair encoding.
    vocabulary_size: how many of them at most; None for 5,000 characters or 4,096 subwords.
    held_out: the share at the end of the text that is never trained on: the reported figures are of it.
    validation: the share at the end of what remains that says which weights to keep and when to stop; 0 for none: all
        steps are trained, and the last weights kept.
    """

    tokens: Literal["characters", "subwords"] = "characters"
    vocabulary_size: int | None = None
    held_out: float = 0.05
    validation: float = 0.05
    architecture: Architecture = field(default_factory=Architecture)
    dropout: Dropout = field(default_factory=Dropout)
    optimiser: Optimiser = field(default_factory=Optimiser)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        choice(self, "tokens", *TOKENS)
        integers(self, 1, "vocabulary_size")
        if self.tokens == "subwords" and self.most < BYTES:
            raise InputError(
                f"vocabulary_size is {self.most}, expected at least {BYTES}: every byte is a subword", "vocabulary_size"
            )
        shares(self, "held_out", "validation")
        kinds: tuple[tuple[str, type[Any]], ...] = (
            ("architecture", Architecture),
            ("dropout", Dropout),
            ("optimiser", Optimiser),
            ("trainer", Trainer),
        )
        for name, kind in kinds:
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name} is {getattr(self, name)!r}, expected {kind.__name__}(…)")

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
