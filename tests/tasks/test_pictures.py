"""Pictures of a training and of a confusion matrix: what is drawn, and when there is none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from grus import installed
from grus.errors import InputError
from grus.tasks import pictures

HISTORY = [
    {"training": f"training {member}/2", "step": step, "loss": 1 / step, "validation": abs(step - 40) + member}
    for member in (1, 2)
    for step in (20, 40, 60)
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The figures that were made."""
    figures: list[Any] = []
    new = pictures.new_figure

    def keep(*size: float) -> Any:
        figures.append(new(*size))
        return figures[-1]

    monkeypatch.setattr(pictures, "new_figure", keep)
    return figures


def test_a_training(drawn: list[Any]) -> None:
    picture = pictures.training(HISTORY, "m")
    assert picture.startswith(b"\x89PNG")
    loss, validation = drawn[0].axes
    assert [line.get_label() for line in loss.lines] == ["training 1/2", "training 2/2"]
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), [[20, 1 / 20], [40, 1 / 40], [60, 1 / 60]])
    np.testing.assert_array_equal(validation.lines[2].get_xydata(), [[20, 22], [40, 2], [60, 22]])
    assert [line.get_xydata().tolist() for line in validation.lines[1::2]] == [[[40, 1]], [[40, 2]]]  # the best


def test_a_training_without_validation(drawn: list[Any]) -> None:
    rows = [
        {"training": "training", "step": 1, "loss": 2.0},
        {"training": "training", "step": 2, "loss": 1.0, "validation": None},
    ]
    pictures.training(rows)
    assert len(drawn[0].axes) == 1 and drawn[0].axes[0].get_xlabel() == "step"


def test_confusion(drawn: list[Any]) -> None:
    picture = pictures.confusion(["a", "b" * 30], [[8, 2], [0, 1000]], "accuracy 0.998")
    assert picture.startswith(b"\x89PNG")
    axis = drawn[-1].axes[0]
    np.testing.assert_array_equal(axis.images[0].get_array(), [[0.8, 0.2], [0, 1]])
    assert [text.get_text() for text in axis.texts] == ["8", "2", "1,000"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b" * 9 + "…" + "b" * 10]


def test_names_are_drawn_as_they_are(drawn: list[Any]) -> None:
    names = ["$10^$20", "晴れ", r"a\frac{"]
    assert pictures.confusion(names, np.eye(3, dtype=int).tolist(), "run$x_$.safetensors").startswith(b"\x89PNG")
    labels = [label.get_text() for label in drawn[-1].axes[0].get_yticklabels()]
    assert labels == [r"\$10^\$20", "晴れ", r"a\frac{"]
    rows = [{"training": "$x_$", "step": 1, "loss": 2.0}]
    assert pictures.training(rows, "run$x_$.safetensors").startswith(b"\x89PNG")


def test_a_class_without_examples(drawn: list[Any]) -> None:
    pictures.confusion(["a", "b"], [[3, 0], [0, 0]])
    np.testing.assert_array_equal(drawn[-1].axes[0].images[0].get_array(), [[1, 0], [0, 0]])


def test_too_many_classes() -> None:
    with pytest.raises(InputError, match="a picture of 61 classes, expected 60 at most"):
        pictures.confusion(list(map(str, range(61))), np.eye(61, dtype=int).tolist())
    names = list(map(str, range(60)))
    assert pictures.confusion(names, np.eye(60, dtype=int).tolist()).startswith(b"\x89PNG")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (lambda: pictures.training(HISTORY), lambda: pictures.check_confusion(2)):
        with pytest.raises(InputError, match=r"a picture needs matplotlib: " + re.escape(installed.command("plot"))):
            draw()
