"""To and from GRU nodes of ONNX, run by ONNX Runtime: the numbers, the arrays, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interop.trained import SHAPES, B, T, check, inputs, random_model, same
from numpy.typing import NDArray

from grus import InputError, Model, Session, installed
from grus.interop import onnx as interop
from grus.interop import torch as from_torch
from grus.spec import GRU, Linear

Array = NDArray[Any]

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
from onnx import helper, numpy_helper  # noqa: E402

FLOAT = onnx.TensorProto.FLOAT
SHAPES_OF_BOTH = {
    f"{name}, reset {'after' if after else 'before'}": tuple(
        GRU(b.input_size, b.hidden_size, b.num_layers, b.bias, b.bidirectional, after) for b in blocks
    )
    for name, blocks in SHAPES.items()
    for after in (True, False)
}


def file_of(
    nodes: list[interop.Node],
    *,
    constants: bool = False,
    layout: int = 0,
    opset: int = 14,
    merge: tuple[int, int, int] = (0, 0, -1),
    between: str = "",
    **options: Any,
) -> Any:
    """A graph of these nodes, one after the other, joined as exporters join them; h0_<i> [D, B, H] are inputs."""
    made, tensors, given, x = [], [], [helper.make_tensor_value_info("x", FLOAT, None)], "x"
    tensors.append(numpy_helper.from_array(np.array([2 if layout else 1], np.int64), "axes"))
    tensors.append(numpy_helper.from_array(np.array(merge, np.int64), "shape"))
    for i, node in enumerate(nodes):
        names = {key: f"{key}_{i}" for key in ("W", "R", "B") if getattr(node, key) is not None}
        tensors += [numpy_helper.from_array(getattr(node, key), name) for key, name in names.items()]
        given.append(helper.make_tensor_value_info(f"h0_{i}", FLOAT, None))
        inputs = [x, names["W"], names["R"], names.get("B", ""), "", f"h0_{i}"]
        attributes = {"direction": node.direction, "linear_before_reset": node.linear_before_reset} | options
        if layout:
            attributes["layout"] = 1
        made.append(helper.make_node("GRU", inputs, [f"y_{i}"], f"gru_{i}", hidden_size=node.hidden_size, **attributes))
        if node.direction == "forward":
            made.append(helper.make_node("Squeeze", [f"y_{i}", "axes"], [f"x_{i}"]))
        else:
            perm = [0, 1, 2, 3] if layout else [0, 2, 1, 3]
            made.append(helper.make_node("Transpose", [f"y_{i}"], [f"t_{i}"], perm=perm))
            made.append(helper.make_node("Reshape", [f"t_{i}", "shape"], [f"x_{i}"]))
        x = f"x_{i}"
        if between and i == 0:
            made.append(
                helper.make_node(between, [x], ["between"], **({"perm": [1, 0, 2]} if between == "Transpose" else {}))
            )
            x = "between"
    if constants:
        made = [helper.make_node("Constant", [], [t.name], value=t) for t in tensors] + made
        tensors = []
    graph = helper.make_graph(made, "grus", given, [helper.make_tensor_value_info(x, FLOAT, None)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(file: Any, feeds: dict[str, Array]) -> Array:
    session = runtime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, feeds)[0]
    return result


def starts(model: Model, h0: list[Array]) -> dict[str, Array]:
    states, feeds = iter(h0), {}
    for node in interop.save(model):
        feeds[f"h0_{len(feeds)}"] = np.stack([next(states) for _ in range(len(node.W))])
    return feeds


@pytest.mark.parametrize("blocks", SHAPES_OF_BOTH.values(), ids=SHAPES_OF_BOTH)
def test_numbers_and_arrays(blocks: tuple[GRU, ...]) -> None:
    model = random_model(*blocks)
    nodes = interop.save(model)
    assert same(interop.load(nodes), model)
    file = file_of(nodes)
    x, h0 = inputs(model)
    check("ONNX Runtime", run(file, {"x": x} | starts(model, h0)), model, x, h0)
    zeros = [np.zeros_like(h) for h in h0]
    check("ONNX Runtime", run(file, {"x": x} | starts(model, zeros)), model, x)
    for again in (file, file.SerializeToString(), file_of(nodes, constants=True), file_of(nodes, layout=1)):
        assert same(interop.load(again), model)
    back = interop.save(interop.load(file))
    for one, other in zip(back, nodes, strict=True):
        assert (one.direction, one.linear_before_reset) == (other.direction, other.linear_before_reset)
        assert all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("W", "R", "B"))  # None equals None


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_file_of_pytorch(bidirectional: bool, tmp_path: Path) -> None:
    module = torch.nn.GRU(3, 4, num_layers=3, bidirectional=bidirectional, batch_first=True, dropout=0.1).eval()
    path = tmp_path / "gru.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(2, 5, 3),), str(path), dynamo=False, opset_version=17)
    assert same(interop.load_file(path), from_torch.load(module.state_dict()))


class Around(torch.nn.Module):
    """A GRU with a linear layer before, after, or behind its last state; or none of these."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.gru = where, torch.nn.GRU(3, 4, num_layers=2, bidirectional=True)
        self.linear = torch.nn.Linear(3 if where == "before" else 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, h_n = self.gru(self.linear(x) if self.where == "before" else x)
        if self.where == "behind the state":
            y = torch.cat([h_n[-2], h_n[-1]], dim=-1)
        elif self.where == "the last step":
            return y[-1]
        elif self.where == "beside":
            return torch.cat([y, x], dim=-1)
        return y if self.where == "before" else self.linear(y)


@pytest.mark.parametrize("where", ["before", "after", "behind the state", "beside", "the last step"])
def test_what_stands_around_is_not_left_out_in_silence(where: str, tmp_path: Path) -> None:
    module, path = Around(where).eval(), tmp_path / "around.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(5, 2, 3),), str(path), dynamo=False, opset_version=17)
    names = [node.name for node in onnx.load(path).graph.node if node.op_type == "GRU"]
    right = from_torch.load(module.gru.state_dict())
    if where == "the last step":  # a Model gives all of them
        assert same(interop.load_file(path), right)
    else:
        kind = "Concat" if where == "beside" else "MatMul|Gemm|Add"
        said = rf"the graph computes more than its GRUs: ({kind}) '.*name them with nodes=, in order: '{names[0]}', '"
        with pytest.raises(InputError, match=said):
            interop.load_file(path)
    assert same(interop.load_file(path, names), right)


def test_lengths_are_a_matter_of_the_run() -> None:
    """sequence_lens is an input: each row is run to its own end, and ONNX puts zeros behind it."""
    model = random_model(GRU(3, 5, bidirectional=True))
    file = file_of(interop.save(model))
    gru = next(node for node in file.graph.node if node.op_type == "GRU")
    gru.input[4] = "lengths"
    file.graph.input.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, None))
    assert same(interop.load(file), model)
    x, h0 = inputs(model)
    lengths = np.array([T, 1, 4], np.int32)
    theirs = run(file, {"x": x, "lengths": lengths} | starts(model, [np.zeros_like(h) for h in h0]))
    for row, length in enumerate(lengths):
        alone = x[:length, row : row + 1]
        check("ONNX Runtime", theirs[:length, row : row + 1], model, alone)
        assert not theirs[length:, row].any()


def test_nodes_by_name_and_in_subgraphs() -> None:
    model = random_model(GRU(4, 4, num_layers=3, bidirectional=False))
    file = file_of(interop.save(model))
    assert same(interop.load(file, ["gru_0", "gru_1", "gru_2"]), model)
    assert interop.load(file, "gru_1").spec.blocks == (GRU(4, 4),)
    assert np.array_equal(interop.load(file, "gru_1").arrays["0.weight_hh_l0"], model.arrays["0.weight_hh_l1"])
    for wrong in (["gru_0", "gru_2"], ["gru_1", "gru_0"]):
        with pytest.raises(InputError, match=r"'gru_\d' does not take the output of 'gru_\d' alone and as it is"):
            interop.load(file, wrong)
    for unknown in ("gru", [], ["gru_0", "x"]):
        with pytest.raises(InputError, match=r"expected names of GRU nodes: 'gru_0', 'gru_1', 'gru_2'"):
            interop.load(file, unknown)

    branch = helper.make_graph(file.graph.node, "branch", [], [helper.make_tensor_value_info("x_2", FLOAT, None)])
    condition = helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, [])
    choice = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
    whole = helper.make_graph(
        [choice],
        "whole",
        [*file.graph.input, condition],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        file.graph.initializer,
    )
    with pytest.raises(InputError, match="the graph has 6 GRU nodes that are not one chain"):
        interop.load(helper.make_model(whole))
    del choice.attribute[1].g.node[:]
    whole.node[0].CopyFrom(choice)
    assert same(interop.load(helper.make_model(whole)), model)


@pytest.mark.parametrize("between", ["Relu", "Transpose"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_stands_between_is_seen(between: str, bidirectional: bool) -> None:
    nodes = interop.save(random_model(GRU(4, 4, num_layers=2, bidirectional=bidirectional)))
    with pytest.raises(
        InputError, match="the graph has 2 GRU nodes that are not one chain: choose with nodes= from 'gru_0', 'gru_1'"
    ):
        interop.load(file_of(nodes, between=between))
    assert interop.load(file_of(nodes, between="Identity"))


@pytest.mark.parametrize("merge", [(-1, 0, 8), (0, -1, 8), (0, 0, 8)])
def test_ways_to_write_a_merge_of_directions(merge: tuple[int, int, int]) -> None:
    model = random_model(GRU(4, 4, num_layers=2, bidirectional=True))
    assert same(interop.load(file_of(interop.save(model), merge=merge)), model)
    for unsure in ((T, B, -1), (0, 0, 4), (8, 0, -1)):
        with pytest.raises(InputError, match="not one chain"):
            interop.load(file_of(interop.save(model), merge=unsure))


def node_cases() -> Iterator[Any]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other operators' cases
        yield from (case for case in load_model_tests(kind="node") if case.name.startswith("test_gru_"))


def bound(case: Any) -> Any:
    """The case's model with the weights it is fed made constants."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    feeds = dict(zip([i.name for i in model.graph.input], case.data_sets[0][0], strict=True))
    for name in set(feeds) & {"W", "R", "B"}:
        model.graph.initializer.append(numpy_helper.from_array(feeds[name], name))
        model.graph.input.remove(next(i for i in model.graph.input if i.name == name))
    return model


def test_the_node_tests_of_onnx() -> None:
    outcome = {}
    for case in node_cases():
        x, expected = case.data_sets[0][0][0], case.data_sets[0][1]
        with pytest.raises(
            InputError, match=r"W = 'W', which is no constant: an input, or|has direction 'reverse' alone"
        ):
            interop.load(case.model)  # weights that change from call to call are no Model's
        file = bound(case)
        gru = file.graph.node[0]
        options = {a.name: helper.get_attribute_value(a) for a in gru.attribute}
        turn = slice(None)
        if options.get("direction") == b"reverse":
            with pytest.raises(
                InputError, match="has direction 'reverse' alone, which no Model has: turn the sequence"
            ):
                interop.load(file)
            turn = slice(None, None, -1)  # as the message says
            gru.attribute.remove(next(a for a in gru.attribute if a.name == "direction"))
        model = interop.load(file)
        by_time = x.swapaxes(0, 1) if options.get("layout") else x
        y = Session(model).run(by_time[turn])[0][turn]
        H, D = options["hidden_size"], len(case.data_sets[0][0][1])
        y = y.reshape(*y.shape[:2], D, H)
        y_h = np.stack([y[0 if d or turn.step else -1, :, d] for d in range(D)])
        found = {"Y": y.transpose(0, 2, 1, 3), "Y_h": y_h}
        if options.get("layout"):
            found = {"Y": y.swapaxes(0, 1), "Y_h": y_h.swapaxes(0, 1)}
        names = [name for name in gru.output if name]
        for name, theirs in zip(names, expected, strict=True):
            np.testing.assert_allclose(found[name], theirs, rtol=case.rtol, atol=case.atol)  # the suite's own tolerance
        outcome[case.name] = "reproduced" if turn.step is None else "refused; reproduced on a turned sequence"
    assert outcome == {
        "test_gru_batchwise": "reproduced",
        "test_gru_bidirectional": "reproduced",
        "test_gru_defaults": "reproduced",
        "test_gru_reverse": "refused; reproduced on a turned sequence",
        "test_gru_seq_length": "reproduced",
        "test_gru_with_initial_bias": "reproduced",
    }


def changed(change: Callable[[Any, Any], object], **options: Any) -> Any:
    """A file of one node, after ``change(graph, gru node)``."""
    file = file_of(interop.save(random_model(GRU(3, 4))), **options)
    change(file.graph, next(node for node in file.graph.node if node.op_type == "GRU"))
    return file


def feed(name: str, place: int, array: Array | None = None, *spread: str) -> Callable[[Any, Any], None]:
    """Put ``name``, a constant if ``array`` is given, perhaps spread by other nodes, into one of the inputs."""

    def change(graph: Any, gru: Any) -> None:
        if array is not None:
            graph.initializer.append(numpy_helper.from_array(array, name))
        source = name
        for i, kind in enumerate(spread):
            graph.node.insert(i, helper.make_node(kind, [source, "axes"], [f"spread_{i}"]))
            source = f"spread_{i}"
        gru.input[place] = source

    return change


def outside(graph: Any, gru: Any) -> None:
    graph.initializer[2].data_location = onnx.TensorProto.EXTERNAL
    graph.initializer[2].external_data.add(key="location", value="../../etc/passwd")


def shorten(graph: Any, gru: Any) -> None:
    graph.initializer[2].dims[1] = 1 << 40


ZEROS = np.zeros((1, B, 4), np.float32)
W, R = np.zeros((1, 12, 3), np.float32), np.zeros((1, 12, 4), np.float32)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (lambda: changed(lambda *_: None, clip=2.0), "'gru_0' has clip 2.0, expected none"),
        (lambda: changed(lambda *_: None, activations=["Sigmoid", "Relu"]), "has activations .'Sigmoid', 'Relu'., exp"),
        (
            lambda: changed(lambda *_: None, direction="reverse"),
            "has direction 'reverse' alone, which no Model has: turn",
        ),
        (lambda: changed(lambda *_: None, direction="up"), "has direction 'up'"),
        (lambda: changed(feed("x", 1)), "has W = 'x', which is no constant: an input, or computed"),
        (lambda: changed(feed("x", 1, None, "Relu")), "which is no constant: an input, or computed by Relu 'spread_0'"),
        (lambda: changed(feed("", 1)), "'gru_0' lacks W or R"),
        (lambda: changed(feed("x", 3)), "has B = 'x', which is no constant"),
        (lambda: changed(feed("W2", 1, W[:, :9])), r"has W \(1, 9, 3\) and R \(1, 12, 4\), expected \(1, 12, I\) and"),
        (lambda: changed(feed("R2", 2, R[0])), r"and R \(12, 4\), expected"),
        (lambda: changed(feed("R2", 2, np.float32(1))), r"and R \(\), expected"),
        (lambda: changed(lambda *_: None, direction="bidirectional"), r"expected \(2, 12, I\) and \(2, 12, 4\)"),
        (lambda: changed(feed("B2", 3, np.zeros((1, 23), np.float32))), r"has B \(1, 23\), expected \(1, 24\)"),
        (lambda: changed(feed("W2", 1, W.astype(int))), "W of 'gru_0' is int64, expected floating-point numbers"),
        (lambda: changed(feed("W2", 1, W + np.float64(0.1))), "W of 'gru_0' is float64 and float32 would round it"),
        (
            lambda: changed(feed("n", 4, np.array([1, 2, 3], np.int32))),
            "a constant sequence_lens, expected sequences of",
        ),
        (
            lambda: changed(feed("h", 5, ZEROS + 1)),
            "a constant initial_h that is not zero: no Model keeps an initial st",
        ),
        (lambda: changed(feed("h", 5, ZEROS + 1, "Identity", "Expand")), "a constant initial_h that is not zero"),
        (lambda: changed(outside), "lies in another file: save the ONNX file with its weights inside"),
        (lambda: changed(shorten), "is damaged"),
        (lambda: helper.make_model(helper.make_graph([], "empty", [], [])), "the graph has no GRU node"),
        (lambda: b"", "the graph has no GRU node"),
        (lambda: b"\xff" * 99, "this is not ONNX, or is damaged"),
        (
            lambda: file_of(interop.save(random_model(GRU(3, 4)))).SerializeToString()[:-9],
            "this is not ONNX, or is dam",
        ),
        (lambda: "gru.onnx", "source is a str, expected an onnx.ModelProto, its bytes or Nodes"),
        (lambda: ["gru.onnx"], "expected every item to be a Node"),
        (list, "there are no layers"),
    ],
)
def test_what_is_refused(file: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interop.load(file())


ATTRIBUTES = {
    "hidden_size": int,
    "layout": int,
    "linear_before_reset": int,
    "clip": float,
    "direction": str,
    "activations": list,
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_of_another_type(name: str) -> None:
    """Two of these came up when bytes of files were changed at random."""
    for value in (2, 2.0, "b", [2.0], ["b"], numpy_helper.from_array(ZEROS)):
        if isinstance(value, ATTRIBUTES[name]):
            continue
        two = file_of(interop.save(random_model(GRU(4, 4, num_layers=2))))
        for gru in (node for node in two.graph.node if node.op_type == "GRU"):
            kept = [a for a in gru.attribute if a.name != name]
            del gru.attribute[:]
            gru.attribute.extend([*kept, helper.make_attribute(name, value)])
        kinds = rf"of type \w+, expected {ATTRIBUTES[name].__name__}"
        with pytest.raises(InputError, match=f"'gru_0' has an attribute {name} {kinds}"):
            interop.load(two)


def test_what_makes_no_difference() -> None:
    model = random_model(GRU(3, 4))
    assert same(interop.load(changed(feed("h", 5, ZEROS))), model)
    assert same(interop.load(changed(feed("h", 5, ZEROS, "Identity", "Expand"))), model)
    assert same(interop.load(changed(lambda *_: None, activations=["Sigmoid", "Tanh"], clip=0.0)), model)
    for opset in (7, 22):
        assert same(interop.load(changed(lambda *_: None, opset=opset)), model)


def test_a_function_takes_its_weights_as_inputs() -> None:
    gru = helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=4)
    opset = [helper.make_opsetid("", 14)]
    function = helper.make_function("local", "layer", ["x", "w", "r"], ["y"], [gru], opset)
    file = helper.make_model(helper.make_graph([], "g", [], []), functions=[function], opset_imports=opset)
    with pytest.raises(InputError, match="'y' has W = 'w', which is no constant"):
        interop.load(file)


def test_files(tmp_path: Path) -> None:
    model = random_model(GRU(3, 4), GRU(4, 2))
    path = tmp_path / "gru.onnx"
    with pytest.raises(FileNotFoundError):
        interop.load_file(path)
    whole = file_of(interop.save(model)).SerializeToString()
    path.write_bytes(whole)
    assert same(interop.load_file(path), model)
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="gru.onnx': this is not ONNX, or is damaged"):
        interop.load_file(path)
    with path.open("wb") as file:
        file.truncate(10 << 30)  # takes no room on the disk
    with pytest.raises(InputError, match="has 10,737,418,240 bytes, and no ONNX file is larger"):
        interop.load_file(path)
    with pytest.raises(InputError, match="the model has Linear beside GRU"):
        interop.save(random_model(GRU(3, 4), Linear(4, 1)))


def test_without_the_package() -> None:
    code = """
import sys
sys.modules["onnx"] = None
from grus.interop import onnx
try:
    onnx.load(b"")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout == f"reading ONNX needs the package onnx: {installed.command('onnx')}\n"
