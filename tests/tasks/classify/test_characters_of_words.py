"""Words that are cut already, read by their characters: a label a word, wherever they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus.inputs.text import WORD_END
from grus.model import Model, load
from grus.spec import Characters
from grus.tasks.classify import rows
from grus.tasks.classify.evaluate import evaluate
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.fit import fit
from grus.tasks.classify.predict import predict, predict_proba
from grus.tasks.classify.prepare import encode_inputs, encode_labels, labelled_steps, make_task
from grus.tasks.classify.settings import Settings

WORDS = [["The", "dog", "runs"], ["A", "cat", "sat"]]
TAGS = [["D", "N", "V"], ["D", "N", "V"]]


def test_every_character_is_learned(tmp_path: Path) -> None:
    examples = as_examples(WORDS, TAGS)
    task = make_task(examples, Settings(tokens="characters"))
    assert set(task.input.vocabulary) == {*"Thedogrunscata", "A", WORD_END}
    x = encode_inputs(examples, task)
    assert len(x[0]) == len("The|dog|runs|")
    assert labelled_steps(x[0], task).tolist() == [3, 7, 12]  # type: ignore[union-attr]
    assert [len(own) for own in encode_labels(examples, task, x)] == [3, 3]
    assert np.array_equal(encode_inputs(as_examples(["The dog runs"]), task)[0], x[0])
    odd = encode_inputs(as_examples([["d" + WORD_END + "g", "x"]]), task)[0]
    assert (
        odd[:, 0].tolist()[1::3] == [0, 0] or odd[1, 0] == odd[4, 0] == 0
    )  # neither is known, and neither ends a word
    path = tmp_path / "letters.txt"
    path.write_text("a\nb\n")
    given = make_task(examples, Settings(tokens="characters", vocabulary=str(path)))
    assert given.input == Characters(("a", "b", WORD_END))


def test_letters_stay_what_they_were() -> None:
    task = make_task(as_examples([["a", "b"]], [["x", "y"]]), Settings(tokens="characters"))
    assert task.input == Characters(("a", "b"))


def test_a_tagger_reads_into_words(small: Callable[..., Settings], tmp_path: Path) -> None:
    """What a word is shows in its last letter alone; every word is new in the test."""
    rng = np.random.default_rng(0)

    def made(count: int) -> tuple[list[list[str]], list[list[str]]]:
        texts = [
            ["".join(rng.choice([*"abcdefgh"], 4)) + str(rng.choice(["x", "y"])) for _ in range(3)]
            for _ in range(count)
        ]
        return texts, [[word[-1].upper() for word in text] for text in texts]

    fitted = fit(as_examples(*made(80)), small(tokens="characters", epochs=25), progress=False)
    fitted.model.save(tmp_path / "m.safetensors")
    model, (texts, labels) = load(tmp_path / "m.safetensors"), made(20)
    assert fitted.validation["accuracy"] > 0.9
    report = evaluate(model, as_examples(texts, labels))
    assert report["GRU"]["accuracy"] > 0.9 and report["GRU"]["count"] == 60
    assert [len(row) for row in predict(model, texts)] == [3] * 20
    one = predict_proba(model, [texts[0]])[0]
    assert np.array_equal(one, predict_proba(model, texts)[0])  # whatever stands beside it
    found = rows.of(model, as_examples(texts[:1]))
    assert [row["token"] for row in found] == texts[0]


def test_a_label_a_text(make_model: Callable[..., Model]) -> None:
    task = make_task(as_examples(WORDS, ["x", "y"]), Settings(tokens="characters"))
    model: Any = make_model(task)
    assert predict_proba(model, WORDS).shape == (2, 2)  # type: ignore[union-attr]
    with pytest.warns(UserWarning, match="texts have no other"):
        predict(model, [["zz"]])
