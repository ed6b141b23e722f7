"""grus info: what it says of models that read text and series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_session import model_of

from grus import Model, Spec
from grus.cli import main
from grus.spec import GRU, Block, Classify, Embedding, Language, Linear, Mean, Numeric, Pool, Series, Words
from grus.spec.task import Characters

CLASSES = tuple(f"c{i}" for i in range(12))
TEXT = (Embedding(3, 4), GRU(4, 5, bidirectional=True), Pool(10, "attention", 6), Linear(10, 2))


@pytest.mark.parametrize(
    ("task", "blocks", "words"),
    [
        (
            Classify(Words(("a", "b")), ("no", "y\nes"), longest=400),
            TEXT,
            [
                "Classify, Words of 3 ids, 2 classes (no, 'y\\nes'), labels 'sequence', longest 400, temperature 1.0",
                "takes an id from 0 to 2, gives 2",
                "Embedding, 3 ids -> 4",
                "attention with 6 units over the steps so far, 10 -> 10",
                "none: a bidirectional GRU",
                f"operations    {2 * (2 * 3 * 5 * 9 + 6 * 11 + 20)} floating",
            ],
        ),
        (
            Classify(Series((Numeric("x", 0.0, 1.0),)), CLASSES),
            (GRU(1, 4), Pool(4, "max"), Mean(((Linear(4, 12),), (Linear(4, 12),)))),
            [
                "Series of 1 channels, 12 classes (c0, c1, c2, c3, c4, c5, c6, c7, …)",
                "1 number,",
                "max over",
                "9 numbers",
            ],
        ),
        (Language(Characters(("a",))), (Embedding(2, 4), Linear(4, 2)), ["Language, Characters of 2 ids", "0 numbers"]),
    ],
)
def test_info(
    task: Classify | Language,
    blocks: tuple[Block, ...],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "m.safetensors"
    Model(Spec(blocks, task), {n: np.asarray(a) for n, a in model_of(*blocks).arrays.items()}).save(path)
    assert main(["info", str(path)]) == 0
    said = capsys.readouterr().out
    for each in words:
        assert each in said
