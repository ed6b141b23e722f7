"""Bits a character by a general compressor that has read the training text before."""

from __future__ import annotations

import lzma

from grus.errors import InputError

__all__ = ["xz_bits"]


def xz_bits(train: str, test: str) -> float:
    """How many bits a character of ``test`` adds to the training text compressed by xz, at its highest setting.

    The texts are compressed as UTF-8, with a dictionary of 64 MiB. Raises InputError where ``test`` is empty.
    """
    if not test:
        raise InputError("test is empty, expected a text")
    before, both = (len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)) for text in (train, train + test))
    return 8 * (both - before) / len(test)
