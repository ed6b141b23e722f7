"""Files without a header: sentences in the manner of CoNLL, and the UCR archive's tables of a series a row."""

from __future__ import annotations

import re

import numpy as np

from grus.errors import InputError
from grus.tasks.classify.objects import IGNORED, LARGEST, Examples, channel_names

__all__ = ["CONLL", "parse_conll", "parse_ucr"]

CONLL = (".conll", ".conllu", ".iob", ".bio")  # always so; other text files where they look like it
COMMENT = re.compile(r"#\s*[\w.:-]+\s*=")
MISSING = ("", "nan", "?", "na")


def parse_conll(text: str, name: str, *, sure: bool) -> Examples | None:
    """A word a line, its columns between tabs or spaces, a blank line behind a sentence: the first column is the word
    and the last one its label; of CoNLL-U (.conllu) FORM and UPOS. "_" or an empty cell: no label.

    Comments and -DOCSTART- are passed over. None where it does not look so, unless ``sure``: then InputError.
    """
    universal = name.lower().endswith(".conllu")
    tabs = any("\t" in line for line in text.split("\n"))
    lines = [(n, line.rstrip("\r").split("\t" if tabs else None)) for n, line in enumerate(text.split("\n"), 1)]
    kept: list[tuple[int, list[str]]] = []
    for number, cells in lines:
        line = " ".join(cells)
        if cells and cells[0].startswith("-DOCSTART-"):
            continue
        if line.startswith("#") and (universal or len(cells) == 1 or COMMENT.match(line)):
            continue
        if universal and re.match(r"\d+[-.]\d+$", cells[0] if cells else ""):
            continue  # a word that stands in its parts, or one left out of the text
        kept.append((number, cells if line.strip() else []))
    filled = [cells for _, cells in kept if cells]
    width = len(filled[0]) if filled else 0
    if not sure and (width < 2 or any(len(cells) != width for cells in filled) or all(cells for _, cells in kept[:-1])):
        return None
    word, label = (1, 3) if universal else (0, width - 1)
    inputs: list[list[str]] = []
    labels: list[list[str | None]] = []
    where: list[str] = []
    begins = True
    for number, cells in kept:
        if not cells:
            begins = True
            continue
        if len(cells) != width or width <= max(word, label) or width < 2:
            what = f"{name}, line {number} has {len(cells)} columns"
            raise InputError(f"{what}, expected {max(width, 2)}: a word, and its label in the last one")
        if begins:
            inputs.append([])
            labels.append([])
            where.append(f"{name}, line {number}")
        begins = False
        inputs[-1].append(cells[word])
        labels[-1].append(None if cells[label] in ("", "_", str(IGNORED)) else cells[label])
    if not inputs:
        raise InputError(f"{name} has no words, expected a word and its label a line, a blank line between sentences")
    return Examples("tokens", inputs, labels, "step", where=where)


def parse_ucr(text: str, name: str) -> Examples | None:
    """A series a line, its label first, numbers between tabs, commas or spaces, NaN behind the end of a shorter one:
    the .tsv and .txt files of the UCR archive. None for what does not look so.
    """
    series, labels, where = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.strip("\r\n").split("\t" if "\t" in line else "," if "," in line else None)
        try:
            values = np.array([np.nan if cell.strip().lower() in MISSING else float(cell) for cell in cells])
        except ValueError:
            return None
        if len(values) < 3 or np.isnan(values[0]):
            return None
        if (np.abs(values) > LARGEST).any():
            raise InputError(f"{name}, line {number} has an infinite number")
        steps = np.flatnonzero(~np.isnan(values))[-1]
        series.append(values[1 : steps + 1, None])
        labels.append(str(int(values[0])) if values[0].is_integer() else cells[0].strip())
        where.append(f"{name}, line {number}")
    return Examples("series", series, labels, channels=channel_names(1), where=where) if series else None
