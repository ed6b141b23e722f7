"""Training a language model. The only module of the task that needs PyTorch.

The text is cut into streams that are read side by side, a window at a time. Gradients go back to the beginning of a
window, while the state goes on from one window to the next (truncated backpropagation through time: Williams & Peng
1990, Neural Computation 2, 490-501), to the end of the streams; there it begins anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from grus.inputs import text as texts
from grus.spec import GRU, Block, Characters, Embedding, Language, Linear, Spec, Subwords
from grus.tasks.fitted import Fitted
from grus.tasks.language.corpus import Streams, Window, as_text, split
from grus.tasks.language.evaluate import escape_bits
from grus.tasks.language.settings import Settings
from grus.torch.network import Builder, Network, Regularisation, to_model
from grus.training import distributed
from grus.training.checkpoint import Journal
from grus.training.interrupt import Interrupt
from grus.training.loop import seeded, train
from grus.training.metrics import Metrics
from grus.training.objective import Part
from grus.training.progress import Reporter
from grus.training.schedule import Optimisation

__all__ = ["Trained", "bits_per_character", "fit", "fit_network"]

EPOCHS = 10
FEWEST, MOST = 1500, 20_000  # steps, where the settings leave them to the text
VALIDATIONS, PATIENCE = 20, 4  # times the validation part is looked at, and how many of them may bring nothing new
MEASURED = 1 << 18  # tokens of it that are read, at most
SIDE_BY_SIDE = 64  # streams it is read in, whatever the batch


@dataclass(frozen=True)
class Trained:
    """A network that may hold what no model can. spec: of the model, with GRUs. validation: the kept weights' loss on
    the validation part. Losses are in nats per token: −ln p.
    """

    network: Network
    spec: Spec
    history: list[dict[str, Any]]
    validation: dict[str, float]


def fit(
    text: Any,
    settings: Settings,
    *,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    metrics: Metrics | str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> Fitted:
    """A model trained on a text: a str, a pathlib.Path of a file, or a list of these.

    progress: tell on stderr how far it is. checkpoint: a file to go on from after an interruption, written every 20
    seconds and when SIGINT or SIGTERM ends the training; it is left in place for the caller to delete once the model
    is safe. resume: go on from it; with the same number of threads the weights are the same to the bit as without
    the interruption. metrics: a file of JSON lines of what is measured, or a :class:`grus.training.metrics.Metrics`.
    device: "cpu" or "cuda". Under torchrun every process reads ``batch_size`` streams of its own.

    Raises InputError for a text or settings that do not fit, and for a checkpoint of others; what ends a training,
    :func:`grus.training.loop.train` says.
    """
    trained = fit_network(
        text, settings, progress=progress, checkpoint=checkpoint, resume=resume, metrics=metrics, device=device
    )
    return Fitted(to_model(trained.network, trained.spec), trained.history, trained.validation)


def fit_network(
    text: Any,
    settings: Settings,
    *,
    recurrent: Builder | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    metrics: Metrics | str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> Trained:
    """As :func:`fit`, with ``recurrent`` modules in the place of the GRUs, as :class:`grus.torch.network.Network`
    takes them. ``spec`` is then that of the model with GRUs, and the network cannot become one.
    """
    processes = distributed.start(device)
    if metrics is not None and not isinstance(metrics, Metrics):
        metrics = Metrics(metrics)
    text = as_text(text)
    parts = split(text, settings)
    kind = _vocabulary(parts.train, settings)
    spec = Spec(make_chain(kind.size, settings), Language(kind))
    trainer, optimiser = settings.trainer, settings.optimiser
    streams = Streams(
        texts.encode(kind, parts.train), optimiser.batch_size, trainer.window, processes.rank, processes.world
    )
    optimisation = _optimisation(settings, streams.epoch_steps)
    validate = _Validation(texts.encode(kind, parts.validation), settings) if parts.validation else None
    journal = Journal.open(checkpoint, _identity(text, settings, processes.world, recurrent), resume=resume)
    with seeded(trainer.seed):
        network = Network(spec.blocks, regularisation=_regularisation(settings), recurrent=recurrent)
        if settings.tied:
            network.tie(0, len(spec.blocks) - 1)
        else:  # as wide as nn.Embedding's: from smaller features a GRU with PyTorch's first weights learns late
            torch.nn.init.normal_(cast(Any, network[0]).weight)
    show = progress and processes.first
    with Interrupt() as interrupt, Reporter(optimisation.steps, show=show) as reporter:
        result = train(
            network,
            _Reading(streams, optimiser.accumulate, processes.device),
            optimisation,
            name="training",
            seed=(trainer.seed,),
            journal=journal,
            interrupt=interrupt,
            reporter=reporter,
            validate=validate,
            metrics=metrics,
        )
    validation = {} if result.score is None else {"loss": result.score}
    return Trained(network.eval(), spec, [{"training": "training"} | row for row in result.curve], validation)


def bits_per_character(network: Network, task: Language, text: str) -> float:
    """What :func:`grus.tasks.language.evaluate` measures, by a network instead of a model."""
    ids = texts.encode(task.input, text)
    with torch.no_grad():
        nats = _nats(network, Streams(ids, 1, 1).tokens, min(4096, len(ids)))
    return (nats / math.log(2) + int((ids == 0).sum()) * escape_bits(task.input)) / len(text)


def make_chain(tokens: int, settings: Settings) -> tuple[Block, ...]:
    """The blocks: where one matrix embeds and gives the logits, the GRU's output is brought to its width first."""
    width, hidden = settings.embedding_size, settings.architecture.hidden_size
    upper = (GRU(hidden, hidden),) * (settings.architecture.num_layers - 1)
    chain: tuple[Block, ...] = (Embedding(tokens, width), GRU(width, hidden), *upper)
    if settings.tied and width != hidden:
        chain = (*chain, Linear(hidden, width))
    return *chain, Linear(chain[-1].output_size, tokens)


def _vocabulary(text: str, settings: Settings) -> Characters | Subwords:
    if settings.tokens == "characters":
        return texts.learn_characters([text], settings.most)
    return texts.learn_subwords(text.splitlines(keepends=True), settings.most)


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

    def __init__(self, ids: NDArray[np.int64], settings: Settings) -> None:
        ids, window = ids[:MEASURED], settings.trainer.window
        rows = max(1, min(SIDE_BY_SIDE, len(ids) // window))
        self.tokens, self.window = ids[: len(ids) // rows * rows].reshape(rows, -1), window

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
    return Optimisation(
        steps=steps,
        learning_rate=optimiser.learning_rate,
        weight_decay=optimiser.weight_decay,
        clip_norm=optimiser.clip,
        schedule=optimiser.schedule,
        precision=optimiser.precision,
        validate_every=-(-steps // VALIDATIONS),
        patience=PATIENCE,
    )


def _identity(text: str, settings: Settings, world: int, recurrent: Builder | None) -> dict[str, Any]:
    """What makes two fits the same: every setting by its name, the processes, and a digest of the text."""
    identity: dict[str, Any] = {
        "task": "language",
        "processes": world,
        "recurrent": getattr(recurrent, "__name__", None),
    }
    for name, value in dataclasses.asdict(settings).items():
        if name == "dropout":
            identity |= {f"{kind} dropout": share for kind, share in value.items()}
        else:
            identity |= value if isinstance(value, dict) else {name: value}
    del identity["accumulate"]  # it changes no more than the rounding
    return identity | {"data": hashlib.sha256(text.encode()).hexdigest()}
