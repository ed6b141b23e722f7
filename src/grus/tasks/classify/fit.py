"""Training a classifier. The only module of the task that needs PyTorch.

Some sequences of each class are held back: they show which weights were best and calibrate the probabilities. Every
member of an ensemble is trained so, from other first weights; with ``refit`` all of them then anew on all sequences.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from grus.errors import note
from grus.spec import GRU, Characters, Classify
from grus.tasks.classify.chain import make_chain
from grus.tasks.classify.examples import Examples, as_examples
from grus.tasks.classify.metrics import accuracy, log_loss, softmax, temperature
from grus.tasks.classify.objects import IGNORED
from grus.tasks.classify.predict import batches, check_finite, padded
from grus.tasks.classify.prepare import Encoded, encode_inputs, encode_labels, labelled_steps, make_task
from grus.tasks.classify.settings import Settings
from grus.tasks.classify.split import hold_back, in_both
from grus.tasks.fitted import Fitted
from grus.torch import init
from grus.torch.gru import GRU as Layer
from grus.torch.network import Network, Regularisation
from grus.torch.network.peers import spread_lstm_
from grus.training import distributed
from grus.training.fitting import Around, Fitting, identity, numbered, optimisation
from grus.training.fitting import Trained as Networks
from grus.training.loop import seeded
from grus.training.objective import Part
from grus.training.sampling import Buckets

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Trained", "fit", "fit_networks"]

STEPS, FEWEST, MOST = 2000, 6, 100  # where the settings leave it to the data: steps, and epochs at least and at most
TOLERANCE = 0.01  # scores this near to the best are as good

Recurrent = Callable[[GRU, float], nn.Module]


@dataclass(frozen=True)
class Trained(Networks[Classify]):
    """validation: of the sequences held back their number and the final weights' accuracy and log loss on them (before
    a refit).
    """

    def predict_proba(self, X: Any) -> list[NDArray[np.float64]]:
        """Probabilities of each sequence, [1, classes] or [T, classes], computed by PyTorch."""
        examples = as_examples(X)
        output = _mean_output(self.networks, encode_inputs(examples, self.task), self.task)
        check_finite(output, examples)
        return [softmax(logits, self.task.temperature) for logits in output]


def fit(data: Any, settings: Settings, **around: Unpack[Around]) -> Fitted:
    """A model trained on ``data``: :class:`grus.tasks.classify.examples.Examples` with labels, or a path.

    around: progress, checkpoint, resume, metrics, device, and what a fit raises: :class:`grus.training.fitting.Around`.
    """
    examples = as_examples(data)
    trained = fit_networks(examples, settings, **around)
    task, held = trained.task, trained.validation
    told = f"trained on {len(examples):,} sequences in {{took}} ({len(task.classes)} classes, one a {task.labels})"
    if held:
        told += f"\nheld back: {held['sequences']:,} sequences, accuracy {held['accuracy']:.4f}, "
        told += f"log loss {held['log loss']:.4f}, temperature {task.temperature:.2f}"
    return Fitted(trained.model(), trained.history, held, told)


def fit_networks(
    data: Any, settings: Settings, *, recurrent: Recurrent | None = None, **around: Unpack[Around]
) -> Trained:
    """As :func:`fit`, up to the trained networks. recurrent: what to build in the place of every GRU, for comparisons
    (``grus.torch.network.peers``); such networks cannot become a model.
    """
    fitting = Fitting(**around)
    examples, trainer, members = as_examples(data), settings.trainer, settings.architecture.members
    task = make_task(examples, settings)
    x = encode_inputs(examples, task)
    whole = Encoded(x, encode_labels(examples, task, x))
    labelled = np.flatnonzero([(own != IGNORED).any() for own in whole.target])
    if len(labelled) < len(x):
        note(f"{len(x) - len(labelled):,} sequences have no label at any step: they are left out")
        examples, whole = examples.take(labelled), whole.take(labelled)
    rows, back = hold_back(whole.target, trainer.validation, trainer.seed)
    part, held = whole.take(rows), _HeldBack(whole.take(back), task) if len(back) else None
    _tell(examples, rows, back, settings)
    steps = _steps(part, settings) + (_steps(whole, settings) if trainer.refit and held is not None else 0)
    validation: dict[str, float] = {}
    with fitting.trainings(identity("classify", settings, _digest(whole, task), recurrent), members * steps):
        run = _Training(task, settings, recurrent, fitting)
        found = [run(member, part, held) for member in range(members)]
        if held is not None:
            task, validation = held.calibrate([network for network, _ in found])
            if trainer.refit:
                found = [run(member, whole, None, best) for member, (_, best) in enumerate(found)]
    return Trained([network for network, _ in found], task, fitting.history, validation)


def _tell(examples: Examples, rows: NDArray[np.int64], back: NDArray[np.int64], settings: Settings) -> None:
    """Notes of what makes the figures of what is held back other than they seem."""
    if not len(back):
        if settings.trainer.validation:
            note("too few sequences to hold some back: no early stopping, no calibration")
        return
    twice = in_both(examples.take(rows).inputs, examples.take(back).inputs)
    if twice:
        note(
            f"{twice:,} of the {len(back):,} sequences held back stand among those trained on too: what is measured on "
            "them flatters, remove what stands twice"
        )


@dataclass(frozen=True)
class _Training:
    """What the trainings of all members share."""

    task: Classify
    settings: Settings
    recurrent: Recurrent | None
    fitting: Fitting

    def __call__(
        self, member: int, encoded: Encoded, held: _HeldBack | None, best: float | None = None
    ) -> tuple[Network, float]:
        """A trained member, and what share of its steps was best by ``held``; one is trained anew up to ``best``."""
        settings, trainer = self.settings, self.settings.trainer
        seed = (trainer.seed, member, int(best is not None))
        words, inputs = trainer.word_dropout, trainer.input_dropout
        with seeded(*seed):
            network = Network(
                make_chain(self.task, settings.architecture),
                regularisation=Regularisation(trainer.dropout, locked=True, word_dropout=words, input_dropout=inputs),
                recurrent=self.recurrent,
            )
            if isinstance(self.task.input, Characters):  # each is frequent: it need not begin small, as words do
                torch.nn.init.normal_(cast(Any, network[0]).weight)
            if trainer.initial == "spread":
                spread(network)
        steps = _steps(encoded, settings)
        result = self.fitting.train(
            numbered("training" if best is None else "refit", member, settings.architecture.members),
            network,
            _Objective(encoded, self.task, settings, seed),
            optimisation(
                settings.optimiser, steps, patience=trainer.patience, average=trainer.average, tolerance=TOLERANCE
            ),
            seed,
            validate=None if held is None else lambda network: self._look(held, network),
            stop=None if best is None else max(1, round(best * steps)),
        )
        return network.eval(), result.step / steps

    def _look(self, held: _HeldBack, network: Network) -> float:
        logits, loss, _ = held.score([network])
        self.fitting.reporter.beside = f", accuracy {accuracy(held.truth, logits.argmax(axis=1)):.4f}"
        return loss


def spread(network: Network) -> None:
    """Let every GRU, or LSTM, begin with orthogonal recurrent matrices and its units with time scales of every kind."""
    for module in network.modules():
        if isinstance(module, (Layer, torch.nn.GRU)):
            init.uniform_gate_(init.orthogonal_(module))
        elif isinstance(module, torch.nn.LSTM):
            spread_lstm_(module)


def _buckets(encoded: Encoded, settings: Settings, seed: Sequence[int]) -> Buckets:
    processes = distributed.current()
    return Buckets(encoded.lengths, settings.optimiser.batch_size, seed, processes.rank, processes.world)


def _steps(encoded: Encoded, settings: Settings) -> int:
    epoch = _buckets(encoded, settings, (0,)).epoch_steps
    return epoch * (settings.trainer.epochs or min(max(-(-STEPS // epoch), FEWEST), MOST))


class _Objective:
    """Cross entropy of the sequences, or of their steps, in batches of similar length."""

    def __init__(self, encoded: Encoded, task: Classify, settings: Settings, seed: Sequence[int]) -> None:
        self.encoded, self.task = encoded, task
        self.buckets = _buckets(encoded, settings, seed)
        self.parts_of_a_step = settings.optimiser.accumulate
        self.smoothing = settings.trainer.label_smoothing
        self.device = distributed.current().device
        self.weight: Tensor | None = None
        if settings.trainer.class_weights == "balanced":
            target = np.concatenate(encoded.target)
            counts = np.bincount(target[target != IGNORED], minlength=len(task.classes))
            weight = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))  # 1 in the mean over the data
            self.weight = torch.tensor(weight, dtype=torch.float32, device=self.device)

    def parts(self, step: int) -> Sequence[Part]:
        rows = np.array_split(self.buckets.indices(step), self.parts_of_a_step)
        return [self._part(some) for some in rows if some.size]

    def carried(self) -> dict[str, NDArray[Any]]:
        return {}

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        pass

    def _part(self, rows: NDArray[np.int64]) -> Part:
        x, lengths = padded([self.encoded.x[i] for i in rows.tolist()])
        last = self.task.labels == "sequence"
        classes = np.full((1 if last else len(x), len(rows)), IGNORED, np.int64)
        for k, i in enumerate(rows.tolist()):
            own = self.encoded.x[i]
            classes[: len(own), k][slice(None) if last else labelled_steps(own, self.task)] = self.encoded.target[i]
        # copied, not shared: PyTorch aligns its own memory, and some matrix products' bits depend on the alignment
        inputs, ends = torch.tensor(x, device=self.device), torch.tensor(lengths)
        target = torch.tensor(classes, device=self.device).flatten()

        def total(network: Network) -> Tensor:
            logits = network(inputs, last=last, lengths=ends).flatten(0, -2).float()
            return F.cross_entropy(
                logits, target, self.weight, ignore_index=IGNORED, reduction="sum", label_smoothing=self.smoothing
            )

        return Part(float((classes != IGNORED).sum()), total)


class _HeldBack:
    """Sequences kept from a training to judge it."""

    def __init__(self, encoded: Encoded, task: Classify) -> None:
        self.encoded, self.task = encoded, task
        truth = np.concatenate(encoded.target)
        self.scored = truth != IGNORED  # the steps that have a label
        self.truth = truth[self.scored]

    def calibrate(self, networks: Sequence[Network]) -> tuple[Classify, dict[str, float]]:
        """The task with the temperature that fits best, and what it comes to."""
        logits, loss, scale = self.score(networks)
        right = accuracy(self.truth, logits.argmax(axis=1))
        task = dataclasses.replace(self.task, temperature=scale)
        return task, {"sequences": len(self.encoded.x), "accuracy": right, "log loss": loss}

    def score(self, networks: Sequence[Network]) -> tuple[NDArray[np.float32], float, float]:
        """The mean outputs, their log loss and the temperature chosen for it: it does not matter how certain a network
        is, for that will be calibrated."""
        logits = np.concatenate(_mean_output(networks, self.encoded.x, self.task))[self.scored]
        if not np.isfinite(logits).all():
            return logits, float("nan"), 1.0
        scale = temperature(logits, self.truth)
        return logits, log_loss(self.truth, softmax(logits, scale)), scale


def _mean_output(
    networks: Sequence[Network], x: Sequence[NDArray[np.float32]], task: Classify
) -> list[NDArray[np.float32]]:
    """Of each sequence the mean of the networks' outputs, [1, classes] or [T, classes]."""

    def run(values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.no_grad():
            device = next(networks[0].parameters()).device
            inputs, ends = torch.tensor(values, device=device), torch.tensor(lengths)
            outputs = [network(inputs, last=task.labels == "sequence", lengths=ends) for network in networks]
            mean: NDArray[np.float32] = torch.stack(outputs).mean(dim=0).float().cpu().numpy()
        return mean

    return batches(x, task, run)


def _digest(whole: Encoded, task: Classify) -> hashlib._Hash:
    """Of all that is read."""
    digest = hashlib.sha256(repr(task).encode())
    for array in (whole.lengths, *whole.x, *whole.target):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest
