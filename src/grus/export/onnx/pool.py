"""Running pooling in an ONNX graph: a Scan over time, whose body is one step.

Source of the operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grus.export.onnx.nodes import Nodes
from grus.spec import Pool

__all__ = ["pool"]

STATE = {  # what a state [B, state_size] is made of, in its order; the first has a number for each feature
    "max": ("largest", "steps"),
    "mean": ("sum", "steps"),
    "ends": ("ends", "steps"),
    "attention": ("sum", "weights", "highest"),
}


def pool(graph: Nodes, block: Pool, name: str, x: str) -> str:
    """The nodes of one Pool block; x is [T, B, size]. The scores of all steps come before the Scan, in one product."""
    before, after = graph.state(block.state_size)
    parts = STATE[block.function]
    widths = (block.size, *[1] * (len(parts) - 1))
    begin = _split(graph, name, before, parts, widths) if graph.streams else _zeros(graph, name, x, parts, widths)
    ends, scanned = [f"{name}.{part}_end" for part in parts], [x]
    if block.function == "attention":
        scanned.append(_scores(graph, name, x))
    body = _body(graph, block, name, dict(zip(parts, widths, strict=True)))
    graph.node("Scan", [*begin, *scanned], ends[0], *ends[1:], name, body=body, num_scan_inputs=len(scanned))
    graph.node("Concat", ends, after, axis=1)
    return name


def _split(graph: Nodes, name: str, before: str, parts: tuple[str, ...], widths: tuple[int, ...]) -> list[str]:
    begin = [f"{name}.{part}_begin" for part in parts]
    graph.node("Split", [before, graph.constant(f"{name}.widths", np.array(widths))], *begin, axis=1)
    return begin


def _zeros(graph: Nodes, name: str, x: str, parts: tuple[str, ...], widths: tuple[int, ...]) -> list[str]:
    batch = graph.constant("place_of_batch", np.array([1]))
    rows = graph.node("Gather", [graph.node("Shape", [x], f"{name}.shape"), batch], f"{name}.batch")
    begin = []
    for part, width in zip(parts, widths, strict=True):
        columns = graph.constant(f"width_{width}", np.array([width]))
        shape = graph.node("Concat", [rows, columns], f"{name}.{part}_shape", axis=0)
        begin.append(graph.node("ConstantOfShape", [shape], f"{name}.{part}_begin"))
    return begin


def _scores(graph: Nodes, name: str, x: str) -> str:
    """q . tanh(A x + b), [T, B, 1]."""
    arrays = graph.arrays
    weight = graph.constant(f"{name}.weight", arrays[f"{name}.weight"].T)
    product = graph.node("MatMul", [x, weight], f"{name}.product")
    bias = graph.constant(f"{name}.bias", arrays[f"{name}.bias"])
    hidden = graph.node("Tanh", [graph.node("Add", [product, bias], f"{name}.argument")], f"{name}.hidden")
    query = graph.constant(f"{name}.query", arrays[f"{name}.query"][:, None])
    return graph.node("MatMul", [hidden, query], f"{name}.score")


def _body(graph: Nodes, block: Pool, name: str, state: dict[str, int]) -> Any:
    """The graph of one step: the parts of the state and what is pooled to the parts after it and y."""
    from onnx import TensorProto, helper

    nodes: list[Any] = []
    zero, one, halves = "zero", "one", f"first_half_{block.size}"
    constants = {zero: np.float32(0), one: np.float32(1), halves: np.arange(block.size) < block.size // 2}

    def at(value: str) -> str:
        return f"{name}.step.{value}"

    def node(kind: str, output: str, *inputs: str) -> None:
        known = [graph.constant(i, constants[i]) if i in constants else at(i) for i in inputs]
        nodes.append(helper.make_node(kind, known, [at(output)], f"{kind}:{at(output)}"))

    match block.function:
        case "max":  # a number of steps, or a sum of weights, of zero: nothing was seen yet
            node("Greater", "seen", "steps", zero)
            node("Max", "larger", "largest", "x")
            node("Where", "next_largest", "seen", "larger", "x")
            node("Add", "next_steps", "steps", one)
            node("Identity", "y", "next_largest")
        case "mean":
            node("Add", "next_sum", "sum", "x")
            node("Add", "next_steps", "steps", one)
            node("Div", "y", "next_sum", "next_steps")
        case "ends":
            node("Greater", "seen", "steps", zero)
            node("Where", "first", "seen", "ends", "x")
            node("Where", "next_ends", halves, "x", "first")
            node("Add", "next_steps", "steps", one)
            node("Identity", "y", "next_ends")
        case "attention":
            node("Greater", "seen", "weights", zero)
            node("Max", "higher", "highest", "score")
            node("Where", "next_highest", "seen", "higher", "score")
            node("Sub", "fall", "highest", "next_highest")
            node("Exp", "fading", "fall")
            node("Where", "kept", "seen", "fading", zero)
            node("Sub", "distance", "score", "next_highest")
            node("Exp", "weight", "distance")
            for part, new in (("sum", "x"), ("weights", one)):
                node("Mul", f"kept_{part}", part, "kept")
                node("Mul", f"new_{part}", new, "weight")
                node("Add", f"next_{part}", f"kept_{part}", f"new_{part}")
            node("Div", "y", "next_sum", "next_weights")

    def value(part: str, width: int) -> Any:
        return helper.make_tensor_value_info(at(part), TensorProto.FLOAT, ["batch", width])

    scanned = [("x", block.size), ("score", 1)][: 2 if block.function == "attention" else 1]
    before = [value(*part) for part in (*state.items(), *scanned)]
    after = [value(f"next_{part}", width) for part, width in state.items()]
    return helper.make_graph(nodes, at("body"), before, [*after, value("y", block.size)])
