"""The task learned from data, and sequences and labels as numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.spec import Characters, Classify, Numeric, Series, Subwords, Words
from grus.tasks.classify.examples import Examples, as_examples
from grus.tasks.classify.prepare import check_alike, classes_of, encode_inputs, encode_labels, make_task
from grus.tasks.classify.settings import Architecture, Optimiser, Settings, Trainer
from grus.tasks.classify.split import hold_back

ONE = Settings(least_count=1)


def test_classes_are_in_the_order_of_their_kind() -> None:
    assert classes_of(as_examples(["a"] * 3, [10, 9, 10])) == [9, 10]
    assert classes_of(as_examples(["a"] * 3, ["10", "9", "9"])) == ["10", "9"]
    assert classes_of(as_examples([["a", "b"]], [["y", "x"]])) == ["x", "y"]
    assert classes_of(as_examples(["a"] * 2, ["b", 1])) == [1, "b"]


def test_texts() -> None:
    examples = as_examples(["the cat", "The dog!", "the cat"], ["x", "y", "x"])
    task = make_task(examples, Settings())
    assert task == Classify(Words(("the", "cat")), ("x", "y"), longest=1000)
    x = encode_inputs(examples, task)
    assert [steps[:, 0].tolist() for steps in x] == [[1, 2], [1, 0, 0], [1, 2]]
    assert all(steps.dtype == np.float32 for steps in x)
    assert [own.tolist() for own in encode_labels(examples, task, x)] == [[0], [1], [0]]


def test_only_the_first_steps_are_read() -> None:
    examples = as_examples(["a b c", "a b"], ["x", "y"])
    task = make_task(examples, Settings(least_count=1, longest=2))
    assert [len(steps) for steps in encode_inputs(examples, task)] == [2, 2]
    task = make_task(as_examples(np.ones((2, 5)), [0, 1]), Settings(longest=3))
    assert encode_inputs(as_examples(np.ones((1, 5))), task)[0].shape == (3, 1)


def test_other_vocabularies(tmp_path: Path) -> None:
    examples = as_examples(["Aab", "ba"], ["x", "y"])
    assert make_task(examples, Settings(tokens="characters")).input == Characters(("a", "b", "A"))
    assert isinstance(make_task(examples, Settings(tokens="subwords", vocabulary_size=260)).input, Subwords)
    words = make_task(examples, Settings(least_count=1, lower=False)).input
    assert words == Words(("Aab", "ba"), lower=False)
    path = tmp_path / "words.txt"
    path.write_text("ba\n")
    assert make_task(examples, Settings(vocabulary=str(path))).input == Words(("ba",))
    path.write_text("ba\nba\n")
    with pytest.raises(InputError, match="is no vocabulary, expected different words"):
        make_task(examples, Settings(vocabulary=str(path)))


def test_tokens_are_kept_whole() -> None:
    examples = as_examples([["New York", "The"], ["the"]], [["P", "O"], ["O"]])
    task = make_task(examples, ONE)
    assert (task.input, task.labels, task.longest) == (Words(("the", "new york")), "step", 0)
    x = encode_inputs(examples, task)
    assert [steps[:, 0].tolist() for steps in x] == [[2, 1], [1]]
    assert [own.tolist() for own in encode_labels(examples, task, x)] == [[1, 0], [0]]
    characters = make_task(as_examples([["a", "b"]], [["x", "y"]]), Settings(tokens="characters"))
    assert characters.input == Characters(("a", "b"))


def test_series_are_standardised_and_missing_values_are_the_mean() -> None:
    examples = as_examples([[[0.0, 7.0], [np.nan, 7.0]], [[2.0, 7.0]]], ["x", "y"])
    task = make_task(examples, Settings())
    assert task.input == Series((Numeric("channel 1", 1.0, 1.0), Numeric("channel 2", 7.0, 1.0)))
    x = encode_inputs(examples, task)
    np.testing.assert_array_equal(x[0], np.array([[-1, 0], [0, 0]], np.float32))


def test_channels_go_by_their_names() -> None:
    task = Classify(Series((Numeric("a", 0.0, 1.0), Numeric("b", 0.0, 1.0))), ("x", "y"))
    values = np.array([[1.0, 2.0, 3.0]])
    named = Examples("series", [values], channels=("b", "c", "a"))
    assert encode_inputs(named, task)[0].tolist() == [[3.0, 1.0]]
    assert encode_inputs(as_examples([values[:, :2]]), task)[0].tolist() == [[1.0, 2.0]]
    with pytest.raises(InputError, match="the data have no column 'a', which the model reads; they have b, c"):
        encode_inputs(Examples("series", [values[:, :2]], channels=("b", "c")), task)
    with pytest.raises(InputError, match="the series have 3 channels, but the model reads 2"):
        encode_inputs(as_examples([values]), task)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a"], None, "the data have no labels"),
        (["a", "b"], ["x", "x"], "all labels are 'x': expected two classes at least"),
        ([["a", "b"]], [["x", "x"]], "all labels are 'x'"),
        (["a", "b"], [1, "1"], "labels of different types have the same name"),
        (["a", " \n"], ["x", "y"], "sequence 2 is empty: it has no words"),
        ([["a"], []], ["x", "y"], "sequence 2 is empty"),
        ([[1.0], []], ["x", "y"], "sequence 2 is empty"),
        ([[1.0], [np.nan]], ["x", "y"], "sequence 2 has no number, only missing values"),
        ([[[1.0, np.nan]], [[1.0, np.nan]]], ["x", "y"], "channel 'channel 2' has no numbers"),
        (["a", "b"], ["x", "y"], "no word that occurs 2 times"),
        ([["a", "b"]], [["x", "y"]], "no token occurs 2 times"),
    ],
)
def test_nothing_to_learn(X: Any, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_task(as_examples(X, y), Settings())


def test_settings_that_do_not_fit_the_data() -> None:
    tagged = as_examples([["a", "b"]], [["x", "y"]])
    with pytest.raises(InputError, match="longest is for one label a sequence"):
        make_task(tagged, Settings(least_count=1, longest=5))
    with pytest.raises(InputError, match="not 'subwords'"):
        make_task(tagged, Settings(tokens="subwords"))


@pytest.mark.parametrize(
    "given",
    [
        {"vocabulary": "none.txt"},
        {"tokens": "characters"},
        {"vocabulary_size": 3},
        {"least_count": 1},
        {"lower": False},
    ],
)
def test_what_is_for_texts_is_refused_for_series(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(given))} is .*, but the data are series: it is for texts"):
        make_task(as_examples(np.eye(2), ["x", "y"]), Settings(**given))


def test_a_vocabulary_of_tokens_has_a_size_too() -> None:
    tagged = as_examples([["a", "b", "a"]], [["x", "y", "x"]])
    assert make_task(tagged, Settings(tokens="characters", vocabulary_size=1)).input == Characters(("a",))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a", "b\ud800"], ["x", "y"], r"sequence 2 has \\ud800, a lone surrogate"),
        ([["a", "b"], ["\udcff"]], ["x", "y"], r"sequence 2 has \\udcff, a lone surrogate"),
        (["a a", "b b"], ["x", "y\ud800"], r"a label has \\ud800, a lone surrogate"),
    ],
)
def test_half_characters(X: Any, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_task(as_examples(X, y), ONE)
    if y[1] == "y":
        with pytest.raises(InputError, match=message):
            encode_inputs(as_examples(X), Classify(Words(("a",)), ("x", "y")))


def test_data_of_another_kind_than_the_models() -> None:
    text = make_task(as_examples(["a a", "b b"], ["x", "y"]), ONE)
    numbers = make_task(as_examples(np.eye(2), ["x", "y"]), Settings())
    with pytest.raises(InputError, match="the data are series of numbers, but the model reads text"):
        encode_inputs(as_examples(np.eye(2)), text)
    with pytest.raises(InputError, match="the data are text, but the model reads series"):
        encode_inputs(as_examples(["a"]), numbers)
    for wrong, message in (
        ([["x"]], "the data have one label a step, but the model gives one a sequence"),
        (["z"], r"sequence 1 has the label 'z', which the model does not know: x, y"),
    ):
        examples = as_examples([["a"]], wrong)
        with pytest.raises(InputError, match=message):
            encode_labels(examples, text, encode_inputs(examples, text))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ((["a", " "], ["x", "y"]), "sequence 2 is empty"),
        ((["a"], None), "no labels"),
        ((np.eye(2), ["x", "y"]), "series of numbers, but the model reads text"),
        (([["a"]], [["x"]]), "one label a step"),
    ],
)
def test_what_would_end_an_evaluation_is_found_before_training(test: Any, message: str) -> None:
    train = as_examples(["a", "b"], ["x", "y"])
    check_alike(train, as_examples(["c d", "!"], ["y", "z"]))
    with pytest.raises(InputError, match=message):
        check_alike(train, as_examples(*test))
    series = as_examples([np.zeros((3, 2)), np.ones((1, 2))], ["x", "y"])
    check_alike(series, series)
    with pytest.raises(InputError, match="the series have 1 channels, but the model reads 2"):
        check_alike(series, as_examples(np.eye(2), ["x", "y"]))


def test_what_is_held_back() -> None:
    target = [np.array([i % 3]) for i in range(60)] + [np.array([3])] * 4 + [np.array([4])] * 5
    rows, back = hold_back(target, 0.2, 0)
    assert sorted([*rows, *back]) == list(range(69))
    kinds = np.bincount([int(target[i][0]) for i in back], minlength=5)
    assert kinds.tolist() == [4, 4, 4, 1, 1]
    assert hold_back(target, 0.01, 0)[1].size == 4  # one of each class that has five
    assert hold_back(target, 0.0, 0)[1].size == 0
    assert not np.array_equal(back, hold_back(target, 0.2, 1)[1])
    np.testing.assert_array_equal(back, hold_back(target, 0.2, 0)[1])
    assert hold_back([np.array([0, 1])] * 10, 0.2, 0)[1].size == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Settings(tokens="bytes"), "tokens is 'bytes', expected one of 'words', 'characters', 'subwords'"),
        (lambda: Settings(vocabulary_size=0), "vocabulary_size is 0"),
        (lambda: Settings(lower=1), "lower is 1, expected True or False"),  # type: ignore[arg-type]
        (lambda: Settings(longest=-1), "longest is -1"),
        (lambda: Settings(vocabulary=3), "vocabulary is 3, expected the path"),  # type: ignore[arg-type]
        (lambda: Settings(vocabulary="v", vocabulary_size=9), "vocabulary_size is 9, but vocabulary names a file"),
        (lambda: Settings(vocabulary="v", least_count=1), "least_count is 1, but vocabulary names a file"),
        (lambda: Settings(tokens="subwords", least_count=3), "least_count is 3, but tokens is 'subwords'"),
        (lambda: Settings(tokens="characters", lower=False), "lower is False, but tokens is 'characters'"),
        (lambda: Trainer(refit=True, validation=0), "refit is True, but validation is 0"),
        (lambda: Settings(trainer=Optimiser()), r"expected Trainer\(…\)"),  # type: ignore[arg-type]
        (lambda: Architecture(pooling="sum"), "pooling is 'sum', expected one of 'last', 'max', 'mean', 'attention'"),
        (lambda: Architecture(hidden_size=2.5), "hidden_size is 2.5"),  # type: ignore[arg-type]
        (lambda: Optimiser(learning_rate=0), "learning_rate is 0, expected a number above 0"),
        (lambda: Optimiser(batch_size=4, accumulate=5), "accumulate is 5, expected at most batch_size, 4"),
        (lambda: Optimiser(schedule="step"), "schedule is 'step'"),
        (lambda: Trainer(validation=1.0), "validation is 1.0, expected a number from 0 to below 1"),
        (lambda: Trainer(dropout=-0.1), "dropout is -0.1"),
        (lambda: Trainer(class_weights="auto"), "class_weights is 'auto', expected one of 'balanced', None"),
        (lambda: Trainer(epochs=0), "epochs is 0"),
        (lambda: Trainer(initial="zeros"), "initial is 'zeros', expected one of 'uniform', 'spread'"),
        (lambda: Trainer(seed=True), "seed is True"),
    ],
)
def test_settings_that_are_none(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_settings_take_numpys_numbers() -> None:
    assert Architecture(hidden_size=np.int64(8)) == Architecture(hidden_size=8)  # type: ignore[arg-type]
    assert type(Trainer(dropout=np.float32(0.5)).dropout) is float  # type: ignore[arg-type]
