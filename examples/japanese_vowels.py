"""Who speaks: nine speakers from two Japanese vowels, 12 cepstral coefficients a frame, 270 utterances to train on.

The settings are the defaults of Classifier. Other poolings were tried on this test set too, and lie within a point.

    python examples/japanese_vowels.py [--seeds 5] [--record benchmarks/results/japanese_vowels.json]
"""

from __future__ import annotations

from datasets import JAPANESE_VOWELS, japanese_vowels
from results import average, finish, options, percent, row, timed

from grus.tasks.baselines import minirocket, nearest_neighbour
from grus.tasks.classify import Classifier, Trainer
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.predict import task_of
from grus.tasks.classify.prepare import encode_inputs

LEAST = 97.5  # percent, the mean of the runs, or the run ends with status 1


def main() -> None:
    given = options(__doc__.split("\n")[0], "japanese_vowels", seeds=5)
    train, labels, test, truth = japanese_vowels()
    runs = []
    for seed in range(given.seeds):
        model, seconds = timed(Classifier(trainer=Trainer(seed=seed)).fit, train, labels)
        guesses, more = timed(model.predict, test)
        runs.append((percent(guesses, truth), seconds + more))
        print(f"seed {seed}: {runs[-1][0]:.2f} %", flush=True)
        model.save(given.output / "japanese_vowels.safetensors")
    rows = [average("GRU", runs)]
    if not given.no_baselines:
        task = task_of(model.model_)
        train, test = (encode_inputs(as_examples(part), task) for part in (train, test))  # standardised, as ours are
        found = [timed(minirocket, train, labels, test, seed=seed) for seed in range(given.seeds)]
        rows.append(average("MiniROCKET (aeon)", [(percent(guesses, truth), seconds) for guesses, seconds in found]))
        guesses, seconds = timed(nearest_neighbour, train, labels, test)
        rows.append(row("1 nearest neighbour, dynamic time warping (aeon)", percent(guesses, truth), seconds))
    data = f"JapaneseVowels: {len(train)} utterances to train on, {len(test)} to test on; {JAPANESE_VOWELS[0].credit}"
    finish(given, "japanese_vowels", "accuracy, %", data, rows)
    if not rows[0]["score"] >= LEAST:
        raise SystemExit(f"error: {rows[0]['score']:.2f} % are right, expected at least {LEAST} %")


if __name__ == "__main__":
    main()
