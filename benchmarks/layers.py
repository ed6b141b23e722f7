"""The same network, data and training with another layer in the place of the GRU: torch.nn.GRU, and torch.nn.LSTM of
as many parameters; torch.nn.GRU also through packed sequences, where lengths differ. Whole processes are timed, one
after the other in turn: reading the data, training, testing.

    python benchmarks/layers.py [--record benchmarks/results/layers.json] [--only "BBC topics"]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grus
from grus.files import write_whole

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))

LAYERS = ("grus", "torch.nn.GRU", "torch.nn.GRU, packed", "torch.nn.LSTM")
NO_LENGTHS = ("Shakespeare, 200 steps",)  # nothing to pack
Outcome = dict[str, Any]  # score, weights


def peer(layer: str) -> Any:
    from grus.torch.network import peers

    builders = (None, peers.torch_gru, peers.torch_gru_packed, peers.lstm_of_equal_parameters)
    return dict(zip(LAYERS, builders, strict=True))[layer]


def classified(examples: Any, settings: Any, test: Any, truth: list[str], layer: str) -> Outcome:
    from results import percent

    from grus.tasks.classify.fit import fit_networks

    trained = fit_networks(examples, settings, recurrent=peer(layer), progress=False)
    guesses = [trained.task.classes[int(p[-1].argmax())] for p in trained.predict_proba(test)]
    return {"score": percent(guesses, truth), "weights": count(trained.networks)}


def count(networks: Any) -> int:
    return sum(weight.numel() for network in networks for weight in network.parameters())


def japanese_vowels(layer: str, seed: int) -> Outcome:
    from datasets import japanese_vowels as data

    from grus.tasks.classify import Settings, Trainer
    from grus.tasks.classify.examples import as_examples

    train, labels, test, truth = data()
    return classified(as_examples(train, labels), Settings(trainer=Trainer(seed=seed)), test, truth, layer)


def bbc(layer: str, seed: int) -> Outcome:
    from bbc import classifier
    from datasets import bbc as data
    from datasets import split

    from grus.tasks.classify.examples import as_examples

    texts, labels = data()
    rows, held = split(texts, labels, seed=seed)
    train, train_labels, test, truth = ([part[i] for i in at] for at in (rows, held) for part in (texts, labels))
    return classified(as_examples(train, train_labels), classifier(seed).settings, test, truth, layer)


def imdb(layer: str, seed: int) -> Outcome:
    from datasets import imdb as data
    from imdb import classifier

    from grus.tasks.classify.examples import as_examples

    texts, labels, test, truth = data()
    settings = classifier(members=1, epochs=1, seed=seed).settings
    return classified(as_examples(texts[::5], labels[::5]), settings, test[::5], truth[::5], layer)


def shakespeare(layer: str, seed: int) -> Outcome:
    from datasets import shakespeare as data
    from shakespeare import language_model

    from grus.tasks.language.corpus import as_text, split
    from grus.tasks.language.fit import bits_per_character, fit_network

    settings = replace(language_model(steps=200, seed=seed).settings, validation=0.0)
    text = as_text(data())
    trained = fit_network(text, settings, recurrent=peer(layer), progress=False)
    bits = bits_per_character(trained.networks[0], trained.task, split(text, settings).test[:50_000])
    return {"score": bits, "weights": count(trained.networks)}


# name: what is trained, its measure, and how many runs with other seeds
CASES: dict[str, tuple[Callable[[str, int], Outcome], str, int]] = {
    "JapaneseVowels": (japanese_vowels, "accuracy, %", 3),
    "BBC topics": (bbc, "accuracy, %", 1),
    "Shakespeare, 200 steps": (shakespeare, "bits a character", 1),
    "IMDb, a fifth, one epoch": (imdb, "accuracy, %", 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", type=Path, help="where to keep the results, as JSON")
    parser.add_argument("--only", choices=CASES, help="one of them")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "LAYER", "SEED"), help="one run, in this process")
    options = parser.parse_args()
    if options.one:
        case, layer, seed = options.one
        print(json.dumps(CASES[case][0](layer, int(seed))))
        return
    rows: list[dict[str, Any]] = []
    for case in [options.only] if options.only else CASES:
        rows += compare(case)
        if options.record is not None:  # after each: what was measured stays, whatever follows
            record = {
                "command": "python benchmarks/layers.py",
                "date": dt.date.today().isoformat(),
                "machine": platform.processor() or platform.machine(),
                "threads": grus.get_num_threads(),
                "rows": rows,
            }
            write_whole(options.record, (json.dumps(record, indent=1) + "\n").encode())


def compare(case: str) -> list[dict[str, Any]]:
    """A row for each layer: the mean score, the median seconds of a whole process."""
    _, measure, seeds = CASES[case]
    layers = [layer for layer in LAYERS if case not in NO_LENGTHS or "packed" not in layer]
    found: dict[str, list[tuple[Outcome, float]]] = {layer: [] for layer in layers}
    for seed in range(seeds):
        for layer in layers:
            begin = time.perf_counter()
            command = [sys.executable, __file__, "--one", case, layer, str(seed)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
            found[layer].append((json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - begin))
            outcome, seconds = found[layer][-1]
            print(f"{case}, seed {seed}, {layer}: {outcome['score']:.3f} {measure}, {seconds:.1f} s", flush=True)
    medians = {layer: statistics.median(seconds for _, seconds in runs) for layer, runs in found.items()}
    return [
        {
            "data": case,
            "layer": layer,
            "measure": measure,
            "score": statistics.mean(outcome["score"] for outcome, _ in runs),
            "scores": [outcome["score"] for outcome, _ in runs],
            "weights": runs[0][0]["weights"],
            "seconds": medians[layer],
            "ratio": medians[layer] / medians["grus"],
        }
        for layer, runs in found.items()
    ]


if __name__ == "__main__":
    main()
