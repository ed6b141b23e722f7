"""Who speaks: nine speakers from two Japanese vowels, 12 cepstral coefficients a frame, 270 utterances to train on.

The settings are the defaults of Classifier. Other poolings were tried on this test set too, and lie within a point.

    python examples/japanese_vowels.py [--seeds 5] [--record benchmarks/results/japanese_vowels.json]
"""

from __future__ import annotations

from datasets import JAPANESE_VOWELS, japanese_vowels
from results import LSTM, average, finish, guesses_of_lstm, options, percent, row, timed

from grus.tasks.baselines import minirocket, nearest_neighbour
from grus.tasks.classify import Classifier, Settings, Trainer
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.prepare import encode_inputs, make_task

LEAST = 97.5  # percent, the mean of the runs, or the run ends with status 1


def main() -> None:
    given = options(__doc__.split("\n")[0], "japanese_vowels", seeds=5)
    train, labels, test, truth = japanese_vowels()
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(given.seeds):
        classifier = Classifier(trainer=Trainer(seed=seed))
        if "gru" in given.only:
            model, seconds = timed(classifier.fit, train, labels)
            guesses, more = timed(model.predict, test)
            found.setdefault("GRU", []).append((percent(guesses, truth), seconds + more))
            model.save(given.output / "japanese_vowels.safetensors")
        if "lstm" in given.only:
            guesses, seconds = timed(guesses_of_lstm, classifier, train, labels, test)
            found.setdefault(LSTM, []).append((percent(guesses, truth), seconds))
        print(f"seed {seed}:", ", ".join(f"{name} {runs[-1][0]:.2f} %" for name, runs in found.items()), flush=True)
    rows = [average(name, runs) for name, runs in found.items()]
    if "baselines" in given.only:
        task = make_task(as_examples(train, labels), Settings())
        train, test = (encode_inputs(as_examples(part), task) for part in (train, test))  # standardised, as ours are
        rockets = [timed(minirocket, train, labels, test, seed=seed) for seed in range(given.seeds)]
        rows.append(average("MiniROCKET (aeon)", [(percent(guesses, truth), seconds) for guesses, seconds in rockets]))
        guesses, seconds = timed(nearest_neighbour, train, labels, test)
        rows.append(row("1 nearest neighbour, dynamic time warping (aeon)", percent(guesses, truth), seconds))
    data = f"JapaneseVowels: {len(train)} utterances to train on, {len(test)} to test on; {JAPANESE_VOWELS[0].credit}"
    finish(given, "japanese_vowels", "accuracy, %", data, rows)
    accuracy = next((r["score"] for r in rows if r["model"] == "GRU"), None)
    if accuracy is not None and not accuracy >= LEAST:
        raise SystemExit(f"error: {accuracy:.2f} % are right, expected at least {LEAST} %")


if __name__ == "__main__":
    main()
