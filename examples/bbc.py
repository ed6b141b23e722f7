"""Topics of news: 2,225 articles of the BBC in five classes, five splits into 80 % to train on and 20 % to test on.

Copies of an article are kept on one side of a split. The first split was looked at while the defaults were chosen.

    python examples/bbc.py [--seeds 5] [--record benchmarks/results/bbc.json]
"""

from __future__ import annotations

from datasets import BBC, bbc, split
from results import LSTM, average, finish, guesses_of_lstm, options, percent, timed

from grus.tasks.baselines import tfidf_logistic
from grus.tasks.classify import Architecture, Classifier, Optimiser, Trainer

LEAST = 96.0  # percent, or the run ends with status 1


def classifier(seed: int = 0) -> Classifier:
    return Classifier(
        longest=300,
        architecture=Architecture(hidden_size=64, embedding_size=128, pooling="max"),
        optimiser=Optimiser(learning_rate=4e-3, batch_size=32),
        trainer=Trainer(epochs=12, validation=0.1, dropout=0.3, word_dropout=0.3, seed=seed),
    )


def main() -> None:
    given = options(__doc__.split("\n")[0], "bbc", seeds=5)
    texts, labels = bbc()
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(given.seeds):
        rows, held = split(texts, labels, seed=seed)
        train, train_labels, test, truth = ([part[i] for i in at] for at in (rows, held) for part in (texts, labels))
        if "gru" in given.only:
            model, seconds = timed(classifier(seed).fit, train, train_labels, progress=not given.quiet)
            guesses, more = timed(model.predict, test)
            found.setdefault("GRU", []).append((percent(guesses, truth), seconds + more))
            model.save(given.output / "bbc.safetensors")
        if "lstm" in given.only:
            guesses, seconds = timed(guesses_of_lstm, classifier(seed), train, train_labels, test)
            found.setdefault(LSTM, []).append((percent(guesses, truth), seconds))
        if "baselines" in given.only:
            guesses, seconds = timed(tfidf_logistic, train, train_labels, test)
            found.setdefault("TF-IDF of words and pairs, logistic regression", []).append(
                (percent(guesses, truth), seconds)
            )
        print(f"split {seed}:", ", ".join(f"{name} {runs[-1][0]:.2f} %" for name, runs in found.items()), flush=True)
    rows = [average(name, runs) for name, runs in found.items()]
    finish(given, "bbc", "accuracy, %", f"BBC topics: 1,781 articles to train on, 444 to test on; {BBC.credit}", rows)
    accuracy = next((r["score"] for r in rows if r["model"] == "GRU"), None)
    if accuracy is not None and not accuracy >= LEAST:
        raise SystemExit(f"error: {accuracy:.2f} % of the articles are right, expected at least {LEAST} %")


if __name__ == "__main__":
    main()
