"""Graphs as exporters make them: the values they give are the Model's, or the Model is refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interop.trained import random_model, same
from numpy.typing import NDArray

from grus import InputError, Session
from grus.interop import onnx as interop
from grus.interop import torch as from_torch
from grus.spec import GRU, Pool

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from interop.test_onnx import FLOAT, file_of  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

Array = NDArray[Any]
T, B = 9, 3


class Encoder(torch.nn.Module):
    def __init__(self, gives: str, layers: int = 2, two: bool = True) -> None:
        super().__init__()
        self.gives, self.gru = gives, torch.nn.GRU(5, 4, layers, bidirectional=two, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        y, h_n = self.gru(x.flip(1) if self.gives == "turned" else x[:, 1:] if self.gives == "later" else x)
        match self.gives:
            case "ends":
                return torch.cat([h_n[-2], h_n[-1]], dim=1) if self.gru.bidirectional else h_n[-1]
            case "reverse first":
                return torch.cat([h_n[-1], h_n[-2]], dim=1)
            case "last step":
                return y[:, -1]
            case "first step":
                return y[:, 0]
        return y, h_n


def exported(module: torch.nn.Module, path: Path, *, dynamo: bool, **options: Any) -> Array:
    """Writes the graph; what the module gives of an x, its first result alone."""
    x = torch.randn(B, T, 5, generator=torch.Generator().manual_seed(0))
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(path), dynamo=dynamo, verbose=False, **options)
        y = module(x)
    result: Array = (y[0] if isinstance(y, tuple) else y).detach().numpy()
    np.save(path.with_suffix(".npy"), x.numpy())
    return result


def ours(path: Path) -> Array:
    x = np.load(path.with_suffix(".npy"))
    return Session(interop.load_file(path)).run(np.ascontiguousarray(x.swapaxes(0, 1)))[0]


@pytest.mark.parametrize(("layers", "two"), [(1, True), (2, False), (3, True)])
@pytest.mark.parametrize("dynamo", [True, False])
def test_pytorch(dynamo: bool, layers: int, two: bool, tmp_path: Path) -> None:
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript, PyTorch's exporter, is not installed")
    path = tmp_path / "m.onnx"
    y = exported(Encoder("all", layers, two), path, dynamo=dynamo)
    np.testing.assert_allclose(ours(path).swapaxes(0, 1), y, atol=1e-5)
    for gives in ("ends", "last step"):
        y = exported(Encoder(gives, layers, two), path, dynamo=dynamo)
        np.testing.assert_allclose(ours(path)[-1], y, atol=1e-5)
        ends = two and gives == "ends"
        assert isinstance(interop.load_file(path).spec.blocks[-1], Pool if ends else GRU)


def test_what_a_graph_gives_is_not_taken_for_something_else(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for gives in ("reverse first", "first step"):
        exported(Encoder(gives), path, dynamo=False)
        with pytest.raises(InputError, match="is neither all steps of its last GRU, nor its last step, nor the last"):
            interop.load_file(path)
    for gives in ("turned", "later"):
        exported(Encoder(gives), path, dynamo=False)
        with pytest.raises(InputError, match="computes more than its GRUs: Slice '"):
            interop.load_file(path)


@pytest.mark.parametrize("merge", [(T, B, 4), (T, -1, 4)])
@pytest.mark.parametrize("two", [True, False])
def test_constants_between_two_nodes(merge: tuple[int, int, int], two: bool) -> None:
    """As PyTorch's default exporter writes them: Transpose and Reshape, with the sizes of the example."""
    module = torch.nn.GRU(5, 4 // (1 + two), 2, bidirectional=two)
    model = from_torch.load(module)

    def graph(shape: tuple[int, ...], x: list[int], perm: list[int]) -> Any:
        file = file_of(interop.save(model), merge=shape)  # type: ignore[arg-type]
        file.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", FLOAT, x))
        for i in range(2):
            if not two:
                place = next(n for n, node in enumerate(file.graph.node) if node.op_type == "Squeeze")
                file.graph.node[place].CopyFrom(helper.make_node("Transpose", [f"y_{i}"], [f"t_{i}"], perm=perm))
                file.graph.node.insert(place + 1, helper.make_node("Reshape", [f"t_{i}", "shape"], [f"x_{i}"]))
        return file

    assert same(interop.load(graph(merge, [T, B, 5], [0, 2, 1, 3])), model)
    for shape in ((B, T, 4), (T * B, 1, 4)):
        with pytest.raises(InputError, match="not one chain"):
            interop.load(graph(shape, [T, B, 5], [0, 2, 1, 3]))


def quantised(array: Array) -> tuple[list[Any], list[Any], Array]:
    scale = np.float32(np.abs(array).max() / 127)
    q = np.round(array / scale).astype(np.int8)
    tensors = [numpy_helper.from_array(q, "q"), numpy_helper.from_array(np.array(scale), "s")]
    return tensors, [helper.make_node("DequantizeLinear", ["q", "s"], ["W"])], q.astype(np.float32) * scale


def halved(array: Array) -> tuple[list[Any], list[Any], Array]:
    half = array.astype(np.float16)
    cast = helper.make_node("Cast", ["half"], ["W"], to=FLOAT)
    return [numpy_helper.from_array(half, "half")], [cast], half.astype(np.float32)


def turned(array: Array) -> tuple[list[Any], list[Any], Array]:
    """As exporters that fold nothing: the gates in another order, cut and put together, times a norm."""
    r, z, n = np.split(array[0], 3)
    tensors = [numpy_helper.from_array(np.concatenate([z, r, n]).T.copy(), "raw")]
    tensors += [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in (("three", [len(r)] * 3), ("zero", [0]))]
    tensors.append(numpy_helper.from_array(np.array(2, np.float32), "two"))
    nodes = [
        helper.make_node("Transpose", ["raw"], ["t"], perm=[1, 0]),
        helper.make_node("Split", ["t", "three"], ["a", "b", "c"], axis=0),
        helper.make_node("Concat", ["b", "a", "c"], ["d"], axis=0),
        helper.make_node("Mul", ["d", "two"], ["e"]),
        helper.make_node("Unsqueeze", ["e", "zero"], ["f"]),
        helper.make_node("Identity", ["f"], ["W"]),
    ]
    return tensors, nodes, 2 * array


@pytest.mark.parametrize("how", [quantised, halved, turned])
def test_weights_that_are_computed_from_constants(how: Any) -> None:
    (node,) = interop.save(random_model(GRU(3, 4)))
    tensors, nodes, right = how(node.W)
    file = file_of([node])
    file.graph.initializer.extend(tensors)
    for i, each in enumerate(nodes):
        file.graph.node.insert(i, each)
    next(n for n in file.graph.node if n.op_type == "GRU").input[1] = "W"
    (found,) = interop.save(interop.load(file))
    np.testing.assert_array_equal(found.W, right)


def test_a_constant_that_would_fill_the_memory_is_not_computed() -> None:
    (node,) = interop.save(random_model(GRU(3, 4)))
    for kind in ("Expand", "Tile"):
        file = file_of([node])
        shape = numpy_helper.from_array(np.array([1, 1 << 20, 1 << 20], np.int64), "large")
        file.graph.initializer.append(shape)
        file.graph.node.insert(0, helper.make_node(kind, ["W_0", "large"], ["W"]))
        next(n for n in file.graph.node if n.op_type == "GRU").input[1] = "W"
        with pytest.raises(InputError, match=f"no constant: an input, or computed by {kind} 'W'"):
            interop.load(file)


def test_weights_in_a_file_beside_it(tmp_path: Path) -> None:
    model, path = random_model(GRU(3, 4, 2)), tmp_path / "m.onnx"
    onnx.save(file_of(interop.save(model)), path, save_as_external_data=True, location="w.data", size_threshold=0)
    assert same(interop.load_file(path), model)
    with pytest.raises(
        InputError, match="lies in another file: save the ONNX file with its weights inside, or give its"
    ):
        interop.load(path.read_bytes())
    data = (tmp_path / "w.data").read_bytes()
    (tmp_path / "w.data").write_bytes(data[:-100])
    with pytest.raises(InputError, match="'w.data', which ends before its numbers do"):
        interop.load_file(path)
    (tmp_path / "w.data").unlink()
    (tmp_path / "other").write_bytes(data)
    (tmp_path / "w.data").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match="'w.data', expected one in the same folder, which is not there"):
        interop.load_file(path)
    file = onnx.load(path, load_external_data=False)
    for tensor in file.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.data"
    path.write_bytes(file.SerializeToString())
    with pytest.raises(InputError, match="expected one in the same folder"):
        interop.load_file(path)


@pytest.mark.parametrize("kind", ["Loop", "Scan"])
def test_a_gru_inside_a_loop_says_what_it_is(kind: str) -> None:
    model = random_model(GRU(3, 4))
    inner = file_of(interop.save(model)).graph
    body = helper.make_graph(inner.node, "body", [], inner.output, inner.initializer)
    loop = helper.make_node(
        kind, [], ["out"], "rounds", body=body, **({"num_scan_inputs": 0} if kind == "Scan" else {})
    )
    out = helper.make_tensor_value_info("out", FLOAT, None)
    file = helper.make_model(helper.make_graph([loop], "g", list(inner.input), [out]))
    said = rf"the GRU 'gru_0' stands in the body of {kind} 'rounds', which runs it once for each of its rounds.*nodes="
    with pytest.raises(InputError, match=said):
        interop.load(file)
    assert same(interop.load(file, "gru_0"), model)
    del body.node[:]
    spelled = helper.make_node(kind, [], ["out"], "rounds", body=body)
    with pytest.raises(InputError, match=f"the graph has no GRU node, but {kind} 'rounds': a GRU that is spelled out"):
        interop.load(helper.make_model(helper.make_graph([spelled], "g", [], [out])))


def test_a_state_that_another_gru_gives_is_not_left_out_in_silence() -> None:
    file = file_of(interop.save(random_model(GRU(4, 4, 2))))
    grus = [node for node in file.graph.node if node.op_type == "GRU"]
    grus[0].output.append("h")
    grus[1].input[5] = "h"
    with pytest.raises(InputError, match="computes more than its GRUs: GRU 'gru_0'"):
        interop.load(file)
    assert interop.load(file, ["gru_0", "gru_1"])
