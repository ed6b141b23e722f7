"""Which GRU nodes of an ONNX graph are one chain, what stands around it, and what the graph gives of its numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.interop.onnx_graph import GraphNode, shown
from grus.interop.onnx_values import LONGEST, MOVING

__all__ = ["chain", "gives_ends", "others"]

_TAKING = ("Gather", "Split", "Concat")  # of what a GRU gives: its last step, the directions of its state
_MOST_LABELS = 1 << 25
_MOST_AXES = 5
_AGAIN = ("Loop", "Scan", "SequenceMap")


def chain(found: Sequence[GraphNode], names: str | Sequence[str] | None) -> list[GraphNode]:
    """The nodes that are named, or all, in the order in which each takes the output of the one before."""
    listed = ", ".join(_listed(node) for node in found)
    if names is not None:
        return _named(found, [names] if isinstance(names, str) else list(names), listed)
    for node in found:
        if any(f" {kind} " in f" {node.scope.place} " for kind in _AGAIN):
            raise InputError(
                f"the GRU {node.name!r} stands in {node.scope.place}, which runs it once for each of its rounds, and a "
                f"Model runs its GRUs once: where they alone are meant, choose with nodes= from {listed}",
                "nodes",
            )
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


def _listed(node: GraphNode) -> str:
    return f"{node.name!r} (in {node.scope.place})" if node.scope.place else repr(node.name)


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
    producer = node.origin("X")
    if producer is None or producer.op_type != "GRU":
        return None
    before = GraphNode(producer, node.scope)
    y, _ = before.labels()
    wanted = y.transpose(0, 2, 1, 3).reshape(*y.shape[::2], -1)
    x = node.scope.seeded(before.seeds()).array(node.input("X"))
    return producer if x is not None and np.array_equal(x, wanted.swapaxes(0, 1) if node.by_row else wanted) else None


def others(proto: Any, taken: Sequence[GraphNode]) -> list[str]:
    """The nodes that compute something before the GRUs taken, and those that read what these give; () for none."""
    before = [shown(node) for gru in taken for name in ("X", "initial_h") if (node := _stranger(gru, name))]
    return before + _changed(taken[0]) + _After(taken).nodes([*proto.functions, proto.graph])


def _stranger(gru: GraphNode, name: str) -> Any | None:
    """The node that computes an input, not just moves it about; None for X of another GRU."""
    node = gru.origin(name)
    return None if node is None or (node.op_type == "GRU" and name == "X") else node


def _changed(gru: GraphNode) -> list[str]:
    """What leaves some of the graph's input out, or turns it round, on its way to the first GRU."""
    name, path = gru.input("X"), []
    for _ in range(LONGEST):
        producer = gru.scope.producers.get(name)
        if producer is None or not producer.input:
            break
        path.append(producer)
        name = producer.input[0]
    shape = gru.scope.shapes.get(name)
    if shape is None or min(shape, default=0) < 1 or np.prod(shape, dtype=float) > _MOST_LABELS:
        return []
    whole = np.arange(int(np.prod(shape))).reshape(shape)
    x = gru.scope.seeded({name: whole}).array(gru.input("X"))
    return [shown(node) for node in path if node.op_type == "Slice"] if x is not None and not _is(x, whole) else []


def gives_ends(proto: Any, taken: Sequence[GraphNode]) -> bool:
    """Whether the graph gives of its last GRU not the sequence but the last state of each of two directions.

    Raises InputError where it gives what neither a Model's sequence nor its last step has.
    """
    last = taken[-1]
    if last.scope.place:
        return False
    seeds: dict[str, NDArray[np.int64]] = {}
    states, count = [], 0
    for gru in taken:
        y, y_h = gru.labels(count)
        seeds |= gru.seeds(count)
        states.append(y_h)
        count += y.size
    scope = last.scope.seeded(seeds)
    found = {each.name: scope.array(each.name) for each in proto.graph.output}
    given = {name: value for name, value in found.items() if value is None or name in scope.moved}
    if not given or any(value is not None and _is(value, y) for value in given.values()):
        return False
    alike = [s for s in states if s.shape[1:] == y_h.shape[1:]]
    ends = {n for n, v in given.items() if v is not None and (_is(v, y_h) or _is(v, np.concatenate(alike)))}
    steps = {n for n, v in given.items() if v is not None and _is(v, y[-1])}
    if last.directions == 1 and len(ends | steps) == len(given):
        return False
    if ends == set(given) or steps == set(given):
        return ends == set(given) and steps != set(given)
    wrong = next(name for name in given if name not in ends) if ends else next(n for n in given if n not in steps)
    raise InputError(
        f"the graph's {wrong!r} is neither all steps of its last GRU, nor its last step, nor the last state of each "
        f"direction, forward first: name the GRUs with nodes=, in order: {', '.join(repr(n.name) for n in taken)}",
        "nodes",
    )


def _is(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Whether these are those numbers, with their axes in any order and some of them in one."""
    if found.size != wanted.size or wanted.ndim > _MOST_AXES:
        return False
    flat = found.ravel()
    orders = itertools.permutations(range(wanted.ndim))
    return any(np.array_equal(flat, wanted.transpose(order).ravel()) for order in orders)


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
                found.append(shown(node))
        if hasattr(graph, "domain") and any(name in self.given for name in graph.output):
            self.giving.add((graph.domain, graph.name))
        return found

    def _moves(self, node: Any, reads: Sequence[str]) -> bool:
        if node.op_type == "Concat":
            return len(reads) == len(node.input)
        return node.op_type in (*MOVING, *_TAKING) and node.input[0] in self.given
