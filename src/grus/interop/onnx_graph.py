"""Finding GRU nodes in an ONNX graph and the graphs in it, with their options and constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.interop.layers import Array, float32
from grus.interop.onnx_values import LONGEST, MOVING, SPREADING, External, Scope

T = TypeVar("T", int, float, str, list[Any])

__all__ = ["GraphNode", "gru_nodes", "shown"]

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
_MOST_NODES = 1000  # GRU nodes of one file
_ROOM = 1 << 24  # bytes that are little, however small a file
_OTHERS = ("LSTM", "RNN", "Loop", "Scan", "If")  # said where there is no GRU
_OPEN = (5, 7)  # steps and rows where a graph does not say
_MOST_LABELS = 1 << 25


@dataclass(frozen=True)
class GraphNode:
    """A node where it stands."""

    proto: Any
    scope: Scope

    @property
    def name(self) -> str:
        return str(self.proto.name or next((name for name in self.proto.output if name), "GRU"))

    def option(self, name: str, default: T) -> T:
        """The value of an attribute. Raises InputError where it is of another type than ``default``."""
        from onnx import helper

        given = next((a for a in self.proto.attribute if a.name == name), None)
        if given is None:
            return default
        try:
            value = helper.get_attribute_value(given)
        except ValueError as error:
            raise InputError(f"{self.name!r} has a damaged attribute {name}: {error}") from None
        value = [_text(v) for v in value] if isinstance(value, list) else _text(value)
        if not isinstance(value, type(default)):
            kinds = f"{type(value).__name__}, expected {type(default).__name__}"
            raise InputError(f"{self.name!r} has an attribute {name} of type {kinds}")
        return value

    def input(self, name: str) -> str:
        """What one of a GRU's inputs is called in this graph; "" where it is left out."""
        place = _INPUTS.index(name)
        return str(self.proto.input[place]) if place < len(self.proto.input) else ""

    def weights(self, name: str) -> Array | None:
        given = self.input(name)
        array = self.scope.array(given) if given else None
        if given and array is None:
            producer = self.scope.producers.get(given)
            by = f" by {shown(producer)}" if producer is not None else ""
            where = f" (in {self.scope.place})" if self.scope.place else ""
            said = f"which is no constant: an input, or computed{by}{where}"
            raise InputError(f"{self.name!r} has {name} = {given!r}, {said}")
        return None if array is None else float32(f"{name} of {self.name!r}", array)

    def claimed(self) -> int:
        """The bytes in the file of the constants that are its weights."""
        tensors = (self.scope.tensors.get(self.input(name)) for name in ("W", "R"))
        return sum(tensor.ByteSize() for tensor in tensors if tensor is not None)

    def constant(self, name: str) -> NDArray[Any] | None:
        """An input that is a constant, or one that was spread by changes of its shape; else None."""
        given = self.input(name)
        value = self.scope.array(given) if given else None
        for _ in range(LONGEST):
            producer = self.scope.producers.get(given)
            if value is not None or producer is None or producer.op_type not in SPREADING:
                break
            if producer.op_type == "ConstantOfShape":
                constant = next((a.t for a in producer.attribute if a.name == "value"), None)
                return np.zeros(1) if constant is None else self.scope.numbers(constant)
            given = producer.input[0] if producer.input else ""
            value = self.scope.array(given) if given else None
        return value

    def origin(self, name: str) -> Any | None:
        """The node whose numbers an input gets, moved about at most; None for a constant and a graph's input."""
        name = self.input(name)
        for _ in range(LONGEST):
            producer = self.scope.producers.get(name)
            if name in self.scope.tensors or producer is None or producer.op_type == "ConstantOfShape":
                return None
            if producer.op_type not in (*MOVING, *SPREADING) or not producer.input:
                return producer
            name = producer.input[0]
        return producer

    @property
    def directions(self) -> int:
        return 2 if self.option("direction", "forward") == "bidirectional" else 1

    @property
    def by_row(self) -> bool:
        """Whether X is [B, T, I], Y [B, T, D, H] and Y_h [B, D, H]."""
        return bool(self.option("layout", 0))

    def sizes(self) -> tuple[int, int]:
        """T and B of what it is given, as far as the graph says; else two numbers that stand for them."""
        node, path, known = self, [], self.scope.sizes
        shape: tuple[int, ...] | None = None
        for _ in range(LONGEST):
            if id(node.proto) in known:
                return known.setdefault(id(self.proto), known[id(node.proto)])
            path.append(node)
            name = node.input("X")
            shape = node.scope.shapes.get(name)
            if shape is None:
                x = node.scope.seeded(node.scope.zeros()).array(name)
                shape = None if x is None else x.shape
            before = node.origin("X")
            if shape is not None or before is None or before.op_type != "GRU":
                break
            node = GraphNode(before, node.scope)  # a chain has the same all along
        if shape is None or len(shape) != 3:
            found = _OPEN
        else:
            found = (shape[1], shape[0]) if path[-1].by_row else (shape[0], shape[1])
        known.update((id(each.proto), found) for each in path)
        return found

    def labels(self, first: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A number for each number of Y [T, D, B, H], from ``first`` on; and which of them Y_h [D, B, H] has."""
        steps, rows = self.sizes()
        hidden = self.option("hidden_size", 0)
        if not hidden:
            R = self.scope.array(self.input("R"))
            hidden = R.shape[-1] if R is not None and R.ndim else 0
        shape = (steps, self.directions, rows, hidden)
        if min(shape) < 1 or steps * rows * hidden > _MOST_LABELS:
            raise InputError(
                f"{self.name!r} was exported for {steps:,} steps of {rows:,} rows and {hidden:,} units, which are too "
                "many to follow through the graph: export it for fewer, or for any number of them"
            )
        y = first + np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
        return y, np.stack([y[-1, 0], y[0, -1]][: self.directions])

    def seeds(self, first: int = 0) -> dict[str, NDArray[np.int64]]:
        """The labels by the names of this node's outputs, laid out as it does."""
        y, y_h = self.labels(first)
        given = (y.transpose(2, 0, 1, 3), y_h.swapaxes(0, 1)) if self.by_row else (y, y_h)
        return {name: value for name, value in zip(self.proto.output, given, strict=False) if name}


def gru_nodes(model: Any, external: External | None = None) -> list[GraphNode]:
    """Every GRU node of a ModelProto, in subgraphs and functions too."""
    outside = external or External()
    opsets = {each.domain: each.version for each in model.opset_import} or {"": 14}
    left = [32 * (model.ByteSize() + outside.bytes_of(model.graph)) + _ROOM]
    start = Scope(opsets, outside, left)
    found = list(_within(model.graph, start))
    for function in model.functions:
        found += _within(function, start, f"the function {function.name!r}")
    if len(found) > _MOST_NODES:
        raise InputError(f"the graph has {len(found):,} GRU nodes, expected at most {_MOST_NODES:,}")
    if not found:
        seen = [shown(node) for node in model.graph.node if node.op_type in _OTHERS]
        beside = f", but {', '.join(seen[:4])}" if seen else ""
        raise InputError(f"the graph has no GRU node{beside}{_SPELLED if seen else ''}")
    return found


_SPELLED = ": a GRU that is spelled out step by step is not read, take its weights from the library it was made with"


def _within(graph: Any, outer: Scope, place: str = "") -> Iterator[GraphNode]:
    scope = outer.within(graph, place)
    for node in graph.node:
        if node.op_type == "GRU" and node.domain in ("", "ai.onnx"):
            yield GraphNode(node, scope)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _within(inner, scope, _PLACES.get(node.op_type, "{}").format(shown(node)))


_PLACES = {"If": "a branch of {}", "Loop": "the body of {}", "Scan": "the body of {}", "SequenceMap": "the body of {}"}


def shown(node: Any) -> str:
    name = str(node.name or next(iter(node.output), ""))
    return f"{node.op_type} {name!r}"


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
