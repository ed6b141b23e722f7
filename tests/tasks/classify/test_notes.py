"""What is cut, unknown, or stands twice: each is said, once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError, Note, note, notes_on_stderr
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Characters, Classify, Words
from grus.tasks.classify.evaluate import evaluate
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.fit import fit
from grus.tasks.classify.prepare import encode_inputs, make_task
from grus.tasks.classify.settings import Settings

DNA = ["ACGTTGCA" * 4 + letter for letter in "ACGT"]
THAI = ["อาหารอร่อยมาก", "บริการแย่มาก", "ร้านนี้สวย", "รอนานมาก"]
CHINESE = ["今天很好，我喜欢。", "电影难看，我讨厌。", "餐厅漂亮，服务好。", "服务很差，不高兴。"]


def said(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", Note)
        call()
    return [str(one.message) for one in found]


@pytest.mark.parametrize("texts", [DNA, THAI, CHINESE])
def test_words_where_there_are_no_spaces(texts: list[str]) -> None:
    with pytest.raises(InputError, match=r"no word that occurs 2 times: .*--tokens characters"):
        make_task(as_examples(texts, [0, 1, 0, 1]), Settings())
    examples = as_examples([*texts, "很 很"], [0, 1, 0, 1, 1])  # a word that occurs twice, and so is learned
    (told,) = said(lambda: encode_inputs(examples, make_task(examples, Settings())))
    assert " words are not in the vocabulary and read as one and the same, and " in told
    assert told.endswith(
        "texts have no other; text without spaces is read by characters (tokens='characters', --tokens characters)"
    )


def test_unknown_characters() -> None:
    task = Classify(Characters(("a", "b")), ("x", "y"))
    assert said(lambda: encode_inputs(as_examples(["abc", "ab"]), task)) == []
    assert said(lambda: encode_inputs(as_examples(["abc", "Ωé"]), task)) == [
        "3 of 5 characters are not in the vocabulary and read as one and the same, and 1 of 2 texts have no other"
    ]


def test_what_is_cut(make_model: Callable[..., Model]) -> None:
    task = Classify(Words(("a", "b")), ("x", "y"), longest=2)
    assert said(lambda: encode_inputs(as_examples(["a b a", "a b"]), task)) == [
        "1 of 2 sequences have more than 2 steps, of which the first 2 are read: longest=0 (--longest 0) reads all"
    ]
    series = make_task(as_examples(np.ones((3, 5)), [0, 1, 0]), Settings(longest=4))
    assert said(lambda: encode_inputs(as_examples(np.ones((3, 4))), series)) == []
    assert (
        "3 of 3 sequences have more than 4 steps"
        in said(lambda: encode_inputs(as_examples(np.ones((3, 5))), series))[0]
    )
    session = Session(make_model(task, bidirectional=False))
    assert "more than 2 steps" in said(lambda: session.run(["a b a"]))[0]


def test_what_stands_in_both(small: Callable[..., Settings], make_model: Callable[..., Model]) -> None:
    texts, labels = ["a good day", "a bad day"] * 10, [1, 0] * 10
    told = said(lambda: fit(as_examples(texts, labels), small(epochs=1), progress=False))
    assert told[0].startswith("4 of the 4 sequences held back stand among those trained on too")
    tokens = [text.split() for text in texts]
    assert said(lambda: fit(as_examples(tokens, labels), small(epochs=1), progress=False)) == told
    series = [np.full(3, float(i)) for i in range(20)]
    assert said(lambda: fit(as_examples(series, labels), small(epochs=1), progress=False)) == []
    few = as_examples(texts[:4], labels[:4])
    assert "too few sequences to hold some back" in said(lambda: fit(few, small(epochs=1), progress=False))[0]
    model = make_model(make_task(as_examples(texts, labels), Settings()))
    assert "2 of 3 sequences stand in the training data too" in str(
        evaluate(model, as_examples([*texts[:2], "a day"], [1, 0, 1]), as_examples(texts, labels))
    )


def test_a_note_is_a_warning_at_the_line_that_called(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(Note, match="cut") as found:
        note("cut")
    assert found[0].filename == __file__
    with notes_on_stderr():
        note("said\nonce")
        note("said\nonce")
    with notes_on_stderr(shown=False):
        note("never")
    assert capsys.readouterr().err == "note: said once\n"
