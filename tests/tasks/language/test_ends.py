"""Texts with ends: a list of short texts, or a line each; what is learned, measured and written of them."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grus.errors import InputError, Note
from grus.inputs.text import encode
from grus.model import Model, load
from grus.runtime.session import Session
from grus.spec import GRU, Characters, Embedding, Language, Linear, Spec, parameters
from grus.tasks.language import Architecture, LanguageModel, Optimiser, Settings, Trainer
from grus.tasks.language.corpus import Streams, as_corpus, encode_corpus, split
from grus.tasks.language.evaluate import evaluate, token_bits
from grus.tasks.language.fit import bits_per_character
from grus.tasks.language.generate import generate
from grus.torch.network import from_model

NAMES = ["Anna", "Ben", "Clara", "Dora"]


@pytest.fixture(scope="module")
def named() -> LanguageModel:
    """Four names, each 60 times."""
    return LanguageModel(
        architecture=Architecture(24, embedding_size=8),
        optimiser=Optimiser(learning_rate=0.02, batch_size=4),
        trainer=Trainer(steps=200, window=20),
    ).fit(NAMES * 60)


def test_generation_stops_at_the_end_of_a_text(named: LanguageModel) -> None:
    found = Counter("".join(named.generate("", 100, seed=seed)) for seed in range(40))
    assert sum(found[name] for name in NAMES) >= 36
    assert "".join(named.generate("Cl", 100, temperature=0)) == "ara"


def test_a_file_knows_that_texts_end(named: LanguageModel, tmp_path: Path, characters: LanguageModel) -> None:
    named.save(tmp_path / "m.safetensors")
    again = LanguageModel.load(tmp_path / "m.safetensors")
    assert again.lines and again.model_.spec.task.ends
    assert "".join(again.generate("D", 100, temperature=0)) == "ora"
    logits, _ = Session(load(tmp_path / "m.safetensors")).run("Ben", last=True)
    assert logits[0].argmax() == 0  # the end
    characters.save(tmp_path / "running.safetensors")
    assert b'"ends"' not in (tmp_path / "running.safetensors").read_bytes()


def test_what_an_evaluation_counts(named: LanguageModel, tmp_path: Path) -> None:
    task = named.model_.spec.task
    report = evaluate(named.model_, NAMES)
    ids = np.concatenate([[*encode(task.input, name), 0] for name in NAMES])
    bits, size = token_bits(Session(named.model_), ids), sum(map(len, NAMES)) + 4
    assert report["GRU"]["characters"] == report["GRU"]["tokens"] == size
    assert report["GRU"]["bits/character"] == pytest.approx(bits / size)
    assert report["GRU"]["bits/character"] < math.log2(4)  # four names of four characters: two bits each can be known
    assert report.notes == ("the end of each of the 4 texts counts as a character",)
    path = tmp_path / "names.txt"
    path.write_text("\r\n".join(NAMES) + "\r\n")
    for same in (path, [path], "\n".join(NAMES)):
        assert evaluate(named.model_, same, path)["GRU"] == report["GRU"]
    assert bits_per_character(from_model(named.model_), task, tuple(NAMES)) == pytest.approx(bits / size, rel=1e-6)
    assert [row["model"] for row in named.evaluate().rows] == ["GRU", "8-gram (Kneser-Ney)", "xz"]


def test_an_unknown_character_is_no_end(named: LanguageModel) -> None:
    task = named.model_.spec.task
    assert 0 not in encode_corpus(task, ("Ωx",))[:-1]
    assert evaluate(named.model_, ["Anna", "BΩn"]).notes[0].startswith("1 characters (11.11%) are not in the model's")
    with pytest.warns(Note, match="the model has never seen 'Ω', and reads it as an unknown character"):
        named.generate("Ω", 3)
    with pytest.raises(InputError, match="in the vocabulary, where texts have ends"):
        Language(Characters(("a",)), ends=True)


def test_a_stream_begins_with_a_text() -> None:
    ids = np.array([*(1, 1, 1, 0) * 5, *(2, 2, 0) * 5, *(3, 0) * 5])
    tokens = Streams(ids, 3, 5, ends=True).tokens
    assert tokens[:, :2].tolist() == [[1, 1], [1, 1], [2, 2]]
    assert tokens[2].tolist() == [2, 2, 0, *(3, 0) * 5, 1, 1]  # past the end it goes on from the beginning
    long = np.arange(1, 46)  # no text begins in the second stream: it goes on
    assert (Streams(long, 3, 5, ends=True).tokens == long.reshape(3, 15)).all()


def test_what_has_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\n")
    assert as_corpus(path) == as_corpus([path]) == "one\n\ntwo\n"
    assert as_corpus([path, path]) == "one\n\ntwo\n" * 2  # several files are one running text, as ever
    assert as_corpus(["one"]) == "one"
    assert as_corpus(["a\nb", "c"]) == ("a\nb", "c")
    with pytest.warns(Note, match="1 of 3 texts are empty and left out"):
        assert as_corpus(path, lines=True) == ("one", "two")
    with pytest.raises(InputError, match="the texts are all empty"):
        as_corpus(["", " "])


def test_the_parts_of_a_list_are_drawn_by_chance() -> None:
    texts = tuple(f"{i:03}" for i in range(100))  # sorted, as lists are
    parts = split(texts, Settings(held_out=0.1, validation=0.1))
    assert (len(parts.test), len(parts.validation)) == (10, 9)
    assert sorted((*parts.train, *parts.validation, *parts.test)) == list(texts)
    assert parts.test != texts[90:]
    assert parts == split(texts, Settings(held_out=0.1, validation=0.1))
    with pytest.raises(InputError, match="the text has 3 texts, too few"):
        split(texts[:3], Settings())


def test_what_stands_in_both_is_told(small: Settings) -> None:
    parts = {name: getattr(small, name) for name in ("architecture", "optimiser")}
    model = LanguageModel(**parts, trainer=replace(small.trainer, steps=1))
    with pytest.warns(Note, match="of the 23 texts held back stand among those trained on too"):
        model.fit(NAMES * 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        model.fit([f"{i:04}" for i in range(300)])
    with pytest.warns(Note, match="characters are beyond the vocabulary and read as an unknown one"):
        model.set_params(vocabulary_size=5).fit("abc abc def " * 200)


def test_subwords(small: Settings) -> None:
    pytest.importorskip("tokenizers")
    parts = {name: getattr(small, name) for name in ("architecture", "optimiser", "trainer")}
    model = LanguageModel(tokens="subwords", vocabulary_size=270, **parts).fit(NAMES * 60)
    assert len("".join(model.generate("", 200, seed=0))) < 40
    row = model.evaluate(NAMES)["GRU"]
    assert row["tokens"] < row["characters"] == sum(map(len, NAMES)) + 4


def test_several_stops() -> None:
    kind = Characters(tuple("abc"))
    blocks = (Embedding(4, 2), GRU(2, 3), Linear(3, 4))
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in parameters(blocks).items()}
    model = Model(Spec(blocks, Language(kind)), arrays)
    whole = "".join(generate(model, "", 60, seed=3))
    ends = {stop: whole.index(stop) for stop in ("bc", "ca", "aa") if stop in whole}
    assert len(ends) > 1
    assert "".join(generate(model, "", 60, seed=3, stop=list(ends))) == whole[: min(ends.values())]
    assert "".join(generate(model, "", 60, seed=3, stop=[])) == whole
    for bad in (["a", ""], [3]):
        with pytest.raises(InputError, match="stop is .*, expected a text, several, or None"):
            generate(model, "", 60, stop=bad)  # type: ignore[arg-type]
