"""Text to ids and back: where words end, what is unknown, and what a vocabulary is learned from."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from grus import installed
from grus.errors import InputError
from grus.inputs.text import (
    decode,
    encode,
    encode_tokens,
    is_word,
    learn_characters,
    learn_subwords,
    learn_words,
    read_vocabulary,
    split_words,
)
from grus.spec.task import Characters, Subwords, Text, Words

TEXTS = ["the cat sat on the mat", "the dog, größer als die Katze", "日本語 the the"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, O’Neil!", ["Don't", "stop", ",", "O’Neil", "!"]),
        ("'quoted' rock'n'roll dogs'", ["'", "quoted", "'", "rock'n'roll", "dogs", "'"]),
        ("größer 3.5€\n\ttab", ["größer", "3", ".", "5", "€", "tab"]),
        ("日本語。", ["日本語", "。"]),
        (" \u00a0\u2003", []),
        ("हिन्दी में लिखा पाठ।", ["हिन्दी", "में", "लिखा", "पाठ", "।"]),
        ("ภาษาไทย น้ำ", ["ภาษาไทย", "น้ำ"]),
        ("l’e\u0301te\u0301, nai\u0308f", ["l’e\u0301te\u0301", ",", "nai\u0308f"]),
        ("می\u200cخواهم کتاب\u200cها", ["می\u200cخواهم", "کتاب\u200cها"]),
        ("שָׁלוֹם, عَرَبِيّ", ["שָׁלוֹם", ",", "عَرَبِيّ"]),
        ("അവന\u0d4d\u200d വന്നു", ["അവന\u0d4d\u200d", "വന്നു"]),  # an older Malayalam n: a joiner ends the word
        ("İstanbul".lower(), ["i\u0307stanbul"]),
        ("\u0301a ❤\ufe0f", ["\u0301", "a", "❤", "\ufe0f"]),  # behind no word a mark is one of its own
    ],
)
def test_where_a_word_ends(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_marks_are_no_words() -> None:
    texts = ["हिन्दी में पाठ", "हिन्दी में"]
    assert learn_words(texts).vocabulary == ("में", "हिन्दी")
    assert all(map(is_word, learn_words(texts, least_count=1).vocabulary))
    assert not is_word("\u0301") and not is_word("\u200d")


def test_words() -> None:
    words = Words(("the", "Cat", "don't"))
    assert encode(words, "The CAT don't bark").tolist() == [1, 0, 3, 0]  # "Cat" is not in lower case: never found
    assert encode(Words(("the", "Cat"), lower=False), "The the Cat cat").tolist() == [0, 1, 2, 0]
    assert encode(words, " ").shape == (0,)
    assert encode(words, "the").dtype == np.int64


def test_tokens_are_looked_up_whole() -> None:
    words = Words(("new york", "the", "-"))
    assert encode_tokens(words, ["The", "New York", "york", "-"]).tolist() == [2, 1, 0, 3]
    assert encode_tokens(Characters(("a", "b")), ["b", "ab", "a"]).tolist() == [2, 0, 1]
    with pytest.raises(InputError, match="not as subwords"):
        encode_tokens(learn_subwords(["a"], 256), ["a"])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a sequence of str"):
        encode_tokens(words, ["the", 3])  # type: ignore[list-item]


def test_characters_there_and_back() -> None:
    characters = learn_characters(TEXTS)
    assert characters.vocabulary[0] == " "  # the most frequent
    for text in (*TEXTS, ""):
        assert decode(characters, encode(characters, text)) == text
    assert encode(characters, "x\ud800t").tolist()[:2] == [0, 0]
    assert decode(characters, encode(characters, "cx")) == "c\ufffd"
    assert learn_characters(["aabbbc"], most=2) == Characters(("b", "a"))


def test_subwords_there_and_back() -> None:
    subwords = learn_subwords(TEXTS, 300)
    assert 256 < len(subwords.vocabulary) <= 300
    for text in (*TEXTS, "", "never seen: \u2028\x00 ŵ", "  two  spaces"):
        assert decode(subwords, encode(subwords, text)) == text
    assert len(encode(subwords, "the the")) == 2  # frequent pieces are joined
    whole = encode(subwords, "日")
    assert decode(subwords, whole[:1]) == "\ufffd"
    assert decode(subwords, [0, *whole, 0]) == "日"


def test_subwords_do_not_learn_what_stands_once() -> None:
    """Without spaces a whole sentence is one word, and would be one piece."""
    sentences = ["今天天气很好我们去公园", "昨天下雨他们在家看书", "今天我们在家"]
    pieces = learn_subwords(sentences, 2000).vocabulary
    assert max(map(len, pieces)) < 3 * len("天天气")  # bytes
    assert len(learn_subwords(sentences, 2000, least_count=1).vocabulary) > len(pieces)


def test_subwords_of_a_table_without_some_bytes() -> None:
    assert encode(Subwords(("a", "b", "ab"), ("a b",)), "abxa").tolist() == [3, 0, 1]


def test_subwords_are_the_same_in_every_process(python: Callable[..., CompletedProcess[str]]) -> None:
    code = (
        f"from grus.inputs.text import learn_subwords, encode; v = learn_subwords({TEXTS!r} * 3, 290); "
        "print(ascii(v)); print(encode(v, 'the größte Katze'))"
    )
    one, two = python(code, PYTHONHASHSEED="1"), python(code, PYTHONHASHSEED="2", RAYON_NUM_THREADS="1")
    assert one.stdout == two.stdout != ""


def test_learned_words() -> None:
    words = learn_words(TEXTS, most=3, least_count=1)
    assert words.vocabulary[0] == "the"
    assert words.vocabulary[1:] == (",", "als")  # of equally many the first in the order of code points
    assert learn_words(TEXTS, most=50) == Words(("the",))
    assert learn_words(["! ! a a"]) == Words(("!", "a"))
    with pytest.raises(InputError, match="no word that occurs 2 times: .*; text without spaces is read by characters"):
        learn_words(["好吃，喜欢，", "难看，"])  # marks alone
    assert learn_words(["A a B"], least_count=1, lower=False) == Words(("A", "B", "a"), lower=False)


@pytest.mark.parametrize(
    ("learn", "message"),
    [
        (lambda: learn_words(["a b c"]), "no word that occurs 2 times"),
        (lambda: learn_words([]), "no word"),
        (lambda: learn_words(["a"], 0), "most is 0, expected at least 1"),
        (lambda: learn_characters([""]), "no character"),
        (lambda: learn_subwords(["a"], 255), "size is 255, expected at least 256"),
        (lambda: learn_words(["a a", "a\udc80"]), "half a surrogate pair at character 1"),
        (lambda: learn_characters(["a\udc80"]), "half a surrogate pair at character 1"),
        (lambda: learn_subwords(["a\udc80"], 256), "half a surrogate pair at character 1"),
    ],
)
def test_nothing_to_learn(learn: Callable[[], Text], message: str) -> None:
    with pytest.raises(InputError, match=message):
        learn()


def test_what_cannot_be_encoded_or_decoded() -> None:
    with pytest.raises(InputError, match="text is a bytes, expected a str"):
        encode(Words(("a",)), b"a")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="half a surrogate pair"):
        encode(learn_subwords(["a"], 256), "\ud800")
    with pytest.raises(InputError, match="id 3 is not in the vocabulary, expected 0 to 2"):
        decode(Characters(("a", "b")), [1, 3])
    with pytest.raises(InputError, match="words cannot be turned back"):
        decode(Words(("a",)), [1])  # type: ignore[arg-type]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=re.escape(installed.command("text"))):
        learn_subwords(TEXTS)
    assert encode(Words(("a",)), "a").tolist() == [1]


def test_vocabulary_files(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary"
    path.write_text("the\r\ncat\n", newline="")
    assert read_vocabulary(path, "words", lower=False) == Words(("the", "cat"), lower=False)
    path.write_text("a\n\u2028\n ", encoding="utf-8")
    assert read_vocabulary(path, "characters") == Characters(("a", "\u2028", " "))
    learned = learn_subwords(TEXTS, 280)
    merges = [merge.split(" ") for merge in learned.merges]
    model = {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(learned.vocabulary)}, "merges": merges}
    path.write_text(json.dumps({"pre_tokenizer": {"type": "ByteLevel"}, "model": model}))
    assert read_vocabulary(path, "subwords") == learned
    path.write_text(json.dumps({"pre_tokenizer": {"type": "ByteLevel"}, "model": model | {"merges": learned.merges}}))
    assert read_vocabulary(path, "subwords") == learned


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"a\n\xff\n", "words", r"not UTF-8 text \(byte 2\)"),
        (b"", "words", "expected different words, one a line"),
        (b"a\na\n", "words", "different"),
        (b"ab\n", "characters", "single characters"),
        (b"the\ncat\n", "subwords", "expected a tokenizer.json with byte-level BPE"),
        (b"[]", "subwords", "TypeError"),
        (b"[" * 100_000, "subwords", "expected a tokenizer.json"),
        (b'{"model": {"type": "WordPiece"}, "pre_tokenizer": null}', "subwords", "holds WordPiece after null"),
        (b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}, "pre_tokenizer": ["ByteLevel"]}', "subwords",
         "two pieces"),
        (("w\n" * 9000).encode(), "words", "expected different words"),
    ],
)  # fmt: skip
def test_a_vocabulary_that_is_none(tmp_path: Path, data: bytes, kind: str, message: str) -> None:
    path = tmp_path / "vocabulary"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_vocabulary(path, kind)
    assert len(str(caught.value)) < 500
    assert "is no vocabulary" in str(caught.value)


def test_no_vocabulary_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no vocabulary file"):
        read_vocabulary(tmp_path / "none", "words")
