"""From examples to what a network reads: the task learned from training data, and sequences and labels as numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError, Note, note
from grus.inputs.text import (
    NO_SPACES,
    WORD_END,
    encode,
    encode_tokens,
    ends_words,
    first_steps,
    is_word,
    learn_characters,
    learn_subwords,
    learn_words,
    read_vocabulary,
    split_words,
)
from grus.spec import Characters, Classify, Numeric, Series, Subwords, Words
from grus.spec.task import Text
from grus.tasks.classify.labels import check_classes, finder, kinds_of
from grus.tasks.classify.objects import IGNORED, LARGEST, Examples, channel_names
from grus.tasks.classify.settings import Settings
from grus.tasks.columns import lone_surrogate

__all__ = [
    "Encoded",
    "UNSEEN",
    "check_alike",
    "classes_of",
    "encode_inputs",
    "encode_labels",
    "find_labels",
    "flat_labels",
    "labelled_steps",
    "make_task",
]

UNSEEN = -1  # the position of a label that is none of the classes
LONGEST = 1000  # steps of a text that are read, where the settings leave it to the data

Ids = NDArray[np.int64]
Single = NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """Sequences as a network takes them: x[i] [T, features]; and their classes: target[i] [1], or [T] one a step."""

    x: list[Single]
    target: list[Ids]

    @property
    def lengths(self) -> Ids:
        return np.array([len(steps) for steps in self.x], np.int64)

    def take(self, rows: Ids) -> Encoded:
        return Encoded([self.x[i] for i in rows.tolist()], [self.target[i] for i in rows.tolist()])


def classes_of(examples: Examples) -> list[Any]:
    """The different labels, in order, as they came. Raises InputError for no labels, or all the same."""
    if examples.labels is None:
        raise InputError(
            "the data have no labels: nothing can be learned, or evaluated; of a table they are a column, of a folder "
            "the names of the folders in it"
        )
    if not len(examples):
        raise InputError("the data have no sequences")
    labels = flat_labels(examples)
    different, types = set(labels), set(map(type, labels))
    if bool in types and types & {int, float}:
        raise InputError("some labels are True or False and others numbers, and 1 is True: make them of one type")
    try:
        classes = sorted(different)
    except TypeError:
        classes = sorted(different, key=str)
    if len(classes) < 2:
        only = f"all labels are {str(classes[0])!r}" if classes else "there is no step with a label"
        raise InputError(f"{only}: expected two classes at least")
    if len({str(c) for c in classes}) < len(classes):
        raise InputError("labels of different types have the same name, as 1 and '1' do: make them of one type")
    check_classes(labels, classes)
    return classes


def flat_labels(examples: Examples) -> list[Any]:
    """Every label, of the sequences or of their steps, those left out that have none."""
    labels = examples.labels or ()
    return [v for row in labels for v in row if v is not None] if examples.labelled == "step" else list(labels)


def make_task(examples: Examples, settings: Settings) -> Classify:
    """What is learned from training data before the network: classes, vocabulary, scales.

    Raises InputError for labels of one class, empty sequences, channels without a number, texts without a word.
    """
    labels = classes_of(examples)
    classes, kinds = tuple(map(str, labels)), kinds_of(labels)
    for name in classes:
        _check_unicode(name, "a label")
    if examples.labelled == "step" and settings.longest:
        raise InputError("longest is for one label a sequence: where every step has one, every step is read", "longest")
    if examples.kind == "series":
        given = settings.of_text()
        if given:
            raise InputError(
                f"{given[0]} is {getattr(settings, given[0])!r}, but the data are series: it is for texts", given[0]
            )
        return Classify(_scales(examples), classes, examples.labelled, longest=settings.longest or 0, kinds=kinds)
    longest = LONGEST if settings.longest is None else settings.longest
    task = Classify(
        _vocabulary(examples, settings),
        classes,
        examples.labelled,
        longest=0 if examples.labelled == "step" else longest,
        kinds=kinds,
    )
    if examples.kind == "tokens" and isinstance(task.input, Subwords):
        raise InputError(
            "the texts are cut into tokens already: tokens must be 'words' or 'characters', not 'subwords'"
        )
    return task


def _scales(examples: Examples) -> Series:
    _check_numbers(examples)
    joined = np.concatenate(examples.inputs)
    channels = []
    for name, values in zip(examples.channels, joined.T, strict=True):
        known = values[~np.isnan(values)]
        if not known.size:
            raise InputError(f"channel {name!r} has no numbers: leave it out")
        std = float(known.std())
        channels.append(Numeric(name, float(known.mean()), std if std > 1e-12 * (1 + abs(known.mean())) else 1.0))
    return Series(tuple(channels))


def _vocabulary(examples: Examples, settings: Settings) -> Text:
    if settings.vocabulary is not None:
        return _of_words(read_vocabulary(settings.vocabulary, settings.tokens, lower=settings.lower), examples)
    for i, given in enumerate(examples.inputs):
        _check_text(given, examples, i)
    size, texts = settings.vocabulary_size, examples.inputs
    if examples.kind == "tokens" and settings.tokens != "subwords":
        return _of_words(_token_vocabulary(texts, settings), examples)
    match settings.tokens:
        case "words":
            return learn_words(texts, size, settings.least_count, lower=settings.lower)
        case "characters":
            return learn_characters(texts, size)
        case _:
            return learn_subwords(dict.fromkeys(t if isinstance(t, str) else " ".join(t) for t in texts), size)


def _token_vocabulary(texts: Sequence[list[str]], settings: Settings) -> Words | Characters:
    """Of text that is cut already; a token may hold what the rules of ``grus.inputs.text`` would cut further."""
    if settings.tokens == "characters":
        return learn_characters((token for tokens in texts for token in tokens), settings.vocabulary_size)
    counts: dict[str, int] = {}
    for tokens in texts:
        for token in tokens:
            name = token.lower() if settings.lower else token
            counts[name] = counts.get(name, 0) + 1
    kept = [
        name for name, count in sorted(counts.items(), key=lambda e: (-e[1], e[0])) if count >= settings.least_count
    ]
    if not kept:
        raise InputError(f"no token occurs {settings.least_count} times: there is no vocabulary to learn; {NO_SPACES}")
    return Words(tuple(kept[: settings.vocabulary_size]), settings.lower)


def _of_words(input: Text, examples: Examples) -> Text:
    """Characters of words, and not of single letters, with what ends a word."""
    long = examples.kind == "tokens" and any(len(token) > 1 for tokens in examples.inputs for token in tokens)
    if not long or not isinstance(input, Characters):
        return input
    return Characters((*(entry for entry in input.vocabulary if entry != WORD_END), WORD_END))


def labelled_steps(x: Single, task: Classify) -> Ids | slice:
    """The steps of x [T, features] that give a label: every one, or of words read by characters the one behind each."""
    if task.labels == "step" and not isinstance(task.input, Series) and ends_words(task.input):
        return np.flatnonzero(x[:, 0] == task.input.size - 1)
    return slice(None)


def encode_inputs(examples: Examples, task: Classify) -> list[Single]:
    """What the network reads of each sequence, [T, features]: an id a step, or the standardised channels.

    Raises InputError for another kind of data than the task's, for other channels, for an empty sequence, and for a
    number so far from the training data's that float32 overflows.
    """
    if isinstance(task.input, Series):
        examples = _in_order(examples, task.input)
        mean, std = (np.array([getattr(c, name) for c in task.input.channels]) for name in ("mean", "std"))
        _check_numbers(examples)
        with np.errstate(over="ignore"):
            scaled = [(values - mean) / std for values in first_steps(examples.inputs, task.longest)]
        _check_range(scaled, examples)
        return [np.where(np.isnan(values), 0.0, values).astype(np.float32) for values in scaled]
    if examples.kind == "series":
        raise InputError("the data are series of numbers, but the model reads text")
    found = []
    for i, given in enumerate(examples.inputs):
        _check_text(given, examples, i)
        if isinstance(given, str) and ends_words(task.input):
            given = split_words(given)
        ids = encode(task.input, given) if isinstance(given, str) else _tokens(task.input, given)
        if not len(ids):
            raise InputError(f"{examples.place(i)} is empty: it has no words, so there is nothing to classify")
        found.append(ids)
    found = first_steps(found, task.longest)
    _tell_unknown(found, task.input)
    return [ids.astype(np.float32)[:, None] for ids in found]


def _tell_unknown(ids: Sequence[Ids], input: Text) -> None:
    """A note where more than half of the words are not in the vocabulary, or all of some text, marks apart."""
    if isinstance(input, Subwords):  # bytes are all known
        return
    mark = np.array([False, *(isinstance(input, Words) and not is_word(entry) for entry in input.vocabulary)])
    mark[-1] |= ends_words(input)
    ids = [row[~mark[row]] for row in ids]
    unknown, total = sum(int((row == 0).sum()) for row in ids), sum(map(len, ids))
    blank = sum(len(row) > 0 and not row.any() for row in ids)
    if 2 * unknown > total or blank:
        what, hint = ("words", f"; {NO_SPACES}") if isinstance(input, Words) else ("characters", "")
        note(
            f"{unknown:,} of {total:,} {what} are not in the vocabulary and read as one and the same, and {blank:,} of "
            f"{len(ids):,} texts have no other{hint}"
        )


def _tokens(input: Text, tokens: list[str]) -> Ids:
    if isinstance(input, Subwords):
        raise InputError("the model reads subwords of whole texts, but the data are texts cut into tokens")
    return encode_tokens(input, tokens)


def encode_labels(examples: Examples, task: Classify, x: Sequence[Single]) -> list[Ids]:
    """The classes of each sequence by their position in the task, [1], or [T] where every step has a label: there
    IGNORED is a step without.

    Raises InputError where there are no labels, they are of the other kind, or one is unknown to the task.
    """
    found = find_labels(examples, task)
    labels = examples.labels or ()
    for i, own in enumerate(found):
        if (own == UNSEEN).any():
            unknown = labels[i][int((own == UNSEEN).argmax())] if examples.labelled == "step" else labels[i]
            shown = ", ".join(task.classes[:8]) + ", …" * (len(task.classes) > 8)
            raise InputError(
                f"{examples.place(i)} has the label {str(unknown)!r}, which the model does not know: {shown}"
            )
        steps = len(x[i][labelled_steps(x[i], task)])
        if examples.labelled == "step" and len(own) != steps:
            raise InputError(f"{examples.place(i)} has {len(own)} labels, but {steps} steps")
    return found


def find_labels(examples: Examples, task: Classify) -> list[Ids]:
    """As :func:`encode_labels`, but a label that is unknown to the task is UNSEEN."""
    if examples.labels is None:
        raise InputError("the data have no labels to compare with")
    if examples.labelled != task.labels:
        raise InputError(f"the data have one label a {examples.labelled}, but the model gives one a {task.labels}")
    position: dict[Any, int] = {None: IGNORED}
    find = finder(task)

    def at(label: Any) -> int:
        if label not in position:
            found = find(label)
            position[label] = UNSEEN if found is None else found
        return position[label]

    rows = examples.labels if examples.labelled == "step" else [[label] for label in examples.labels]
    return [np.array([at(label) for label in row], np.int64) for row in rows]


def check_alike(train: Examples, test: Examples) -> None:
    """Raise InputError now for what would end an evaluation on ``test`` after a model was fitted to ``train``."""
    input: Text | Series = Words(("any",))
    if train.kind == "series":
        input = Series(tuple(Numeric(name, 0.0, 1.0) for name in train.channels))
    task = Classify(input, tuple(str(label) for label in classes_of(train)), train.labelled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)  # of a vocabulary that is none
        encode_inputs(test, task)
    find_labels(test, task)


def _in_order(examples: Examples, input: Series) -> Examples:
    """The series with the channels of ``input``: by their names, or by position where either has no names."""
    if examples.kind != "series":
        raise InputError("the data are text, but the model reads series of numbers")
    wanted, given = tuple(c.name for c in input.channels), examples.channels
    unnamed = channel_names(len(wanted))
    if wanted in (given, unnamed) or given == channel_names(len(given)):
        if len(wanted) != len(given):
            raise InputError(f"the series have {len(given)} channels, but the model reads {len(wanted)}")
        return examples
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InputError(f"the data have no column {missing[0]!r}, which the model reads; they have {', '.join(given)}")
    more = [name for name in given if name not in wanted]
    if more:
        note(f"the data have the column {more[0]!r}, which the model does not read: it is left out")
    columns = [given.index(name) for name in wanted]
    return replace(examples, inputs=[values[:, columns] for values in examples.inputs], channels=wanted)


def _check_numbers(examples: Examples) -> None:
    for i, values in enumerate(examples.inputs):
        if not len(values) or np.isnan(values).all():
            what = "is empty" if not len(values) else "has no number, only missing values"
            raise InputError(f"{examples.place(i)} {what}")


def _check_range(scaled: Sequence[NDArray[np.float64]], examples: Examples) -> None:
    for i, values in enumerate(scaled):
        wild = np.argwhere(np.abs(values) > LARGEST)
        if len(wild):
            step, channel = wild[0].tolist()
            raise InputError(
                f"{examples.place(i)}, step {step + 1}: {examples.channels[channel]} is "
                f"{examples.inputs[i][step, channel]:g}, {values[step, channel]:.0e} standard deviations from the mean "
                "of the training data: too far for float32"
            )


def _check_text(given: str | list[str], examples: Examples, index: int) -> None:
    if not given or (isinstance(given, str) and given.isspace()):
        raise InputError(f"{examples.place(index)} is empty: it has no words, so there is nothing to classify")
    _check_unicode(given if isinstance(given, str) else "".join(given), examples.place(index))


def _check_unicode(text: str, where: str) -> None:
    surrogate = lone_surrogate(text)
    if surrogate:
        raise InputError(f"{where} has {surrogate}, a lone surrogate: half a character, which no file can hold")
