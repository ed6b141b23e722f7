"""The blocks of a model as the nodes of an ONNX graph.

Source of the operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from grus.errors import assert_never
from grus.export.onnx.nodes import Nodes, state_names
from grus.export.onnx.pool import pool
from grus.interop.onnx import save as gru_nodes
from grus.model import Model
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual

__all__ = ["Graph"]


class Graph(Nodes):
    """The graph of a whole model."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.model = model

    def proto(self) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        spec = self.model.spec
        y = self.chain(spec.blocks, "", "x")
        self.node("Identity", [y], "y")

        def value(name: str, *shape: str | int) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        names = list(zip(state_names(len(self.states)), self.states, strict=True))
        states = [value(before, "batch", size) for (before, _), size in names] if self.streams else []
        return helper.make_graph(
            self.nodes,
            "grus",
            [value("x", "time", "batch", spec.input_size), *states],
            [value("y", "time", "batch", spec.output_size)]
            + [value(after, "batch", size) for (_, after), size in names],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )

    def chain(self, blocks: Sequence[Block], prefix: str, x: str) -> str:
        for index, block in enumerate(blocks):
            x = self.block(block, f"{prefix}{index}", x)
        return x

    def block(self, block: Block, name: str, x: str) -> str:
        match block:
            case GRU():
                return self.gru(block, name, x)
            case Linear():
                weight = self.constant(f"{name}.weight", self.arrays[f"{name}.weight"].T)
                y = self.node("MatMul", [x, weight], f"{name}.product")
                if not block.bias:
                    return y
                return self.node("Add", [y, self.constant(f"{name}.bias", self.arrays[f"{name}.bias"])], name)
            case Embedding():
                return self.embedding(name, x)
            case Pool():
                return pool(self, block, name, x)
            case Activation():
                return self.node({"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}[block.function], [x], name)
            case Bypass():
                sizes = self.constant(f"{name}.sizes", np.array([block.input_size - block.size, block.size]))
                around = f"{name}.around"
                through = self.node("Split", [x, sizes], f"{name}.through", around, axis=-1)
                return self.node("Concat", [self.chain(block.blocks, f"{name}.", through), around], name, axis=-1)
            case Residual():
                return self.node("Add", [x, self.chain(block.blocks, f"{name}.", x)], name)
            case Mean():
                members = [self.chain(member, f"{name}.{i}.", x) for i, member in enumerate(block.members)]
                return self.node("Mean", members, name)
            case _:
                assert_never(block)

    def embedding(self, name: str, x: str) -> str:
        from onnx import TensorProto

        ids = self.node("Cast", [x], f"{name}.ids", to=TensorProto.INT64)
        flat = self.node("Squeeze", [ids, self.constant("axis_of_features", np.array([2]))], f"{name}.flat")
        return self.node("Gather", [self.constant(f"{name}.weight", self.arrays[f"{name}.weight"]), flat], name)

    def gru(self, block: GRU, name: str, x: str) -> str:
        features = self.constant("axis_of_directions", np.array([0]))
        for layer, node in enumerate(gru_nodes(self.model, block=name)):
            at = f"{name}.l{layer}"
            weights = {k: getattr(node, k) for k in ("W", "R", "B")}
            inputs = [x, *("" if a is None else self.constant(f"{at}.{k}", a) for k, a in weights.items()), ""]
            two = block.bidirectional
            names = [self.state(block.hidden_size) for _ in range(block.directions)]
            if self.streams:
                inputs.append(self.node("Unsqueeze", [names[0][0], features], f"{at}.initial_h"))
            while not inputs[-1]:
                inputs.pop()
            self.node(
                "GRU",
                inputs,
                f"{at}.Y",  # [T, D, B, H]
                f"{at}.Y_h",  # [D, B, H]
                hidden_size=node.hidden_size,
                direction=node.direction,
                linear_before_reset=node.linear_before_reset,
            )
            if two:
                turned = self.node("Transpose", [f"{at}.Y"], f"{at}.turned", perm=[0, 2, 1, 3])
                shape = self.constant(f"{at}.shape", np.array([0, 0, block.output_size]))
                x = self.node("Reshape", [turned, shape], at)
                ones = self.constant("one_each", np.array([1, 1]))
                halves = [f"{at}.forward_h", f"{at}.backward_h"]
                self.node("Split", [f"{at}.Y_h", ones], *halves, axis=0)
            else:
                x = self.node("Squeeze", [f"{at}.Y", self.constant("axis_after_time", np.array([1]))], at)
                halves = [f"{at}.Y_h"]
            for half, (_, after) in zip(halves, names, strict=True):
                self.node("Squeeze", [half, features], after)
        return x
