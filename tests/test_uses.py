"""The examples of the other uses and what make accuracy writes, with small made-up data in place of what is fetched."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmarks import uses

import grus

ROOT = Path(__file__).parent.parent
LABELS = ["good", "bad"] * 20
TEXTS = [f"a {label} film number {i}" for i, label in enumerate(LABELS)]


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield
    for name in ("imdb", "bbc", "japanese_vowels", "sequential_mnist", "shakespeare", "layers"):
        sys.modules.pop(name, None)


def series(count: int, channels: int) -> tuple[list[Any], list[str]]:
    """Two classes, told apart by the sign of every value."""
    rng = np.random.default_rng(0)
    signs = [1 if label == "good" else -1 for label in LABELS[:count]]
    return [(s + 0.1 * rng.normal(size=(9, channels))).astype(np.float32) for s in signs], LABELS[:count]


def digits(count: int) -> tuple[Any, Any]:
    labels = np.arange(count) % 2
    return np.repeat(labels.astype(np.uint8) * 200, 784).reshape(count, 28, 28), labels.astype(np.uint8)


def small(classifier: Callable[..., Any]) -> Callable[..., Any]:
    """The example's classifier with little to learn and few steps to do it in."""

    def make(*given: Any, **named: Any) -> Any:
        model = classifier(*given, **named)
        model.architecture = dataclasses.replace(model.architecture, hidden_size=8, members=1)
        model.trainer = dataclasses.replace(model.trainer, epochs=1)
        return model

    return make


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run an example with its data replaced; gives the record it keeps."""

    def call(name: str, *arguments: str, **replaced: Any) -> dict[str, Any]:
        example = importlib.import_module(name)
        for key, value in replaced.items():
            monkeypatch.setattr(example, key, value)
        record = tmp_path / "record.json"
        options = ["--output", str(tmp_path), "--record", str(record), "--quiet", *arguments]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        example.main()
        assert grus.load(tmp_path / f"{name}.safetensors").num_parameters
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        assert found["command"] == f"python examples/{name}.py" and found["data"]
        assert all(row["threads"] and row["date"] for row in found["rows"])
        return found

    return call


def test_imdb(run: Callable[..., dict[str, Any]]) -> None:
    example = importlib.import_module("imdb")
    data = (TEXTS, LABELS, TEXTS[:6], LABELS[:6])
    found = run("imdb", imdb=lambda: data, classifier=small(example.classifier), LEAST=0.0)
    assert {row["model"].partition(",")[0] for row in found["rows"]} == {
        "GRU",
        "LSTM of equal parameters",
        "TF-IDF of words and pairs",
        "NB-SVM",
    }
    assert found["rows"] == sorted(found["rows"], key=lambda row: -row["score"])


def test_bbc(run: Callable[..., dict[str, Any]]) -> None:
    example = importlib.import_module("bbc")
    replaced = {"bbc": lambda: (TEXTS, LABELS), "classifier": small(example.classifier), "LEAST": 0.0}
    found = run("bbc", "--seeds", "2", **replaced)
    assert len(found["rows"]) == 3 and all(len(row["scores"]) == 2 for row in found["rows"])
    assert found["rows"][0]["deviation"] >= 0


def test_some_rows_anew(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    example = importlib.import_module("imdb")
    replaced = {"imdb": lambda: (TEXTS, LABELS, TEXTS[:6], LABELS[:6]), "classifier": small(example.classifier)}
    found = run("imdb", LEAST=0.0, **replaced)
    (tmp_path / "record.json").write_text(json.dumps(found).replace("400 words", "300 words"))
    anew = run("imdb", "--only", "gru", LEAST=0.0, **replaced)
    names = {row["model"] for row in anew["rows"]}
    assert {"GRU, 3 networks, 400 words", "LSTM of equal parameters, 3 networks, 300 words"} < names
    assert "GRU, 3 networks, 300 words" not in names and len(anew["rows"]) == len(found["rows"])


def test_japanese_vowels(run: Callable[..., dict[str, Any]]) -> None:
    train, labels = series(30, 12)
    replaced = {"japanese_vowels": lambda: (train, labels, *series(10, 12)), "LEAST": 90.0}
    found = run("japanese_vowels", "--seeds", "1", "--only", "gru", **replaced)
    assert found["rows"][0]["score"] >= 90 and found["measure"] == "accuracy, %"


def test_sequential_mnist_falls_short(run: Callable[..., dict[str, Any]]) -> None:
    example = importlib.import_module("sequential_mnist")
    replaced = {"mnist": lambda: (*digits(40), *digits(4)), "classifier": small(example.classifier), "LEAST": 101.0}
    with pytest.raises(SystemExit, match=r"error: \d+\.\d\d % of the digits are right, expected at least 101.0 %"):
        run("sequential_mnist", "--only", "gru", **replaced)


def test_shakespeare(run: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    given = importlib.import_module("shakespeare").language_model

    def language_model() -> Any:
        model = given(steps=3)
        model.architecture = dataclasses.replace(model.architecture, hidden_size=8)
        model.trainer = dataclasses.replace(model.trainer, window=10)
        model.optimiser = dataclasses.replace(model.optimiser, batch_size=4)
        return model

    text = "ROMEO.\nTo be, or not to be.\n" * 60
    found = run("shakespeare", shakespeare=lambda: text, language_model=language_model, MOST=99.0)
    assert [row["score"] for row in found["rows"]] == sorted(row["score"] for row in found["rows"])
    sample = next(row["sample"] for row in found["rows"] if row["model"].startswith("GRU"))
    assert sample.startswith("ROMEO.") and len(sample) == 506 and sample in capsys.readouterr().out


def test_other_layers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    layers: ModuleType = importlib.import_module("layers")
    example = importlib.import_module("datasets")
    train, labels = series(30, 12)
    monkeypatch.setattr(example, "japanese_vowels", lambda: (train, labels, *series(10, 12)))
    weights = {}
    for layer in layers.LAYERS:
        monkeypatch.setattr(sys, "argv", ["layers.py", "--one", "JapaneseVowels", layer, "0"])
        layers.main()
        found = json.loads(capsys.readouterr().out)
        assert found["score"] >= 90
        weights[layer] = found["weights"]
    assert weights["grus"] == weights["torch.nn.GRU"] != weights["torch.nn.LSTM"]
    assert weights["torch.nn.LSTM"] == pytest.approx(weights["grus"], rel=0.05)


def test_the_page_shows_the_results_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "accuracy.md"
    copy.write_bytes(uses.DOCUMENT.read_bytes())
    monkeypatch.setattr(uses, "DOCUMENT", copy)
    uses.put_in_docs("uses", uses.uses())
    uses.put_in_docs("layers", uses.layers())
    assert copy.read_bytes() == (ROOT / "docs" / "accuracy.md").read_bytes()
    assert "Not run yet" not in copy.read_text(encoding="utf-8")
