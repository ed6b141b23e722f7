"""The nodes of an ONNX graph while it is built: values are named by where in the model they arise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.model import Model

__all__ = ["Nodes", "state_names"]


def state_names(count: int) -> list[tuple[str, str]]:
    """For each state array what the graph calls it before and after."""
    return [(f"state_{i}", f"next_state_{i}") for i in range(count)]


class Nodes:
    def __init__(self, model: Model) -> None:
        self.arrays, self.streams = model.arrays, model.spec.streams
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.states: list[int] = []  # the size of each

    def node(self, kind: str, inputs: list[str], output: str, *more: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output, *more], f"{kind}:{output}", **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def state(self, size: int) -> tuple[str, str]:
        """One more state; its names before and after."""
        self.states.append(size)
        return state_names(len(self.states))[-1]
