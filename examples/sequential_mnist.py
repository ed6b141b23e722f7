"""Sequential MNIST: a digit as 784 pixels, one a step; the class is read from the last step.

python examples/sequential_mnist.py [--output demo] [--record benchmarks/results/sequential_mnist.json]
"""

from __future__ import annotations

import numpy as np
from datasets import MNIST, mnist
from numpy.typing import NDArray
from results import LSTM, finish, guesses_of_lstm, options, percent, published, row, timed

from grus.tasks.baselines import nearest_neighbour
from grus.tasks.classify import Architecture, Classifier, Optimiser, Trainer

HIDDEN, EPOCHS = 128, 10
LEAST = 97.0  # percent, or the run ends with status 1


def classifier(epochs: int = EPOCHS, seed: int = 0) -> Classifier:
    return Classifier(
        architecture=Architecture(hidden_size=HIDDEN, bidirectional=False, pooling="last"),
        optimiser=Optimiser(learning_rate=3e-3, weight_decay=0.0, batch_size=100),
        trainer=Trainer(
            epochs=epochs, validation=0.05, dropout=0.0, input_dropout=0.0, initial="spread", patience=20, seed=seed
        ),
    )


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[N, 28, 28] as [N, 784, 1], from 0 to 1."""
    return (images.reshape(len(images), -1, 1) / 255).astype(np.float32)


def main() -> None:
    given = options(__doc__.split("\n")[0], "sequential_mnist")
    images, digits, images_to_test, digits_to_test = mnist()
    x, test = pixels(images), pixels(images_to_test)
    labels, truth = ([str(d) for d in part] for part in (digits, digits_to_test))
    rows, accuracy = [], None
    if "gru" in given.only:
        model, seconds = timed(lambda: classifier().fit(x, labels, progress=not given.quiet))
        model.save(given.output / "sequential_mnist.safetensors")
        accuracy, more = timed(lambda: percent(list(model.predict(test)), truth))
        rows.append(row(f"GRU, {HIDDEN} units", accuracy, seconds + more, seeds=[0]))
    if "lstm" in given.only:
        guesses, seconds = timed(guesses_of_lstm, classifier(), x, labels, test, progress=not given.quiet)
        rows.append(row(LSTM, percent(guesses, truth), seconds, seeds=[0]))
    if "baselines" in given.only:
        guesses, seconds = timed(lambda: nearest_neighbour(list(x), labels, list(test)))
        rows.append(row("1 nearest neighbour, Euclidean", percent(guesses, truth), seconds))
        bai = "Bai, Kolter & Koltun 2018, arXiv:1803.01271"
        rows += [published("GRU", 96.2, bai), published("temporal convolutional network", 99.0, bai)]
    data = f"sequential MNIST: {len(x):,} digits to train on, {len(test):,} to test on; {MNIST[0].credit}"
    finish(given, "sequential_mnist", "accuracy, %", data, rows)
    if accuracy is not None and not accuracy >= LEAST:
        raise SystemExit(f"error: {accuracy:.2f} % of the digits are right, expected at least {LEAST} %")


if __name__ == "__main__":
    main()
