"""Finding GRU nodes in an ONNX graph, their constants, and whether one's output is the next one's input."""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.interop.layers import Array, float32

T = TypeVar("T", int, float, str, list[Any])

__all__ = ["GraphNode", "chain", "gru_nodes", "others"]

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
_MOST_NODES = 1000  # GRU nodes of one file
_LONGEST = 100  # nodes between two of them
_PASSING = ("Identity", "Dropout")  # what leaves a trained model's numbers and their places as they are
_MOVING = (*_PASSING, "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Slice")  # numbers stay as they are
_TAKING = ("Gather", "Split", "Concat")  # likewise of what a GRU gives: its last step, the directions of its state
_SPREADING = ("Identity", "Expand", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Tile", "ConstantOfShape")


@dataclass(frozen=True)
class Scope:
    """What the names in one graph stand for: tensors by name, and the node that gives a name."""

    tensors: ChainMap[str, Any] = field(default_factory=ChainMap)
    producers: ChainMap[str, Any] = field(default_factory=ChainMap)

    def within(self, graph: Any) -> Scope:
        tensors = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
        producers: dict[str, Any] = {}
        for node in graph.node:
            producers |= {name: node for name in node.output if name}
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                tensors |= dict.fromkeys(node.output, value)
        # maps in a row, not copies: a graph may hold a great many graphs
        return Scope(ChainMap(tensors, *self.tensors.maps), ChainMap(producers, *self.producers.maps))

    def array(self, name: str) -> NDArray[Any] | None:
        """The constant of this name, or None where it is computed or an input."""
        if name not in self.tensors:
            return None
        from onnx import numpy_helper

        tensor = self.tensors[name]
        if tensor.data_location == tensor.EXTERNAL:
            raise InputError(f"{name!r} lies in another file: save the ONNX file with its weights inside")
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(f"{name!r} is damaged: {error}") from None


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
            raise InputError(f"{self.name!r} has {name} = {given!r}, which is no constant: an input, or computed")
        return None if array is None else float32(f"{name} of {self.name!r}", array)

    def constant(self, name: str) -> NDArray[Any] | None:
        """An input that is a constant, or one that was spread by changes of its shape; else None."""
        given = self.input(name)
        for _ in range(_LONGEST):
            producer = self.scope.producers.get(given)
            if given in self.scope.tensors or producer is None or producer.op_type not in _SPREADING:
                break
            if producer.op_type == "ConstantOfShape":
                value = next((a.t for a in producer.attribute if a.name == "value"), None)
                return np.zeros(1) if value is None else Scope(ChainMap({"value": value})).array("value")
            given = producer.input[0] if producer.input else ""
        return self.scope.array(given) if given else None


def gru_nodes(model: Any) -> list[GraphNode]:
    """Every GRU node of a ModelProto, in subgraphs and functions too."""
    found = list(_within(model.graph, Scope()))
    for function in model.functions:
        found += _within(function, Scope())
    if len(found) > _MOST_NODES:
        raise InputError(f"the graph has {len(found):,} GRU nodes, expected at most {_MOST_NODES:,}")
    return found


def _within(graph: Any, outer: Scope) -> Iterator[GraphNode]:
    scope = outer.within(graph)
    for node in graph.node:
        if node.op_type == "GRU" and node.domain in ("", "ai.onnx"):
            yield GraphNode(node, scope)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _within(inner, scope)


def chain(found: Sequence[GraphNode], names: str | Sequence[str] | None) -> list[GraphNode]:
    """The nodes that are named, or all, in the order in which each takes the output of the one before."""
    if not found:
        raise InputError("the graph has no GRU node")
    listed = ", ".join(repr(node.name) for node in found)
    if names is not None:
        return _named(found, [names] if isinstance(names, str) else list(names), listed)
    sources = {id(node.proto): _source(node) for node in found}
    order = [node for node in found if sources[id(node.proto)] is None]
    while len(order) < len(found):
        after = [node for node in found if sources[id(node.proto)] is order[-1].proto] if order else []
        if len(after) != 1:
            break
        order += after
    if len(order) > 1 and any(sources[id(b.proto)] is not a.proto for a, b in itertools.pairwise(order)):
        order = []
    if len(order) != len(found):
        raise InputError(
            f"the graph has {len(found)} GRU nodes that are not one chain: choose with nodes= from {listed}",
            "nodes",
        )
    return order


def others(proto: Any, taken: Sequence[GraphNode]) -> list[str]:
    """The nodes that compute something before the GRUs taken, and those that read what these give; () for none."""
    before = [name for node in taken if (name := _computed(node))]
    return before + _After(taken).nodes([*proto.functions, proto.graph])


def _computed(gru: GraphNode) -> str | None:
    """The node that computes the GRU's input, not just moves it about; None for another GRU or the graph's input."""
    name = gru.input("X")
    for _ in range(_LONGEST):
        producer = gru.scope.producers.get(name)
        if producer is None or producer.op_type == "GRU":
            return None
        if producer.op_type not in _MOVING or not producer.input:
            return _shown(producer)
        name = producer.input[0]
    return _shown(producer)


class _After:
    """Walks graphs in their order, with the names of all tensors that are what a GRU gives, moved about at most."""

    def __init__(self, taken: Sequence[GraphNode]) -> None:
        self.taken = {id(node.proto) for node in taken}
        self.given: set[str] = set()
        self.giving: set[tuple[str, str]] = set()  # functions whose results are a GRU's

    def nodes(self, graphs: Sequence[Any]) -> list[str]:
        """What reads those tensors and is not one of ``taken``, in all these graphs and functions."""
        return [name for graph in graphs for name in self._in(graph)]

    def _in(self, graph: Any) -> list[str]:
        found = []
        for node in graph.node:
            inner = [g for a in node.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]
            found += self.nodes(inner)
            reads = [name for name in node.input if name in self.given]
            gives = any(getattr(o, "name", o) in self.given for g in inner for o in g.output)
            if id(node) in self.taken or gives or (node.domain, node.op_type) in self.giving:
                self.given.update(name for name in node.output if name)
            elif not reads or node.op_type == "Shape":
                continue
            elif self._moves(node, reads):
                self.given.update(node.output)
            else:
                found.append(_shown(node))
        if hasattr(graph, "domain") and any(name in self.given for name in graph.output):
            self.giving.add((graph.domain, graph.name))
        return found

    def _moves(self, node: Any, reads: Sequence[str]) -> bool:
        if node.op_type == "Concat":
            return len(reads) == len(node.input)
        return node.op_type in (*_MOVING, *_TAKING) and node.input[0] in self.given


def _shown(node: Any) -> str:
    name = str(node.name or next(iter(node.output), ""))
    return f"{node.op_type} {name!r}"


def _named(found: Sequence[GraphNode], wanted: Sequence[str], listed: str) -> list[GraphNode]:
    by_name = {node.name: node for node in found}
    if not wanted or any(name not in by_name for name in wanted):
        raise InputError(f"nodes is {list(wanted)}, expected names of GRU nodes: {listed}", "nodes")
    if len(by_name) < len(found):
        raise InputError(f"two GRU nodes have one name, expected each its own: {listed}")
    order = [by_name[name] for name in wanted]
    for before, after in itertools.pairwise(order):
        if _source(after) is not before.proto:
            raise InputError(f"{after.name!r} does not take the output of {before.name!r} alone and as it is")
    return order


def _source(node: GraphNode) -> Any | None:
    """The GRU node whose output Y, its axes put in the order this node reads them, is its X; else None."""
    name = node.input("X")
    steps: list[Any] = []
    for _ in range(_LONGEST):
        producer = node.scope.producers.get(name)
        if producer is None:
            return None
        if producer.op_type == "GRU":
            before = GraphNode(producer, node.scope)
            joined = name == producer.output[0] and _axes(before, reversed(steps)) == _order(node, ("F",))
            return producer if joined else None
        steps.append(producer)
        name = producer.input[0] if producer.input else ""
    return None


def _order(node: GraphNode, last: tuple[str, ...]) -> tuple[str, ...]:
    return ("B", "T", *last) if node.option("layout", 0) else ("T", *last[:-1], "B", last[-1])


def _axes(gru: GraphNode, steps: Any) -> tuple[str, ...] | None:
    """The axes of Y after some nodes: T, B, directions D, features H, and F for D and H in one; None where unsure."""
    directions = 2 if gru.option("direction", "forward") == "bidirectional" else 1
    axes: tuple[str, ...] | None = _order(gru, ("D", "H"))
    for step in steps:
        node = GraphNode(step, gru.scope)
        if axes is None:
            return None
        if step.op_type in _PASSING:
            continue
        if step.op_type == "Transpose":
            axes = _transposed(axes, node.option("perm", []))
        elif step.op_type == "Squeeze":
            axes = _squeezed(axes, node)
        elif step.op_type == "Reshape":
            axes = _reshaped(axes, node, directions * gru.option("hidden_size", 0))
        else:
            return None
    return axes


def _transposed(axes: tuple[str, ...], order: Sequence[Any]) -> tuple[str, ...] | None:
    if not order:
        return axes[::-1]
    known = all(type(i) is int for i in order) and sorted(order) == list(range(len(axes)))
    return tuple(axes[i] for i in order) if known else None


def _squeezed(axes: tuple[str, ...], node: GraphNode) -> tuple[str, ...] | None:
    given: Any = node.option("axes", [])  # an input since opset 13
    if not given and len(node.proto.input) > 1:
        given = node.scope.array(node.proto.input[1])
    places = [] if given is None else np.ravel(given).tolist()
    known = all(type(i) is int and -len(axes) <= i < len(axes) for i in places)
    if not known or [axes[i] for i in places] != ["D"]:
        return None
    return tuple("F" if axis == "H" else axis for axis in axes if axis != "D")


def _reshaped(axes: tuple[str, ...], node: GraphNode, features: int) -> tuple[str, ...] | None:
    """[.., .., D, H] to [.., .., D · H], written as (0 or −1, 0 or −1, −1 or D · H)."""
    shape = node.scope.array(node.proto.input[1]) if len(node.proto.input) > 1 else None
    if shape is None or shape.shape != (3,) or axes[2:] != ("D", "H") or node.option("allowzero", 0):
        return None
    fits = shape[0] in (0, -1) and shape[1] in (0, -1) and shape[2] in (-1, features)
    return (*axes[:2], "F") if fits and list(shape).count(-1) <= 1 else None


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
