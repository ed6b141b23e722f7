"""The ONNX model of a problem, as an exporter writes it: a GRU node a layer, its directions joined after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cases import Problem
from grus.weights import GRUWeights, to_convention


def onnx_model(problem: Problem) -> bytes:
    """Inputs x [T, B, I] and for a step h0 [1, B, H]; output y [T, B, directions · H]. The sizes are fixed."""
    case, D = problem.case, problem.case.directions
    nodes, constants = [], []
    constants.append(numpy_helper.from_array(np.array([case.T, case.B, D * case.H]), "shape"))
    source = "x"
    for index, directions in enumerate(problem.layers):
        arrays = _arrays([weights for _, weights in directions])
        constants += [numpy_helper.from_array(array, f"{name}{index}") for name, array in arrays.items()]
        h0 = "" if problem.h0 is None else "h0"
        nodes += [
            helper.make_node(
                "GRU",
                [source, f"W{index}", f"R{index}", f"B{index}", "", h0],
                [f"Y{index}"],  # [T, D, B, H]
                hidden_size=case.H,
                direction="bidirectional" if case.bidirectional else "forward",
                linear_before_reset=0 if case.reset_before else 1,
            ),
            helper.make_node("Transpose", [f"Y{index}"], [f"rows{index}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"rows{index}", "shape"], [f"y{index}"]),
        ]
        source = f"y{index}"
    nodes[-1].output[0] = "y"
    inputs = {"x": problem.x.shape} | ({} if problem.h0 is None else {"h0": (1, case.B, case.H)})
    graph = helper.make_graph(
        nodes,
        "gru",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (case.T, case.B, D * case.H))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def feeds(problem: Problem) -> dict[str, NDArray[np.float32]]:
    return {"x": problem.x} | ({} if problem.h0 is None else {"h0": problem.h0[None]})


def _arrays(directions: list[GRUWeights]) -> dict[str, NDArray[Any]]:
    """W [D, 3H, I], R [D, 3H, H], B [D, 6H]."""
    parts = [to_convention(weights, "onnx") for weights in directions]
    return {
        "W": np.stack([W for W, _, _, _ in parts]),
        "R": np.stack([U for _, U, _, _ in parts]),
        "B": np.stack([np.concatenate([b_i, b_h]) for _, _, b_i, b_h in parts if b_h is not None]),
    }
