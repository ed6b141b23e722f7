"""Sentiment of film reviews: IMDb's 25,000 training reviews, and 24,877 of the official test half.

Three networks, whose mean output is the answer: words, an embedding, a GRU in both directions, the maximum over time.
They learn from the first 400 words of a review; then they read all of it. While training, whole words and features are
dropped; everything was chosen on parts of the training reviews.

    python examples/imdb.py [--output demo] [--record benchmarks/results/imdb.json]
"""

from __future__ import annotations

from datasets import IMDB, imdb
from results import LSTM, finish, guesses_of_lstm, options, percent, published, row, timed

from grus.tasks.baselines import tfidf_logistic
from grus.tasks.classify import Architecture, Classifier, Optimiser, Trainer, reading
from grus.tasks.classify.predict import predict

MEMBERS, EPOCHS, FIRST = 3, 4, 400
LEAST = 89.0  # percent, or the run ends with status 1


def classifier(members: int = MEMBERS, epochs: int = EPOCHS, seed: int = 0) -> Classifier:
    return Classifier(
        vocabulary_size=20_000,
        longest=FIRST,
        architecture=Architecture(hidden_size=128, embedding_size=128, pooling="max", members=members),
        optimiser=Optimiser(learning_rate=2e-3, weight_decay=0.0, batch_size=64),
        trainer=Trainer(epochs=epochs, validation=0.05, dropout=0.3, word_dropout=0.3, input_dropout=0.0, seed=seed),
    )


def main() -> None:
    given = options(__doc__.split("\n")[0], "imdb")
    texts, labels, test, truth = imdb()
    rows, accuracy = [], None
    if "gru" in given.only:
        fitted, seconds = timed(classifier().fit, texts, labels, progress=not given.quiet)
        whole = reading(fitted.model_, 0)
        whole.save(given.output / "imdb.safetensors")
        for model, words in ((fitted.model_, f"{FIRST} words"), (whole, "whole reviews")):
            accuracy, more = timed(lambda model=model: percent(predict(model, test), truth))
            rows.append(row(f"GRU, {MEMBERS} networks, {words}", accuracy, seconds + more, seeds=[0]))
    if "lstm" in given.only:
        guesses, seconds = timed(guesses_of_lstm, classifier(), texts, labels, test, progress=not given.quiet)
        rows.append(row(f"{LSTM}, {MEMBERS} networks, {FIRST} words", percent(guesses, truth), seconds, seeds=[0]))
    if "baselines" in given.only:
        guesses, seconds = timed(tfidf_logistic, texts, labels, test)
        rows.append(row("TF-IDF of words and pairs, logistic regression", percent(guesses, truth), seconds))
        rows.append(published("NB-SVM, words and pairs", 91.22, "Wang & Manning 2012, ACL, on all 25,000 test reviews"))
    finish(
        given,
        "imdb",
        "accuracy, %",
        f"IMDb: {len(texts):,} reviews to train on, {len(test):,} to test on; {IMDB[1].credit}",
        rows,
    )
    if accuracy is not None and not accuracy >= LEAST:
        raise SystemExit(f"error: {accuracy:.2f} % of the reviews are right, expected at least {LEAST} %")


if __name__ == "__main__":
    main()
