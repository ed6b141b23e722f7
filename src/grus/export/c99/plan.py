"""A spec's blocks as the operations of one step, in order, each on numbered places in memory.

Both precisions share the plan; ``single`` and ``fixed`` turn its operations into C. With a bidirectional GRU there is
no step: then every step of the sequence has places of its own, the operations go over the sequence in passes, and a
layer's states are copied to where the passes after it find them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grus.errors import assert_never
from grus.quantized import exponents_after
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual, Spec

__all__ = ["Activate", "Add", "Copy", "Gather", "Gru", "MatVec", "Operation", "Plan", "Pooling", "Tensor", "plan"]

Exponents: TypeAlias = "NDArray[np.int64] | None"  # one a feature; None where the model is float32


@dataclass(frozen=True, eq=False)
class Tensor:
    """``size`` numbers from ``offset`` on of ``x``, ``y``, ``scratch``, or a state's member ``s->h_…``."""

    place: str
    offset: int
    size: int
    exponents: Exponents = None

    def __str__(self) -> str:
        return f"{self.place} + {self.offset}" if self.offset else self.place

    def at(self, index: str) -> str:
        """The element at an index, in C."""
        return f"{self.place}[{self.offset} + {index}]" if self.offset else f"{self.place}[{index}]"

    def part(self, start: int, stop: int) -> Tensor:
        exponents = None if self.exponents is None else self.exponents[start:stop]
        return Tensor(self.place, self.offset + start, stop - start, exponents)


@dataclass(frozen=True)
class Gru:
    """One direction of a layer; its arrays are ``{name}weight_ih_{layer}`` and so on, its state is ``h``.

    layer: l0, l1, …, or l0_reverse for what runs from the last step to the first (``reverse``).
    """

    block: GRU
    name: str
    layer: str
    x: Tensor
    h: Tensor
    reverse: bool = False

    @property
    def suffix(self) -> str:
        return f"{_identifier(self.name)}_{self.layer}"


@dataclass(frozen=True)
class _Named:
    """Of the block whose arrays begin with ``name``."""

    name: str
    x: Tensor
    y: Tensor

    @property
    def suffix(self) -> str:
        return _identifier(self.name)


@dataclass(frozen=True)
class MatVec(_Named):
    block: Linear


@dataclass(frozen=True)
class Gather(_Named):
    block: Embedding


@dataclass(frozen=True)
class Pooling(_Named):
    """Its state is ``h``."""

    block: Pool
    h: Tensor


@dataclass(frozen=True)
class Activate:
    function: str
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Copy:
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Add:
    """y = the sum of the parts / count: a Residual with count 1, or a Mean."""

    name: str
    parts: tuple[Tensor, ...]
    y: Tensor
    count: int


Operation: TypeAlias = Gru | MatVec | Gather | Pooling | Activate | Copy | Add


@dataclass
class Plan:
    """operations in order; states by name with their sizes; scratch: numbers needed at once; output: y's exponents.

    whole: a GRU is bidirectional; the scratch is that of each step of the sequence.
    """

    operations: list[Operation] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    scratch: int = 0
    output: Exponents = None
    whole: bool = False

    @property
    def passes(self) -> list[tuple[bool, list[Operation]]]:
        """The operations grouped by the direction they run in; True: from the last step to the first."""
        found: list[tuple[bool, list[Operation]]] = [(False, [])]
        for op in self.operations:
            if isinstance(op, (Gru, Pooling)) and found[-1][0] != (isinstance(op, Gru) and op.reverse):
                found.append((not found[-1][0], []))
            found[-1][1].append(op)
        return [(reverse, operations) for reverse, operations in found if operations]

    @property
    def multiply_accumulates(self) -> int:
        total = 0
        for op in self.operations:
            match op:
                case Gru():
                    total += 3 * op.h.size * (op.x.size + op.h.size)
                case MatVec():
                    total += op.x.size * op.y.size
                case Pooling():
                    total += op.block.attention_size * (op.block.size + 1)
                case Gather() | Activate() | Copy() | Add():
                    pass
                case _:
                    assert_never(op)
        return total


def _identifier(name: str) -> str:
    return name.rstrip(".").replace(".", "_")


def plan(spec: Spec, arrays: Mapping[str, NDArray[Any]]) -> Plan:
    fixed = spec.format.integers
    planner = _Planner(arrays, fixed, not spec.streams)
    before = arrays["input.exponent"].astype(np.int64) if fixed else None
    x = Tensor("x", 0, spec.input_size, before)
    planner.plan.output = planner.chain(spec.blocks, "", x, Tensor("y", 0, spec.output_size)).exponents
    return planner.plan


class _Planner:
    """Scratch is given out first fit, and given back when a chain has read it."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], fixed: bool, whole: bool) -> None:
        self.arrays, self.fixed, self.plan = arrays, fixed, Plan(whole=whole)
        self.taken: list[tuple[int, int]] = []

    def chain(self, blocks: Sequence[Block], prefix: str, x: Tensor, y: Tensor | None) -> Tensor:
        """The chain's output: ``y`` where it is given, else wherever it comes to lie."""
        for index, block in enumerate(blocks):
            last = index == len(blocks) - 1
            result = self.block(block, f"{prefix}{index}.", x, y if last else None)
            if index:  # what the chain was given belongs to its caller
                self.release(x, result)
            x = result
        return x

    def block(self, block: Block, name: str, x: Tensor, y: Tensor | None) -> Tensor:
        exponents = exponents_after(block, self.arrays, name, x.exponents) if x.exponents is not None else None
        match block:
            case GRU():
                return self.both_ways(block, name, x, y) if self.plan.whole else self.gru(block, name, x, y)
            case Linear():
                y = self.take(block.output_size, exponents, y)
                self.plan.operations.append(MatVec(name, x, y, block))
            case Embedding():
                y = self.take(block.output_size, exponents, y)
                self.plan.operations.append(Gather(name, x, y, block))
            case Pool():
                y = self.take(block.size, exponents, y)
                h = self.state(f"p_{_identifier(name)}", block.state_size)
                self.plan.operations.append(Pooling(name, x, y, block, h))
            case Activation():
                y = self.take(block.size, exponents, y)
                self.plan.operations.append(Activate(block.function, x, y))
            case Bypass():
                y = self.take(block.output_size, exponents, y)
                through, size = x.size - block.size, y.size - block.size
                self.chain(block.blocks, name, x.part(0, through), y.part(0, size))
                self.plan.operations.append(Copy(x.part(through, x.size), y.part(size, y.size)))
            case Residual():
                inside = self.chain(block.blocks, name, x, None)
                y = self.add(name, (x, inside), exponents, y, 1)
            case Mean():
                members = [self.chain(m, f"{name}{i}.", x, None) for i, m in enumerate(block.members)]
                y = self.add(name, tuple(members), exponents, y, len(members))
                for member in members:
                    self.release(member, x)
            case _:
                assert_never(block)
        return y

    def gru(self, block: GRU, name: str, x: Tensor, y: Tensor | None) -> Tensor:
        for layer in range(block.num_layers):
            h = self.state(f"h_{_identifier(name)}_l{layer}", block.hidden_size)
            self.plan.operations.append(Gru(block, name, f"l{layer}", x, h))
            x = h
        if y is None:
            return x
        y = self.take(x.size, x.exponents, y)
        self.plan.operations.append(Copy(x, y))
        return y

    def both_ways(self, block: GRU, name: str, x: Tensor, y: Tensor | None) -> Tensor:
        """A GRU of a whole sequence, of one direction or of two: its outputs outlast its states."""
        for layer in range(block.num_layers):
            last = layer == block.num_layers - 1
            after, size = self.take(block.output_size, None, y if last else None), block.hidden_size
            for index, suffix in enumerate(block.suffixes(layer)):
                h = self.state(f"h_{_identifier(name)}{suffix}", size)
                self.plan.operations.append(Gru(block, name, suffix.removeprefix("_"), x, h, bool(index)))
                self.plan.operations.append(Copy(h, after.part(index * size, (index + 1) * size)))
            if layer:
                self.release(x)
            x = after
        return x

    def state(self, name: str, size: int) -> Tensor:
        self.plan.states[name] = size
        return Tensor(f"s->{name}", 0, size, np.full(size, 15) if self.fixed else None)

    def add(self, name: str, parts: tuple[Tensor, ...], exponents: Exponents, y: Tensor | None, count: int) -> Tensor:
        y = self.take(parts[0].size, exponents, y)
        self.plan.operations.append(Add(name, parts, y, count))
        if count == 1:
            self.release(parts[-1], parts[0])
        return y

    def take(self, size: int, exponents: Exponents, y: Tensor | None) -> Tensor:
        if y is not None:
            return Tensor(y.place, y.offset, size, exponents)
        at = 0
        for start, stop in sorted(self.taken):
            if start - at >= size:
                break
            at = stop
        self.taken.append((at, at + size))
        self.plan.scratch = max(self.plan.scratch, at + size)
        return Tensor("scratch", at, size, exponents)

    def release(self, tensor: Tensor, *used: Tensor) -> None:
        place = (tensor.offset, tensor.offset + tensor.size)
        if tensor.place == "scratch" and place in self.taken and all(str(tensor) != str(u) for u in used):
            self.taken.remove(place)
