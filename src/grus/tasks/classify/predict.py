"""Classes and their probabilities from a model, with NumPy and the kernels alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Classify
from grus.tasks.checks import integer
from grus.tasks.classify.examples import Examples, as_examples
from grus.tasks.classify.metrics import softmax
from grus.tasks.classify.prepare import encode_inputs, labelled_steps

__all__ = [
    "Runner",
    "batches",
    "check_finite",
    "padded",
    "predict",
    "predict_proba",
    "reading",
    "run_all",
    "task_of",
]

ROWS = 256  # sequences run at once
STEPS = 1 << 16  # and steps of them, with their padding

Single = NDArray[np.float32]
Ids = NDArray[np.int64]


class Runner(Protocol):
    """What predictions need of a session: whole sequences of unequal lengths."""

    def run(self, x: Single, *, last: bool, lengths: Ids) -> tuple[Single, Any]: ...


def task_of(model: Model) -> Classify:
    """The model's classification task. Raises InputError for a model of another kind."""
    task = model.spec.task
    if not isinstance(task, Classify):
        raise InputError("the model is no classifier: its file has no classes; fit one with grus classify fit")
    return task


def reading(model: Model, longest: int | None) -> Model:
    """The same model reading ``longest`` steps of a sequence, 0 for all: more, for example, than it was trained on.
    None leaves it as it is.

    Raises InputError for a model that is no classifier, one with a label a step, and for anything but such a number.
    """
    task = task_of(model)
    if longest is None:
        return model
    if task.labels == "step":
        raise InputError("longest is for one label a sequence: where every step has one, every step is read", "longest")
    return Model(replace(model.spec, task=replace(task, longest=integer("longest", longest, 0))), model.arrays)


def predict(model: Model, X: Any, *, session: Runner | None = None) -> list[Any]:
    """The most probable class of each sequence of ``X``, or a list of one a step where the model gives those.

    X is anything :func:`grus.tasks.classify.examples.as_examples` takes. Raises InputError as
    :func:`predict_proba` does.
    """
    labels = task_of(model).values
    found = predict_proba(model, X, session=session)
    if isinstance(found, np.ndarray):
        return [labels[i] for i in found.argmax(axis=1).tolist()]
    return [[labels[i] for i in p.argmax(axis=1).tolist()] for p in found]


def predict_proba(
    model: Model, X: Any, *, session: Runner | None = None
) -> NDArray[np.float64] | list[NDArray[np.float64]]:
    """The probabilities [N, classes] of the sequences of ``X``, or a list of [T, classes] where the model gives those.

    Raises InputError for data of another kind than the model's, for an empty sequence, and for one whose output is not
    finite.
    """
    task, examples = task_of(model), as_examples(X)
    outputs = run_all(session or Session(model), encode_inputs(examples, task), task)
    check_finite(outputs, examples)
    found = [softmax(output, task.temperature) for output in outputs]
    return found if task.labels == "step" else np.concatenate(found)


def check_finite(outputs: Sequence[Single], examples: Examples) -> None:
    """Raise InputError that names the first sequence whose output is infinite or NaN."""
    for i, output in enumerate(outputs):
        if not np.isfinite(output).all():
            raise InputError(f"the model's output for {examples.place(i)} is not finite: look for extreme values")


def run_all(session: Runner, x: Sequence[Single], task: Classify) -> list[Single]:
    """The network's output for each sequence, [1, classes] or [T, classes], in batches of similar length."""

    def run(padded: Single, lengths: Ids) -> Single:
        y, _ = session.run(padded, last=task.labels == "sequence", lengths=lengths)
        return y

    return batches(x, task, run)


def batches(x: Sequence[Single], task: Classify, run: Callable[[Single, Ids], Single]) -> list[Single]:
    """What ``run(x [T, B, F], lengths [B])`` gives, [B, K] or [T, B, K], for each sequence as [1, K] or [T, K]."""
    found: list[Any] = [None] * len(x)
    at = partial(labelled_steps, task=task)
    for rows in _batches(np.array([len(steps) for steps in x], np.int64)):
        stacked, lengths = padded([x[i] for i in rows.tolist()])
        output = run(stacked, lengths)
        for k, row in enumerate(rows.tolist()):
            found[row] = output[k : k + 1] if task.labels == "sequence" else output[: lengths[k], k][at(x[row])]
    return found


def padded(x: Sequence[Single]) -> tuple[Single, Ids]:
    """[T, B, F] of sequences [T, F], zeros behind the end of a shorter one; and their lengths [B]."""
    lengths = np.array([len(steps) for steps in x], np.int64)
    whole = np.zeros((int(lengths.max()), len(x), x[0].shape[1]), np.float32)
    for row, steps in enumerate(x):
        whole[: len(steps), row] = steps
    return whole, lengths


def _batches(lengths: Ids) -> Iterator[Ids]:
    """Rows of similar length together, bounded in what their padded steps take."""
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        size = int(min(ROWS, max(1, STEPS // max(1, int(lengths[order[at]])))))
        yield order[at : at + size]
        at += size
