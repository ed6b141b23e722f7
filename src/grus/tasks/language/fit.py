"""Training a language model. The only module of the task that needs PyTorch.

The text is cut into streams that are read side by side, a window at a time. Gradients go back to the beginning of a
window, while the state goes on from one window to the next (truncated backpropagation through time: Williams & Peng
1990, Neural Computation 2, 490-501), to the end of the streams; there it begins anew.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from grus.errors import note
from grus.inputs import text as texts
from grus.spec import GRU, Block, Characters, Embedding, Language, Linear, Subwords
from grus.spec.task import UNKNOWN
from grus.tasks.fitted import Fitted
from grus.tasks.language.corpus import Corpus, Split, Streams, Window, as_corpus, count, encode_corpus, split
from grus.tasks.language.evaluate import escape_bits, unknown
from grus.tasks.language.settings import Settings
from grus.torch.network import Builder, Network, Regularisation
from grus.training.fitting import Around, Fitting, Trained, identity, optimisation
from grus.training.loop import seeded
from grus.training.objective import Part
from grus.training.schedule import Optimisation

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["bits_per_character", "fit", "fit_network"]

EPOCHS = 10
FEWEST, MOST = 1500, 20_000  # steps, where the settings leave them to the text
PATIENCE = 4  # looks at the validation part that may bring nothing new
MEASURED = 1 << 18  # tokens of it that are read, at most
SIDE_BY_SIDE = 64  # streams it is read in, whatever the batch


def fit(text: Any, settings: Settings, **around: Unpack[Around]) -> Fitted:
    """A model trained on a text: a str, a pathlib.Path of a file, or a list of these. Losses are in nats a token.

    validation: the kept weights' loss on the validation part. around: progress, checkpoint, resume, metrics, device,
    and what a fit raises: :class:`grus.training.fitting.Around`.
    """
    corpus = as_corpus(text, lines=settings.lines)
    trained = fit_network(corpus, settings, **around)
    size, read = len(trained.task.input.vocabulary), count(split(corpus, settings).train)
    told = f"{size:,} {settings.tokens}, trained on {read:,} characters in {{took}}"
    return Fitted(trained.model(), trained.history, trained.validation, told)


def fit_network(
    text: Any, settings: Settings, *, recurrent: Builder | None = None, **around: Unpack[Around]
) -> Trained[Language]:
    """As :func:`fit`, up to the network, with ``recurrent`` modules in the place of the GRUs, as
    :class:`grus.torch.network.Network` takes them; such a network cannot become a model.
    """
    fitting = Fitting(**around)
    processes, trainer, accumulate = fitting.processes, settings.trainer, settings.optimiser.accumulate
    text = as_corpus(text, lines=settings.lines)
    parts = split(text, settings)
    task = Language(_vocabulary(parts.train, settings), not isinstance(text, str))
    _tell(task, parts)
    kind, ids = task.input, encode_corpus(task, parts.train)
    streams = Streams(
        ids, settings.optimiser.batch_size, trainer.window, processes.rank, processes.world, ends=task.ends
    )
    validate = _Validation(encode_corpus(task, parts.validation), settings, task.ends) if parts.validation else None
    chain, how = make_chain(kind.size, settings), _optimisation(settings, streams.epoch_steps)
    with fitting.trainings(
        identity(
            "language", settings, hashlib.sha256((text if isinstance(text, str) else repr(text)).encode()), recurrent
        ),
        how.steps,
    ):
        with seeded(trainer.seed):
            network = Network(chain, regularisation=_regularisation(settings), recurrent=recurrent)
            if settings.tied:
                network.tie(0, len(chain) - 1)
            else:  # as wide as nn.Embedding's: from smaller features a GRU with PyTorch's first weights learns late
                torch.nn.init.normal_(cast(Any, network[0]).weight)
        reading = _Reading(streams, accumulate, processes.device)
        result = fitting.train("training", network, reading, how, (trainer.seed,), validate=validate)
    validation = {} if result.score is None else {"loss": result.score}
    return Trained([network.eval()], task, fitting.history, validation)


def bits_per_character(network: Network, task: Language, text: Corpus) -> float:
    """What :func:`grus.tasks.language.evaluate` measures, by a network instead of a model."""
    ids = encode_corpus(task, text)
    with torch.no_grad():
        nats = _nats(network, Streams(ids, 1, 1).tokens, min(4096, len(ids)))
    return (nats / math.log(2) + unknown(task, text) * escape_bits(task.input)) / count(text)


def make_chain(tokens: int, settings: Settings) -> tuple[Block, ...]:
    """The blocks: where one matrix embeds and gives the logits, the GRU's output is brought to its width first."""
    width, hidden = settings.embedding_size, settings.architecture.hidden_size
    upper = (GRU(hidden, hidden),) * (settings.architecture.num_layers - 1)
    chain: tuple[Block, ...] = (Embedding(tokens, width), GRU(width, hidden), *upper)
    if settings.tied and width != hidden:
        chain = (*chain, Linear(hidden, width))
    return *chain, Linear(chain[-1].output_size, tokens)


def _vocabulary(corpus: Corpus, settings: Settings) -> Characters | Subwords:
    lines = corpus.splitlines(keepends=True) if isinstance(corpus, str) else corpus
    if settings.tokens == "subwords":
        return texts.learn_subwords(lines, settings.most)
    kind = texts.learn_characters(lines, settings.most)
    known = isinstance(corpus, str) or UNKNOWN in kind.vocabulary
    return kind if known else Characters((*kind.vocabulary, UNKNOWN))


def _tell(task: Language, parts: Split) -> None:
    """Notes of what is read otherwise than it stands, and of what makes the figures of what is held back flatter."""
    strange = unknown(task, parts.train)
    if strange:
        note(f"{strange:,} of {count(parts.train):,} characters are beyond the vocabulary and read as an unknown one")
    if task.ends:
        held, known = (*parts.validation, *parts.test), set(parts.train)
        twice = sum(text in known for text in held)
        if twice:
            note(
                f"{twice:,} of the {len(held):,} texts held back stand among those trained on too: what is measured on "
                "them flatters, remove what stands twice"
            )


class _Reading:
    """The objective: windows of the streams, one after the other, with the state between them.

    Every part has its rows of the streams; what is carried does not tell how many parts there are, so that a training
    that ran out of memory can go on with more.
    """

    def __init__(self, streams: Streams, accumulate: int, device: torch.device) -> None:
        self.streams, self.device = streams, device
        self.rows = np.array_split(np.arange(len(streams.tokens)), accumulate)
        self.states: list[list[Tensor] | None] = [None] * accumulate

    def parts(self, step: int) -> Sequence[Part]:
        window = self.streams(step)
        if window.first:
            self.states = [None] * len(self.rows)
        return [
            Part(float(window.target[:, rows].size), partial(self._total, index, _take(window, rows)))
            for index, rows in enumerate(self.rows)
        ]

    def carried(self) -> dict[str, NDArray[Any]]:
        layers = zip(*(state or () for state in self.states), strict=True)
        return {str(layer): torch.cat(parts).cpu().numpy() for layer, parts in enumerate(layers)}

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        layers = [torch.tensor(carried[str(layer)], device=self.device) for layer in range(len(carried))]
        self.states = [[layer[rows] for layer in layers] or None for rows in self.rows]

    def _total(self, index: int, window: Window, network: Network) -> Tensor:
        nats, self.states[index] = _read(network, window, self.states[index], self.device)
        return nats


class _Validation:
    """Nats per token of the validation part, read in streams as the training part is."""

    def __init__(self, ids: NDArray[np.int64], settings: Settings, ends: bool = False) -> None:
        ids, window = ids[:MEASURED], settings.trainer.window
        rows = max(1, min(SIDE_BY_SIDE, len(ids) // window))
        self.tokens, self.window = Streams(ids, rows, 1, ends=ends).tokens, window

    def __call__(self, network: Network) -> float:
        return _nats(network, self.tokens, self.window) / self.tokens.size


def _nats(network: Network, tokens: NDArray[np.int64], window: int) -> float:
    """−Σ ln p of the tokens [B, T], with the state carried from window to window."""
    device = next(network.parameters()).device
    streams, total, state = Streams(tokens.reshape(-1), len(tokens), min(window, tokens.shape[1])), 0.0, None
    for step in range(streams.epoch_steps):
        nats, state = _read(network, streams(step), state, device)
        total += nats.item()
    return total


def _read(
    network: Network, window: Window, state: list[Tensor] | None, device: torch.device
) -> tuple[Tensor, list[Tensor]]:
    """The sum of a window's losses, and the state after it, without its history."""
    x, target = (torch.from_numpy(ids).to(device) for ids in (window.x, window.target))
    logits, after = network.stream(x.unsqueeze(-1), state)
    nats = cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
    return nats, [tensor.detach().float() for tensor in after]


def _take(window: Window, rows: NDArray[np.int64]) -> Window:
    return Window(window.x[:, rows], window.target[:, rows], window.first)


def _regularisation(settings: Settings) -> Regularisation:
    dropout = settings.dropout
    return Regularisation(
        dropout=dropout.output,
        locked=True,
        word_dropout=dropout.word,
        input_dropout=dropout.input,
        recurrent_dropout=dropout.recurrent,
        weight_drop=dropout.weight,
    )


def _optimisation(settings: Settings, epoch_steps: int) -> Optimisation:
    trainer, optimiser = settings.trainer, settings.optimiser
    if trainer.epochs is not None:
        steps = trainer.epochs * epoch_steps
    else:
        steps = trainer.steps or min(max(EPOCHS * epoch_steps, FEWEST), MOST)
    return optimisation(optimiser, steps, patience=PATIENCE)
