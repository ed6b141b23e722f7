"""Bits per character: against the definition, whatever the chunks, and beside the baselines."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from grus import exact
from grus.errors import InputError
from grus.inputs import text
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import GRU, Characters, Embedding, Language, Linear, Spec, parameters
from grus.tasks.baselines import NGram, xz_bits
from grus.tasks.language import LanguageModel, Report
from grus.tasks.language.evaluate import evaluate, token_bits

KIND = Characters(tuple("abcdefgh "))


@pytest.fixture
def model(rng: np.random.Generator) -> Model:
    blocks = (Embedding(KIND.size, 5), GRU(5, 7), Linear(7, KIND.size))
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in parameters(blocks).items()}
    return Model(Spec(blocks, Language(KIND)), arrays)


def expected_bits(model: Model, ids: np.ndarray) -> float:
    """−Σ log2 p, each token after all before it, in float64 by the equations."""
    x = np.array([0, *ids[:-1]], np.float64)[:, None, None]
    logits = exact.run(model.spec.blocks, model.arrays, x)[:, 0]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(-np.log2(p[np.arange(len(ids)), ids]).sum())


def test_bits_are_those_of_the_equations(model: Model, rng: np.random.Generator) -> None:
    ids = rng.integers(KIND.size, size=700)
    assert token_bits(Session(model), ids) == pytest.approx(expected_bits(model, ids), rel=1e-6)


@pytest.mark.parametrize("chunk", [1, 64, 699, 10**6])
def test_the_state_is_carried_whatever_the_chunks(
    model: Model, rng: np.random.Generator, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = rng.integers(KIND.size, size=700)
    whole = token_bits(Session(model), ids)
    monkeypatch.setattr("grus.tasks.language.evaluate.LOGITS", chunk * KIND.size)
    assert token_bits(Session(model), ids) == pytest.approx(whole, rel=1e-12)


def test_a_row(model: Model) -> None:
    words = "abc cab hag fed bad " * 20
    row = evaluate(model, words)["GRU"]
    bits = expected_bits(model, text.encode(KIND, words))
    assert row["bits/character"] == row["bits/token"] == pytest.approx(bits / len(words), rel=1e-6)
    assert row["perplexity"] == pytest.approx(2 ** (bits / len(words)), rel=1e-5)
    assert row["characters"] == row["tokens"] == len(words)
    assert evaluate(model, words).notes == ()


def test_subwords_are_counted_in_characters(subwords: LanguageModel, text: str) -> None:
    row = subwords.evaluate("über den Fluß " * 30)["GRU"]
    assert row["characters"] == 14 * 30
    assert row["tokens"] < row["characters"]
    assert row["bits/character"] * row["characters"] == pytest.approx(row["bits/token"] * row["tokens"])


def test_an_unknown_character_costs_what_it_takes_to_write_it(model: Model) -> None:
    words = "abc Ωab Ω "
    report = evaluate(model, words)
    bits = expected_bits(model, text.encode(KIND, words)) + 2 * math.log2(1_112_064 - len(KIND.vocabulary))
    assert report["GRU"]["bits/character"] == pytest.approx(bits / len(words), rel=1e-6)
    assert report.notes == (
        "2 characters (20.00%) are not in the model's vocabulary: each costs 20.1 bits beside those of the token that "
        "says so",
    )


def test_beside_the_baselines(characters: LanguageModel, tmp_path: Path) -> None:
    train, seen, path = "ein Kran fliegt über den Fluß. " * 40, "den Fluß über fliegt ein Kran " * 9, tmp_path / "t.txt"
    path.write_text(train, encoding="utf-8")
    report = evaluate(characters.model_, seen, path)
    assert [row["model"] for row in report.rows] == ["GRU", "8-gram (Kneser-Ney)", "xz"]
    assert report["8-gram (Kneser-Ney)"]["bits/character"] == NGram.fit(train).bits(seen, train)
    assert report["xz"]["bits/character"] == xz_bits(train, seen)
    unseen = evaluate(characters.model_, seen + "Ω", train)["8-gram (Kneser-Ney)"]["bits/character"]
    counted = NGram.fit(train)
    price = math.log2(1_112_064 - len(counted.alphabet)) / (len(seen) + 1)
    assert unseen == pytest.approx(counted.bits(seen + "Ω", train) + price)


def test_a_report_as_table_and_json(model: Model) -> None:
    report = evaluate(model, "abc hag " * 9, "abc hag fed " * 9)
    lines = str(report).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines[:2]}) == 1
    assert lines[2].split()[-4:] == ["-", "-", "72", "-"]
    assert json.loads(report.to_json())["rows"] == list(report.rows)
    with pytest.raises(KeyError):
        report["LSTM"]
    assert isinstance(report, Report)


def test_bad_input(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the text is empty"):
        evaluate(model, "")
    path = tmp_path / "latin.txt"
    path.write_bytes(b"abc \xe9t\xe9")
    with pytest.raises(InputError, match="byte 0xe9 at offset 4"):
        evaluate(model, path)
    with pytest.raises(InputError, match="no language model, its file has no task"):
        evaluate(Model(Spec(model.spec.blocks), model.arrays), "abc")


def test_a_text_that_was_trained_on(model: Model) -> None:
    seen = evaluate(model, "abc cab hag", "bad abc cab hag fed")
    assert seen.notes == (
        "the text stands in the training text, so all figures flatter: evaluate on what is not in it",
    )
    assert evaluate(model, "abc cab hag", "bad abc cab fed hag").notes == ()
