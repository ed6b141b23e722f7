"""Chains of blocks: those that hold others, and what follows for a chain from its blocks' own facts.

A network is a chain. Each block maps a sequence [T, B, input_size] to [T, B, output_size], step by step, so that every
backend can run it whole or as a stream. :func:`parameters` names every array a chain needs and its shape; the same
names are the keys in a model file and in the state_dict of the PyTorch network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, get_args

from grus.errors import InputError
from grus.spec.blocks import GRU, Activation, Embedding, Linear, Pool
from grus.spec.facts import Facts, Shape, holding
from grus.spec.fields import check_sizes, shown

__all__ = [
    "BLOCKS",
    "Block",
    "Bypass",
    "Joined",
    "Mean",
    "Residual",
    "check_chain",
    "count_ids",
    "extent",
    "last_to_look_back",
    "leaves",
    "parameters",
    "products",
    "state_sizes",
    "streams",
    "walk",
]


class Joined:
    """What holds one chain takes what its first block takes, and gives what its last one gives."""

    blocks: tuple[Block, ...]

    @property
    def input_size(self) -> int:
        return self.blocks[0].input_size

    @property
    def output_size(self) -> int:
        return self.blocks[-1].output_size


@dataclass(frozen=True)
class Bypass:
    """The last ``size`` features go around ``blocks`` and are joined to the end of their output."""

    size: int
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        check_sizes(self, "size")
        check_chain(self, "blocks", self.blocks)

    @property
    def input_size(self) -> int:
        return self.blocks[0].input_size + self.size

    @property
    def output_size(self) -> int:
        return self.blocks[-1].output_size + self.size

    @property
    def facts(self) -> Facts:
        return holding(f"Bypass, {self.size} features around it", {"": self.blocks}, sums=False)


@dataclass(frozen=True)
class Residual(Joined):
    """y = x + blocks(x)."""

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        check_chain(self, "blocks", self.blocks)
        if self.input_size != self.output_size:
            raise InputError(f"Residual.blocks turn {self.input_size} features into {self.output_size}, expected equal")

    @property
    def facts(self) -> Facts:
        return holding("Residual, added to its input", {"": self.blocks}, sums=True)


@dataclass(frozen=True)
class Mean:
    """An ensemble: every member is a chain of its own on the same input; the output is the mean of theirs."""

    members: tuple[tuple[Block, ...], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.members, tuple) or not self.members:
            raise InputError(f"Mean.members is {shown(self.members)}, expected a tuple of at least one chain")
        for index, member in enumerate(self.members):
            check_chain(self, f"members[{index}]", member)
        sizes = {(member[0].input_size, member[-1].output_size) for member in self.members}
        if len(sizes) > 1:
            raise InputError(f"Mean.members have unequal (input, output) sizes: {sorted(sizes)}")

    @property
    def input_size(self) -> int:
        return self.members[0][0].input_size

    @property
    def output_size(self) -> int:
        return self.members[0][-1].output_size

    @property
    def facts(self) -> Facts:
        chains = {f"{i}.": member for i, member in enumerate(self.members)}
        return holding(f"Mean of {len(self.members)}", chains, sums=True)


Block: TypeAlias = GRU | Linear | Activation | Embedding | Pool | Bypass | Residual | Mean
BLOCKS: tuple[type[Block], ...] = get_args(Block)


def check_chain(owner: object, name: str, blocks: Sequence[Block]) -> None:
    where = f"{type(owner).__name__}.{name}"
    if not isinstance(blocks, tuple) or not blocks or not all(isinstance(b, BLOCKS) for b in blocks):
        raise InputError(f"{where} is {shown(blocks)}, expected a tuple of at least one block")
    for left, right in itertools.pairwise(blocks):
        if left.output_size != right.input_size:
            numbers = f"gives {left.output_size} features, but {shown(right)} takes {right.input_size}"
            raise InputError(f"{where}: {shown(left)} {numbers}")


def walk(blocks: Sequence[Block], prefix: str = "") -> Iterator[tuple[str, Block]]:
    """Every block with what its arrays' names begin with, in order; a block comes after those inside it.

    A block's name is its index in its chain; a chain inside Bypass or Residual continues below it, a member of Mean
    first gives its own index: "0.", "2.1.", …
    """
    for index, block in enumerate(blocks):
        name = f"{prefix}{index}."
        for below, chain in block.facts.chains.items():
            yield from walk(chain, name + below)
        yield name, block


def leaves(blocks: Sequence[Block]) -> Iterator[Block]:
    """The blocks that hold no other blocks, in the order of the spec."""
    return (block for _, block in walk(blocks) if not block.facts.chains)


def parameters(blocks: Sequence[Block], prefix: str = "") -> dict[str, Shape]:
    """The name and shape of every array a chain needs, in order: "0.weight_ih_l0", "2.1.0.bias", …"""
    return {name + key: shape for name, block in walk(blocks, prefix) for key, shape in block.facts.arrays}


def extent(blocks: Sequence[Block]) -> tuple[int, int]:
    """How deep blocks stand inside blocks, 1 where none does, and how many arrays :func:`parameters` would name.

    Both in one walk, and no array is named: a hostile file has many blocks of many arrays.
    """
    own = [block.facts for block in blocks]
    inner = [extent(chain) for facts in own for chain in facts.chains.values()]
    return 1 + max((depth for depth, _ in inner), default=0), sum(f.count for f in own) + sum(n for _, n in inner)


def products(blocks: Sequence[Block]) -> int:
    """How many products of weights and features a step adds up; of a bidirectional GRU, a step both ways."""
    return sum(block.facts.products for _, block in walk(blocks))


def state_sizes(blocks: Sequence[Block]) -> tuple[int, ...]:
    """How many numbers a stream has in each array of its state, in the order of the spec."""
    return tuple(size for _, block in walk(blocks) for size in block.facts.states)


def streams(blocks: Sequence[Block]) -> bool:
    """Whether the chain can go step by step: False with a bidirectional GRU, which reads whole sequences."""
    return all(block.facts.streams for _, block in walk(blocks))


def last_to_look_back(blocks: Sequence[Block]) -> int:
    """The index of the last block with a state, -1 for none: what comes after it needs only the steps wanted of it."""
    return max((index for index, block in enumerate(blocks) if state_sizes((block,))), default=-1)


def count_ids(blocks: Sequence[Block]) -> int:
    """How many ids the first feature may be, 0 where it is a number."""
    first = blocks[0].facts
    return first.ids or min((n for chain in first.chains.values() if (n := count_ids(chain))), default=0)
