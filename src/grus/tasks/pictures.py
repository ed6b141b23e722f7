"""Pictures: how a training went, and which classes are taken for which. They need matplotlib, and open no window."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from grus import installed
from grus.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_confusion", "confusion", "new_figure", "png", "training"]

MOST = 60  # classes in one picture
WRITTEN = 25  # classes up to which each cell has its number


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches. Raises InputError when matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # no pyplot: nothing global changes, and no window is opened
    except ImportError:
        raise InputError(f"a picture needs matplotlib: {installed.command('plot')}") from None
    return Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    with warnings.catch_warnings():  # a character that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def training(history: Sequence[Mapping[str, Any]], title: str | None = None) -> bytes:
    """A PNG of the loss by step and, below, of what was measured on the data held back.

    history: rows of training (its name), step, loss and, where it was measured, validation, as every ``fit`` gives it.
    Raises InputError when matplotlib is not installed.
    """
    measured = any(row.get("validation") is not None for row in history)
    figure = new_figure(7.2, 5.4 if measured else 3.2)
    axes = figure.subplots(1 + measured, 1, sharex=True, squeeze=False).ravel()
    for index, name in enumerate(dict.fromkeys(row["training"] for row in history)):
        rows = [row for row in history if row["training"] == name]
        color = f"C{index % 10}"
        axes[0].plot(
            [row["step"] for row in rows],
            [row["loss"] for row in rows],
            color=color,
            lw=1.6,
            marker="o",
            ms=3,
            label=_plain(name),
        )
        checked = [(row["step"], row["validation"]) for row in rows if row.get("validation") is not None]
        if checked:
            axes[1].plot(*zip(*checked, strict=True), color=color, lw=1.6, marker="o", ms=3)
            best = min(checked, key=lambda at: at[1])
            axes[1].plot(*best, color=color, marker="o", ms=7, mfc="none")
    axes[0].set_ylabel("loss")
    axes[0].legend(frameon=False, fontsize=8)
    if measured:
        axes[1].set_ylabel("validation (ring: best)")
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    for axis in axes:
        axis.grid(alpha=0.25)
    if title:
        figure.suptitle(_plain(title))
    return png(figure)


def _plain(text: str) -> str:
    """``text`` so that matplotlib draws it as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def check_confusion(classes: int) -> None:
    """Raise InputError for more classes than a picture has room for, and when matplotlib is not installed."""
    if classes > MOST:
        raise InputError(f"a picture of {classes} classes, expected {MOST} at most")
    new_figure(1, 1)


def confusion(classes: Sequence[object], counts: Sequence[Sequence[int]], title: str | None = None) -> bytes:
    """A PNG of counts [true][predicted], each cell as dark as its share of its row; the diagonal is what is right.

    Raises InputError for more than 60 classes, and when matplotlib is not installed.
    """
    number = len(classes)
    check_confusion(number)
    table = np.array(counts)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    short = [_plain(name if len(name) <= 20 else f"{name[:9]}…{name[-10:]}") for name in map(str, classes)]
    labels = 0.08 * max(map(len, short))  # inches
    figure = new_figure(max(2.4 + labels + 0.42 * number, 4.5), max(1.6 + labels + 0.42 * number, 3.0))
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(number), short, rotation=90 if max(map(len, short)) > 2 else 0)
    axis.set_yticks(range(number), short)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    if number <= WRITTEN:
        for (i, j), count in np.ndenumerate(table):
            if count:
                dark = shares[i, j] > 0.5
                axis.text(j, i, f"{count:,}", ha="center", va="center", color="w" if dark else "k", fontsize=8)
    figure.colorbar(image, ax=axis, label="share of the class", shrink=0.8)
    if title:
        figure.suptitle(_plain(title))
    return png(figure)
