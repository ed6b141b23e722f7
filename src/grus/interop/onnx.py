"""ONNX: the GRU nodes of a graph, read with the ``onnx`` package, and what a GRU node takes, which needs none.

Both values of ``linear_before_reset`` (1 is reset after the product), the directions forward and bidirectional, and
either layout are read. The layout, ``sequence_lens`` and ``initial_h`` say how a node is fed and are no part of a
Model: :class:`grus.Session` takes x as [T, B, I], sequences of one length, and the initial state as its state.
Source: https://onnx.ai/onnx/operators/onnx__GRU.html
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from grus import installed
from grus.errors import InputError
from grus.interop.layers import Array, Layer, layers_of, model_of
from grus.interop.onnx_chain import chain, gives_ends, others
from grus.interop.onnx_graph import GraphNode, gru_nodes
from grus.interop.onnx_values import External
from grus.model import Model
from grus.weights import from_convention, to_convention

__all__ = ["Node", "load", "load_file", "save"]

_MOST_BYTES = 1 << 31  # Protocol Buffers allow no larger message
_ROOM = 1 << 24  # bytes that are little, however small a file
_REVERSE = "turn the sequence round in time, before and after, and make the node's direction forward"


@dataclass(frozen=True)
class Node:
    """What a GRU node is given, D = 1 or 2 directions: W [D, 3H, I], R [D, 3H, H], B [D, 6H] or None; gates z, r, n."""

    W: Array
    R: Array
    B: Array | None
    direction: Literal["forward", "bidirectional"]
    linear_before_reset: int

    @property
    def hidden_size(self) -> int:
        return int(self.R.shape[-1])


def load(source: Any, nodes: str | Sequence[str] | None = None) -> Model:
    """GRU nodes as a Model: one layer each, the output of each the input of the next.

    ``source`` is an ``onnx.ModelProto``, its bytes, or a list of :class:`Node`. ``nodes`` names the GRU nodes to take,
    in order; a node without a name has that of its first output. Left out, all there are are taken, and nothing may
    stand before or behind them but what moves numbers about. Several have to be joined as one chain, with nothing
    between two of them but a change of shape.
    Raises InputError for bytes that are not ONNX, for a graph of more than GRUs where none are named, without the
    package ``onnx`` where it is needed, for weights that are computed in the graph or kept outside of the file, and for
    what a Model cannot say: the direction ``reverse`` alone, ``clip``, other activations, a constant ``sequence_lens``
    or ``initial_h``.
    """
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray, memoryview, str)):
        if not all(isinstance(node, Node) for node in source):
            raise InputError("source is a list, expected every item to be a Node")
        return model_of(map(_layer, source))
    return _load(_parsed(source), nodes, External())


_MANY_TIMES = "the GRU nodes have many times the weights that are in the file, some of them shared"


def _load(proto: Any, nodes: str | Sequence[str] | None, external: External) -> Model:
    read, left = [], 4 * (proto.ByteSize() + external.bytes_of(proto.graph)) + _ROOM  # one tensor may be many nodes'
    found = gru_nodes(proto, external)
    if nodes is None and sum(node.claimed() for node in found) > left:  # before a walk of so many
        raise InputError(_MANY_TIMES)
    taken = chain(found, nodes)
    if nodes is None and (around := others(proto, taken)):
        more = f" and {len(around) - 4} more" if len(around) > 4 else ""
        raise InputError(
            f"the graph computes more than its GRUs: {', '.join(around[:4])}{more}; a Model made here is the GRUs "
            f"alone: where that is meant, name them with nodes=, in order: {', '.join(repr(n.name) for n in taken)}",
            "nodes",
        )
    for node in taken:
        read.append(_read(node))
        left -= read[-1].W.nbytes + read[-1].R.nbytes
        if left < 0:
            raise InputError(_MANY_TIMES)
    return model_of(map(_layer, read), ends=nodes is None and gives_ends(proto, taken))


def save(model: Model, *, block: str | None = None) -> list[Node]:
    """What the GRU nodes of ``model`` are given, one for each layer in order.

    ``block`` picks one GRU of a larger model, named as its arrays are. The conversion of a whole model to a whole file
    is an export, and not done here.
    """
    return [_node(layer) for layer in layers_of(model, block)]


def load_file(path: str | os.PathLike[str], nodes: str | Sequence[str] | None = None) -> Model:
    """:func:`load` from an .onnx file. Raises FileNotFoundError, or InputError as :func:`load` does."""
    name = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {name!r}")
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise InputError(f"has {os.path.getsize(path):,} bytes, and no ONNX file is larger than {_MOST_BYTES:,}")
        return _load(_parsed(Path(path).read_bytes()), nodes, External(Path(path).parent))
    except InputError as error:
        raise InputError(f"{name!r}: {error}", *error.parameters) from None


def _parsed(source: Any) -> Any:
    if not isinstance(source, (bytes, bytearray, memoryview)):
        if not hasattr(source, "graph"):
            raise InputError(f"source is a {type(source).__name__}, expected an onnx.ModelProto, its bytes or Nodes")
        return source
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise InputError(f"reading ONNX needs the package onnx: {installed.command('onnx')}") from None
    try:
        return onnx.load_model_from_string(bytes(source))
    except DecodeError as error:
        raise InputError(f"this is not ONNX, or is damaged: {error}") from None


def _read(node: GraphNode) -> Node:
    """A GRU node of a graph, if it is one that a Model can be."""
    direction = node.option("direction", "forward")
    if direction not in ("forward", "bidirectional"):
        raise InputError(f"{node.name!r} has direction {direction!r} alone, which no Model has: {_REVERSE}")
    two = direction == "bidirectional"
    clip, activations = node.option("clip", 0.0), node.option("activations", [])
    if clip:
        raise InputError(f"{node.name!r} has clip {clip}, expected none: no Model bounds its gates")
    if [str(a).lower() for a in activations] not in ([], ["sigmoid", "tanh"] * (1 + two)):
        raise InputError(f"{node.name!r} has activations {activations}, expected Sigmoid and Tanh")
    if node.constant("sequence_lens") is not None:
        raise InputError(f"{node.name!r} has a constant sequence_lens, expected sequences of one length")
    start = node.constant("initial_h")
    if start is not None and np.any(start):
        raise InputError(f"{node.name!r} has a constant initial_h that is not zero: no Model keeps an initial state")
    W, R, B = (node.weights(name) for name in ("W", "R", "B"))
    if W is None or R is None:
        raise InputError(f"{node.name!r} lacks W or R")
    count, size = 1 + two, node.option("hidden_size", R.shape[-1] if R.ndim else 0)
    if R.shape != (count, 3 * size, size) or W.ndim != 3 or W.shape[:2] != R.shape[:2]:
        expected = f"({count}, {3 * size}, I) and ({count}, {3 * size}, {size})"
        raise InputError(f"{node.name!r} has W {W.shape} and R {R.shape}, expected {expected}")
    if B is not None and B.shape != (count, 6 * size):
        raise InputError(f"{node.name!r} has B {B.shape}, expected ({count}, {6 * size})")
    return Node(W, R, B, "bidirectional" if two else "forward", int(node.option("linear_before_reset", 0) != 0))


def _layer(node: Node) -> Layer:
    after = bool(node.linear_before_reset)
    biases = [(None, None)] * len(node.W) if node.B is None else [tuple(np.split(b, 2)) for b in node.B]
    directions = tuple(
        from_convention("onnx", W, R, *both, reset_after=after)
        for W, R, both in zip(node.W, node.R, biases, strict=True)
    )
    return Layer(directions, node.B is not None)


def _node(layer: Layer) -> Node:
    stored = [to_convention(weights, "onnx") for weights in layer.directions]
    W, R = np.stack([s[0] for s in stored]), np.stack([s[1] for s in stored])
    B = np.stack([np.concatenate([s[2], s[3]]) for s in stored]) if layer.bias else None
    return Node(W, R, B, "bidirectional" if len(stored) == 2 else "forward", int(layer.directions[0].reset_after))
