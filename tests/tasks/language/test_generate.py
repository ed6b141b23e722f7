"""Generation: what is drawn, and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from grus.errors import InputError
from grus.inputs.text import encode
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Linear, Spec, Subwords
from grus.tasks.language import LanguageModel
from grus.tasks.language.generate import BYTES, _pieces, _until, choose, generate, unknown

LOGITS = np.log(np.array([0.9, 0.4, 0.1, 0.2, 0.3], np.float32))  # token 0, then what adds up to 1


def drawn(temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0, count: int = 4000) -> Counter[int]:
    rng = np.random.default_rng(0)
    return Counter(choose(LOGITS, temperature, top_k, top_p, rng) for _ in range(count))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_they_are_likely(temperature: float) -> None:
    counts, expected = drawn(temperature), np.exp(LOGITS[1:].astype(np.float64) / temperature)
    expected /= expected.sum()
    assert 0 not in counts
    for token, share in enumerate(expected, start=1):
        assert abs(counts[token] / 4000 - share) < 4 * np.sqrt(share * (1 - share) / 4000)


def test_what_is_left_to_draw_from() -> None:
    assert set(drawn(top_k=2)) == {1, 4}
    assert set(drawn(top_k=9)) == {1, 2, 3, 4}
    assert set(drawn(top_p=0.39)) == {1}
    assert set(drawn(top_p=0.6)) == {1, 4}
    assert set(drawn(top_p=0.95)) == {1, 2, 3, 4}
    assert set(drawn(top_k=3, top_p=0.7)) == {1, 4}  # of the three: 0.4 / 0.9, 0.3 / 0.9, 0.2 / 0.9
    assert set(drawn(temperature=0)) == {1}
    assert set(drawn(temperature=1e-3)) == {1}


def test_a_tie_goes_to_the_lower_token() -> None:
    logits, rng = np.array([5, 1, 3, 3, 1], np.float32), np.random.default_rng(0)
    assert choose(logits, 0, None, 1.0, rng) == 2
    assert {choose(logits, 1.0, 1, 1.0, rng) for _ in range(9)} == {2}


def test_extreme_logits_do_no_harm() -> None:
    logits = np.array([0, 3e38, -3e38, 0], np.float32)
    assert choose(logits, 1.0, None, 1.0, np.random.default_rng(0)) == 1
    assert choose(logits, 1e-300, None, 1.0, np.random.default_rng(0)) == 1


def test_every_token_is_drawn_from_what_the_model_says_after_all_before(characters: LanguageModel) -> None:
    model, kind = characters.model_, characters.model_.spec.task.input
    text = "".join(generate(model, "Kran ", 30, seed=4))
    assert len(text) == 30
    rng, ids, read = np.random.default_rng(4), encode(kind, text), [0, *encode(kind, "Kran ")]
    for token in ids:  # the whole text run anew for each one
        logits, _ = Session(model).run(np.array(read, np.float32)[:, None, None], last=True)
        assert choose(logits[0], 1.0, None, 1.0, rng) == token
        read.append(token)


@pytest.mark.parametrize("kind", ["characters", "subwords"])
def test_seeds(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    texts = ["".join(model.generate("den ", 60, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert "".join(model.generate("den ", 60)) != "".join(model.generate("den ", 60))  # another seed every time


def test_it_writes_what_it_has_learned(characters: LanguageModel) -> None:
    assert "".join(characters.generate("fliegt über den Fluß ein Kr", 3, temperature=0)).startswith("an")


def test_it_comes_piece_by_piece(characters: LanguageModel) -> None:
    pieces = characters.generate("", 10**9, seed=0)  # never ends
    assert [len(next(pieces)) for _ in range(5)] == [1] * 5


def byte_level() -> Subwords:
    return Subwords(tuple(BYTES), ())


def test_half_a_character_waits_for_the_rest() -> None:
    assert sorted(BYTES.values()) == list(range(256))
    kind = byte_level()
    tokens = [list(BYTES.values()).index(byte) + 1 for byte in "aß€🙂b".encode()]
    assert list(_pieces(kind, iter(tokens))) == ["a", "ß", "€", "🙂", "b"]
    assert list(_pieces(kind, iter(tokens[:2]))) == ["a", "\ufffd"]  # the end comes before the character does
    assert list(_pieces(kind, iter([tokens[1], tokens[0]]))) == ["\ufffda"]


def test_the_bytes_of_pieces_are_those_of_the_encoder() -> None:
    pytest.importorskip("tokenizers")
    kind, text = byte_level(), "".join(map(chr, range(1, 0x180))) + "🙂"
    assert "".join(_pieces(kind, iter(encode(kind, text).tolist()))) == text


def cut(text: str, size: int) -> Iterator[str]:
    return (text[i : i + size] for i in range(0, len(text), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_stop(size: int) -> None:
    assert "".join(_until(("END",), cut("EN ENENEND, never", size))) == "EN ENEN"
    assert "".join(_until(("END",), cut("ENEN", size))) == "ENEN"
    assert "".join(_until(("END",), cut("END", size))) == ""


def test_stop_in_a_model(characters: LanguageModel) -> None:
    whole = "".join(characters.generate("", 80, seed=3))
    assert "".join(characters.generate("", 80, seed=3, stop=" ")) == whole.split(" ")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5, expected a number above 0, at most 1"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": ""}, "stop is ''"),
        ({"length": -1}, "length is -1"),
        ({"prompt": 3}, "prompt is a int"),
    ],
)
def test_bad_options_are_told_at_once(characters: LanguageModel, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(characters.model_, **options)  # type: ignore[arg-type]


def test_unknown_characters_of_a_prompt(characters: LanguageModel, subwords: LanguageModel) -> None:
    assert unknown(characters.model_, "Kran Ωx Ω") == ["x", "Ω"]
    assert len("".join(characters.generate("Ω", 5))) == 5
    assert unknown(subwords.model_, "Kran Ω") == []


def test_a_model_of_another_task() -> None:
    arrays = {"0.weight": np.zeros((1, 1), np.float32), "0.bias": np.zeros(1, np.float32)}
    with pytest.raises(InputError, match="no language model, its file has no task: fit one with grus language fit"):
        generate(Model(Spec((Linear(1, 1),)), arrays))
