"""A classifier held against the true labels, beside what is simpler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Classify
from grus.tasks.classify import metrics
from grus.tasks.classify.examples import Examples, as_examples
from grus.tasks.classify.labels import finder, kinds_of
from grus.tasks.classify.objects import IGNORED
from grus.tasks.classify.predict import Runner, check_finite, run_all, task_of
from grus.tasks.classify.prepare import encode_inputs, encode_labels, flat_labels
from grus.tasks.classify.report import Report
from grus.tasks.classify.split import in_both

__all__ = ["evaluate"]

Ids = NDArray[np.int64]
Probabilities = Sequence[NDArray[np.float64]]  # of each sequence, [1, classes] or [T, classes]


def evaluate(
    model: Model,
    data: Any,
    train: Any = None,
    *,
    others: Mapping[str, Probabilities] | None = None,
    session: Runner | None = None,
) -> Report:
    """The model's errors on labelled ``data`` (Examples, or a path), and beside it those of simpler classifiers.

    train: the data the model was fitted to, which baselines learn from: the most frequent class, for texts logistic
    regression on TF-IDF weights, for series, standardised as the model reads them, the nearest neighbour and MiniROCKET
    (``grus.tasks.baselines``); without it there is the most frequent class of ``data``. others: probabilities of other
    classifiers, a row each.

    The columns: accuracy; macro F1, the mean over the classes; log loss of the probabilities in nats, and their
    expected calibration error; how many sequences, or steps that have a label. A label the model does not know is
    wrong, its probability 0; a note says so. Raises InputError as predict does.
    """
    task, examples = task_of(model), as_examples(data)
    x = encode_inputs(examples, task)
    outputs = run_all(session or Session(model), x, task)
    check_finite(outputs, examples)
    known = len(task.classes)
    task, notes = _with_unseen(task, examples)
    truth = np.concatenate(encode_labels(examples, task, x))
    scored = truth != IGNORED  # steps without a label are not
    if not scored.any():
        raise InputError("the data have no labels to compare with: no step has one")
    truth = truth[scored]

    def whole(p: NDArray[np.float64]) -> NDArray[np.float64]:  # what was never seen has the probability 0
        return np.pad(p[scored], ((0, 0), (0, len(task.classes) - known)))

    p = whole(metrics.softmax(np.concatenate(outputs), task.temperature))
    rows = [_row("GRU", truth, p.argmax(axis=1), len(task.classes), p)]
    for name, given in (others or {}).items():
        other = whole(np.concatenate(given))
        rows.append(_row(name, truth, other.argmax(axis=1), len(task.classes), other))
    twice = 0 if train is None else in_both(as_examples(train).inputs, examples.inputs)
    also = f"{twice:,} of {len(examples):,} sequences stand in the training data too: what is known by heart is right"
    notes += [also] if twice else []
    for name, guess in _baselines(task, examples, None if train is None else as_examples(train)):
        try:
            rows.append(_row(name, truth, guess(), len(task.classes)))
        except InputError as error:
            rows.append(dict.fromkeys(rows[0]) | {"model": name})
            notes.append(f"{name}: {error}")
    counts = metrics.confusion(truth, p.argmax(axis=1), len(task.classes))
    confusion = tuple(tuple(row) for row in counts.tolist())
    return Report(tuple(rows), tuple(notes), _classes(task, counts), confusion)


def _with_unseen(task: Classify, examples: Examples) -> tuple[Classify, list[str]]:
    """The task with the classes that only the data have, and a note that they are counted as wrong."""
    find = finder(task)
    labels = flat_labels(examples)
    unseen = sorted({label for label in labels if find(label) is None}, key=str)
    if not unseen:
        return task, []
    count = sum(label in unseen for label in labels)
    shown = ", ".join(repr(str(label)) for label in unseen[:5]) + ", …" * (len(unseen) > 5)
    what = examples.labelled + "s" * (count != 1)
    values = (*task.values, *unseen)
    return replace(task, classes=tuple(map(str, values)), kinds=kinds_of(values)), [
        f"{count:,} {what} with a label never seen in training, {shown}: counted as wrong"
    ]


def _row(name: str, truth: Ids, predicted: Ids, classes: int, p: NDArray[np.float64] | None = None) -> dict[str, Any]:
    return {
        "model": name,
        "accuracy": metrics.accuracy(truth, predicted),
        "macro F1": metrics.macro_f1(metrics.confusion(truth, predicted, classes)),
        "log loss": None if p is None else metrics.log_loss(truth, p),
        "calibration error": None if p is None else metrics.calibration_error(truth, p),
        "count": len(truth),
    }


def _classes(task: Classify, counts: Ids) -> tuple[dict[str, Any], ...]:
    columns = [values.tolist() for values in metrics.per_class(counts)]
    return tuple(
        {"class": label, "precision": precision, "recall": recall, "F1": f1, "count": count}
        for label, precision, recall, f1, count in zip(task.values, *columns, counts.sum(axis=1).tolist(), strict=True)
    )


def _baselines(task: Classify, test: Examples, train: Examples | None) -> list[tuple[str, Callable[[], Ids]]]:
    """The name of each baseline that fits the data, and what predicts the class of every sequence, or step."""
    from grus.tasks import baselines

    position = {name: i for i, name in enumerate(task.classes)}
    find = finder(task)

    def ids(names: Sequence[str]) -> Ids:
        return np.array([position[name] for name in names], np.int64)

    count = len(flat_labels(test))
    learned = []
    for label in _flat(test if train is None else train):
        found_at = find(label)
        if found_at is None:
            raise InputError(f"the data to train on have the label {str(label)!r}, which the model does not know")
        learned.append(task.classes[found_at])
    found: list[tuple[str, Callable[[], Ids]]] = [
        ("most frequent class", lambda: ids(baselines.majority(learned, count)))
    ]
    if train is None or task.labels == "step":
        return found
    if train.kind != test.kind:
        raise InputError(f"train holds {train.kind}, but the data to evaluate on {test.kind}")
    if test.kind == "series":
        whole = replace(task, longest=0)  # how many steps the network reads is no limit of theirs
        series = encode_inputs(train, whole), encode_inputs(test, whole)
        found.append(("1-nearest neighbour", lambda: ids(baselines.nearest_neighbour(series[0], learned, series[1]))))
        found.append(("MiniROCKET", lambda: ids(baselines.minirocket(series[0], learned, series[1]))))
    else:
        texts = _texts(train), _texts(test)
        found.append(
            ("TF-IDF + logistic regression", lambda: ids(baselines.tfidf_logistic(texts[0], learned, texts[1])))
        )
    return found


def _flat(examples: Examples) -> list[Any]:
    if examples.labels is None:
        raise InputError("the data to train on have no labels")
    return flat_labels(examples)


def _texts(examples: Examples) -> list[str]:
    return [text if isinstance(text, str) else " ".join(text) for text in examples.inputs]
