"""A whole model as an ONNX graph, built node by node, and proved in ONNX Runtime before it is kept.

Source of the operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.export.agreement import Agreement, Expected, random_inputs
from grus.export.onnx_pool import pool
from grus.files import write_whole
from grus.interop.onnx import save as gru_nodes
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual, leaves

__all__ = ["LEAST_OPSET", "prove", "state_names", "to_onnx"]

Array = NDArray[Any]

LEAST_OPSET = 14  # the first whose GRU is today's but for the types it takes
MOST_BYTES = 1 << 31  # of a Protocol Buffers message
RUNS = "running an ONNX file needs onnx and onnxruntime: pip install 'grus[onnx]'"
NEEDS = "exporting to ONNX needs onnx and onnxruntime, which runs the file before it is kept: pip install 'grus[onnx]'"


def to_onnx(model: Model, path: str | os.PathLike[str], *, opset: int = 17) -> Agreement:
    """Write ``model`` as an .onnx file, and say how well ONNX Runtime agrees with it.

    The graph takes ``x`` [time, batch, input_size] and, unless a GRU is bidirectional, ``state_0``, ``state_1``, …
    [batch, size], a :class:`grus.Session`'s ``State.arrays`` in their order; it gives ``y`` [time, batch,
    output_size] and the states after the last step, ``next_state_0``, …. Time and batch are free: with a time of 1
    and the states handed on it is a stream's step. Ids for an Embedding are float32, as for a Session. ``opset`` is
    that of the file, from 14 to the newest that the package ``onnx`` knows. The metadata hold the spec
    (``grus.spec``) and the model's hash (``grus.hash``).

    Before anything is written ONNX Runtime runs the graph on random inputs, whole and step by step, and its results
    are held against the model's by the tolerance rule. Raises InputError where they differ, for a quantised model, for
    an unknown opset, for weights of 2 GiB and more, and without the packages onnx and onnxruntime.
    """
    data = build(model, opset)
    agreement = prove(model, data)
    if not agreement.good:
        raise InputError(f"ONNX Runtime does not compute what the model does, so nothing was written: {agreement}")
    write_whole(path, data)
    return agreement


def state_names(count: int) -> list[tuple[str, str]]:
    """For each state array what the graph calls it before and after."""
    return [(f"state_{i}", f"next_state_{i}") for i in range(count)]


def build(model: Model, opset: int) -> bytes:
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}, expected a grus.Model: grus.load(path) reads one")
    if model.spec.precision != "float32":
        raise InputError(f"the model is quantised ({model.spec.precision}): export the float32 model it was made of")
    try:
        from onnx import checker, defs, helper
    except ModuleNotFoundError:
        raise InputError(NEEDS) from None
    newest = defs.onnx_opset_version()
    if type(opset) is not int or not LEAST_OPSET <= opset <= newest:
        raise InputError(f"opset is {opset!r}, expected an integer from {LEAST_OPSET} to {newest}", "opset")
    size = sum(array.nbytes for array in model.arrays.values())
    if size >= MOST_BYTES:
        raise InputError(f"the weights have {size:,} bytes, and no ONNX file is larger than {MOST_BYTES:,}")
    graph = Graph(model)
    opsets = [helper.make_opsetid("", opset)]
    proto = helper.make_model(
        graph.proto(),
        opset_imports=opsets,
        ir_version=min(10, helper.find_min_ir_version_for(opsets)),
        producer_name="grus",
        producer_version=version("grus"),
    )
    helper.set_model_props(proto, {"grus.spec": model.spec.to_json(), "grus.hash": model.hash})
    checker.check_model(proto)
    return bytes(proto.SerializeToString())


def prove(model: Model, data: bytes) -> Agreement:
    """The graph in ``data`` run by ONNX Runtime beside ``model`` on random inputs, whole and step by step.

    Raises InputError for a graph that has other inputs and outputs than those of :func:`to_onnx`, or that cannot be
    run, and without onnxruntime.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError(RUNS) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it says is raised, too
    try:
        runtime = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return _compared(model, runtime)
    except InputError:
        raise
    except Exception as error:  # its exceptions have no class of their own in common
        raise InputError(f"ONNX Runtime cannot run this file for this model: {error}") from None


def _compared(model: Model, runtime: Any) -> Agreement:
    streams = not any("_reverse" in name for name in model.arrays)
    x = random_inputs(model, 24, 3)
    y, after = Session(model).run(x)
    names = state_names(len(after.arrays))
    inputs = ["x"] + [before for before, _ in names] * streams
    outputs = ["y"] + [next_ for _, next_ in names]
    there = [i.name for i in runtime.get_inputs()], [o.name for o in runtime.get_outputs()]
    if there != (inputs, outputs):
        raise InputError(f"the graph's inputs and outputs are {there}, those of this model {(inputs, outputs)}")
    expected = Expected(model, x)
    zeros = [np.zeros_like(a) for a in after.arrays]

    def call(x: Array, state: Sequence[Array]) -> list[Array]:
        given = {name: a for (name, _), a in zip(names, state, strict=True)} if streams else {}
        result: list[Array] = runtime.run(outputs, {"x": x} | given)
        return result

    whole, *end = call(x, zeros)
    found = [expected.compare(whole), expected.compare(y)]
    ends = [end]
    if streams:
        state, steps = zeros, []
        for t in range(len(x)):
            y_t, *state = call(x[t : t + 1], state)
            steps.append(y_t)
        found.append(expected.compare(np.concatenate(steps)))
        ends.append(state)
    pairs = [pair for e in ends for pair in zip(e, after.arrays, strict=True)]
    sums = [*_sums(model.spec.blocks)] * len(ends)
    error = max((_error(*pair, len(x) if sum_ else 1) for pair, sum_ in zip(pairs, sums, strict=True)), default=0.0)
    found.append(Agreement(error, 2 * expected.allowed, sum(a.size for a, _ in pairs)))
    worst = max(found, key=lambda a: a.error / a.allowed if a.error == a.error else np.inf)
    return Agreement(worst.error, worst.allowed, sum(a.numbers for a in found))


def _error(found: Array, right: Array, unit: float) -> float:
    return float(np.abs(found - right).max(initial=0)) / max(unit, float(np.abs(right).max(initial=0)))


def _sums(blocks: Sequence[Block]) -> Iterator[bool]:
    """For each state: whether it is a sum over the steps, in which errors add up, or what a GRU gives, within ±1."""
    for block in leaves(blocks):
        if isinstance(block, GRU):
            yield from [False] * (block.num_layers * block.directions)
        if isinstance(block, Pool):
            yield True


class Graph:
    """The graph while it is built: values are named by where in the model they arise."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.streams = not any("_reverse" in name for name in model.arrays)
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.states: list[int] = []  # the size of each

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

    def node(self, kind: str, inputs: list[str], output: str, *more: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output, *more], f"{kind}:{output}", **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def chain(self, blocks: Sequence[Block], prefix: str, x: str) -> str:
        for index, block in enumerate(blocks):
            x = self.block(block, f"{prefix}{index}", x)
        return x

    def block(self, block: Block, name: str, x: str) -> str:
        match block:
            case GRU():
                return self.gru(block, name, x)
            case Linear():
                weight = self.constant(f"{name}.weight", self.model.arrays[f"{name}.weight"].T)
                y = self.node("MatMul", [x, weight], f"{name}.product")
                if not block.bias:
                    return y
                return self.node("Add", [y, self.constant(f"{name}.bias", self.model.arrays[f"{name}.bias"])], name)
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

    def state(self, size: int) -> tuple[str, str]:
        """One more state; its names before and after."""
        self.states.append(size)
        return state_names(len(self.states))[-1]

    def embedding(self, name: str, x: str) -> str:
        from onnx import TensorProto

        ids = self.node("Cast", [x], f"{name}.ids", to=TensorProto.INT64)
        flat = self.node("Squeeze", [ids, self.constant("axis_of_features", np.array([2]))], f"{name}.flat")
        return self.node("Gather", [self.constant(f"{name}.weight", self.model.arrays[f"{name}.weight"]), flat], name)

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
