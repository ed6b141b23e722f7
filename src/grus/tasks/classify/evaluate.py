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
from grus.tasks.classify.predict import Runner, check_finite, run_all, task_of
from grus.tasks.classify.prepare import encode_inputs, encode_labels
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
    expected calibration error; how many sequences, or steps where these have labels. Raises InputError for labels the
    model does not know, and as predict does.
    """
    task, examples = task_of(model), as_examples(data)
    x = encode_inputs(examples, task)
    truth = np.concatenate(encode_labels(examples, task, x))
    outputs = run_all(session or Session(model), x, task)
    check_finite(outputs, examples)
    p = metrics.softmax(np.concatenate(outputs), task.temperature)
    rows = [_row("GRU", truth, p.argmax(axis=1), len(task.classes), p)]
    for name, given in (others or {}).items():
        other = np.concatenate(given)
        rows.append(_row(name, truth, other.argmax(axis=1), len(task.classes), other))
    twice = 0 if train is None else in_both(as_examples(train).inputs, examples.inputs)
    also = f"{twice:,} of {len(examples):,} sequences stand in the training data too: what is known by heart is right"
    notes = [also] if twice else []
    for name, guess in _baselines(task, examples, None if train is None else as_examples(train)):
        try:
            rows.append(_row(name, truth, guess(), len(task.classes)))
        except InputError as error:
            rows.append(dict.fromkeys(rows[0]) | {"model": name})
            notes.append(f"{name}: {error}")
    counts = metrics.confusion(truth, p.argmax(axis=1), len(task.classes))
    confusion = tuple(tuple(row) for row in counts.tolist())
    return Report(tuple(rows), tuple(notes), _classes(task, counts), confusion)


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
        {"class": name, "precision": precision, "recall": recall, "F1": f1, "count": count}
        for name, precision, recall, f1, count in zip(task.classes, *columns, counts.sum(axis=1).tolist(), strict=True)
    )


def _baselines(task: Classify, test: Examples, train: Examples | None) -> list[tuple[str, Callable[[], Ids]]]:
    """The name of each baseline that fits the data, and what predicts the class of every sequence, or step."""
    from grus.tasks import baselines

    position = {name: i for i, name in enumerate(task.classes)}

    def ids(names: Sequence[str]) -> Ids:
        return np.array([position[name] for name in names], np.int64)

    count = sum(map(len, test.inputs)) if task.labels == "step" else len(test)
    learned = _flat(test if train is None else train)
    unknown = [name for name in learned if name not in position]
    if unknown:
        raise InputError(f"the data to train on have the label {unknown[0]!r}, which the model does not know")
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


def _flat(examples: Examples) -> list[str]:
    """Every label by its name."""
    if examples.labels is None:
        raise InputError("the data to train on have no labels")
    if examples.labelled == "step":
        return [str(label) for row in examples.labels for label in row]
    return [str(label) for label in examples.labels]


def _texts(examples: Examples) -> list[str]:
    return [text if isinstance(text, str) else " ".join(text) for text in examples.inputs]
