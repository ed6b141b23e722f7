"""What everyone may ask of a block or a precision; what a backend makes of it is the backend's own matter.

No field has a default: whoever adds a block says them all, and mypy names those that are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

__all__ = ["PRECISIONS", "Facts", "Format", "Precision", "Shape", "format_of", "holding", "stepwise"]

Shape: TypeAlias = tuple[int, ...]
Precision: TypeAlias = Literal["float32", "w8a16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of one block, the blocks inside it left out.

    words: what it is, in a line for people. products: of weights and features, added up in a step.
    count, arrays: how many arrays it has, and name and shape of each in order, made when they are asked for.
    states: how many numbers a stream has in each array of its state; a block with a state looks back.
    accumulates: its states are sums over the steps, in which errors add up.
    streams: it can go step by step. ids: how many ids its input may be, 0 where that is a number.
    sums: it gives sums of no known bound, so that w8a16 keeps the exponent of what it gives ("….exponent").
    chains: the blocks inside it, by what their names begin with below its own.
    """

    words: str
    products: int
    count: int
    arrays: Iterable[tuple[str, Shape]]
    states: tuple[int, ...]
    accumulates: bool
    streams: bool
    ids: int
    sums: bool
    chains: Mapping[str, tuple[Any, ...]]


def stepwise(words: str, arrays: Mapping[str, Shape], *, products: int, ids: int, sums: bool) -> Facts:
    """The facts of a block that has neither a state nor blocks inside it."""
    return Facts(
        words=words,
        products=products,
        count=len(arrays),
        arrays=arrays.items(),
        states=(),
        accumulates=False,
        streams=True,
        ids=ids,
        sums=sums,
        chains={},
    )


def holding(words: str, chains: Mapping[str, tuple[Any, ...]], *, sums: bool) -> Facts:
    """The facts of a block that holds others and has nothing of its own."""
    return replace(stepwise(words, {}, products=0, ids=0, sums=sums), chains=chains)


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a precision means. integers: the network computes in integers alone. state_bytes: of a number it keeps."""

    integers: bool
    state_bytes: int


def format_of(precision: Precision) -> Format:
    match precision:
        case "float32":
            return Format(integers=False, state_bytes=4)
        case "w8a16":
            return Format(integers=True, state_bytes=2)
