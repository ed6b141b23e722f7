"""The example that reads words with the GRUs of g2p-en: real weights, beside the package's own code."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from grus import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def g2p() -> Iterator[ModuleType]:
    """The example, with its files at hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        module = importlib.import_module("g2p")
        try:
            for source in (module.CHECKPOINT, module.CODE, module.WORDS):
                module.fetch(source)
        except InputError as error:
            pytest.skip(f"the package index cannot be reached: {error}")
        yield module


def test_the_same_phonemes(
    g2p: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["g2p.py", "--words", "100"])
    g2p.main()
    printed = capsys.readouterr().out
    times = {
        name: float(s)
        for name, s in re.findall(r"^(\S.*?) +([\d.]+) s   100 of 100 words with the same", printed, re.M)
    }
    assert list(times) == ["g2p-en, its own code", "Grus, a word at a time", "Grus, all words at once"]
    assert times["Grus, all words at once"] < times["g2p-en, its own code"]


def test_another_answer_is_an_error(g2p: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["g2p.py", "--words", "5"])
    right, arrays = g2p.package, g2p.checkpoint()
    wrong = arrays | {"dec_b_hh": arrays["dec_b_hh"] + np.float32(0.5)}
    monkeypatch.setattr(g2p, "package", lambda _: right(wrong))
    with pytest.raises(SystemExit, match="error: the phonemes differ"):
        g2p.main()


def test_a_word_does_not_depend_on_its_company(g2p: ModuleType) -> None:
    words = g2p.sample(40)
    phonemes = g2p.Phonemes(g2p.checkpoint())
    assert phonemes.predict(words) == [phonemes.predict([word])[0] for word in words]
    assert phonemes.predict([]) == []
    with pytest.raises(InputError, match="--words is 0, expected 1 to"):
        g2p.sample(0)
