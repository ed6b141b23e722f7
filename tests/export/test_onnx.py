"""ONNX files of whole models in ONNX Runtime: the numbers, whole and as streams, what they say, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from implementations import as_model, baseline, case
from implementations import exact as exact_answer
from numpy.typing import NDArray
from test_conformance import SIZES
from test_session import CHAINS, POOLED, TWO_WAY, TWO_WAY_POOLED, inputs, model_of
from tolerance import check_float32

from grus import InputError, Model, Session, exact, installed, quantize
from grus.export import agreement, to_onnx
from grus.export import onnx as exporter
from grus.interop import onnx as interop
from grus.spec import GRU, Block, Spec

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

Array = NDArray[Any]
ALL = CHAINS | POOLED | TWO_WAY | TWO_WAY_POOLED
OPSETS = [14, 17, 18, 21]


def session_of(path: Path) -> Any:
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def states(arrays: tuple[Array, ...]) -> dict[str, Array]:
    return {f"state_{i}": a for i, a in enumerate(arrays)}


@pytest.mark.parametrize("blocks", ALL.values(), ids=ALL)
@pytest.mark.parametrize("opset", OPSETS)
def test_every_block_in_every_opset(blocks: tuple[Block, ...], opset: int, tmp_path: Path) -> None:
    model, x = model_of(*blocks), inputs(blocks, 11, 4)
    found = to_onnx(model, tmp_path / "m.onnx", opset=opset)
    assert found.good and found.numbers > 100
    proto = onnx.load(tmp_path / "m.onnx")
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", opset)]
    ort, grus = session_of(tmp_path / "m.onnx"), Session(model)
    right, plain = (exact.run(blocks, model.arrays, x, dtype=d) for d in (np.float64, np.float32))
    if blocks in (TWO_WAY | TWO_WAY_POOLED).values():
        y, *after = ort.run(None, {"x": x})
        assert len(after) == len(grus.run(x)[1].arrays)
    else:
        _, middle = grus.run(x[:5])
        zeros = grus.initial_state(4).arrays
        begin, *handed = ort.run(None, {"x": x[:5]} | states(zeros))
        check_states(handed, middle.arrays)
        rest, *after = ort.run(None, {"x": x[5:]} | states(tuple(handed)))
        check_float32("y", np.concatenate([begin, rest]), right, plain)
        y, *after = ort.run(None, {"x": x} | states(zeros))
    check_float32("y", y, right, plain)
    check_states(after, grus.run(x)[1].arrays)


def check_states(found: Sequence[Array], ours: Sequence[Array]) -> None:
    """Those of a Pool are sums over the steps."""
    for got, right in zip(found, ours, strict=True):
        assert got.shape == right.shape
        assert np.abs(got - right).max(initial=0) < 1e-6 * max(1, np.abs(right).max(initial=0))


@pytest.mark.parametrize("size", [s for s in SIZES if s[0] * s[1]], ids=lambda s: "T{}-B{}-I{}-H{}".format(*s))
@pytest.mark.parametrize("reset_after", [True, False])
def test_the_sizes_of_the_conformance_test(size: tuple[int, int, int, int], reset_after: bool) -> None:
    """Not among IMPLEMENTATIONS: ONNX Runtime ends its process at an empty sequence or batch, and hides NaN."""
    weights, x, h0, _ = case(*size, reset_after)
    ort = runtime.InferenceSession(exporter.build(as_model(weights), 17), providers=["CPUExecutionProvider"])
    (y,) = ort.run(["y"], {"x": x, "state_0": h0})
    problem = (*size, reset_after)
    check_float32("y", y, exact_answer(problem).y, baseline(problem).y)


def test_what_the_file_says(tmp_path: Path) -> None:
    model = model_of(*CHAINS["deep"])
    to_onnx(model, tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    metadata = {p.key: p.value for p in proto.metadata_props}
    assert metadata["grus.hash"] == model.hash and Spec.from_json(metadata["grus.spec"]) == model.spec
    assert proto.producer_name == "grus"
    grus = [node for node in proto.graph.node if node.op_type == "GRU"]
    resets = [next(a.i for a in node.attribute if a.name == "linear_before_reset") for node in grus]
    assert resets == [1, 1, 0, 1, 1, 1]
    assert not any(a.name == "layout" for node in grus for a in node.attribute)
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes["x"] == ["time", "batch", 7] and shapes["y"] == ["time", "batch", 3]
    assert shapes["state_2"] == shapes["next_state_2"] == ["batch", 6]


def test_equal_models_make_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        to_onnx(model_of(*CHAINS["mean"]), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("blocks", [CHAINS["gru-layers-before"], CHAINS["gru-no-bias"], TWO_WAY["two-way"]])
def test_our_own_files_are_read_again(blocks: tuple[GRU, ...], tmp_path: Path) -> None:
    model = model_of(*blocks)
    to_onnx(model, tmp_path / "m.onnx")
    assert interop.load_file(tmp_path / "m.onnx").hash == model.hash


def other_reset(model: Model, **options: Any) -> list[interop.Node]:
    return [interop.Node(n.W, n.R, n.B, n.direction, 1 - n.linear_before_reset) for n in interop.save(model, **options)]


def other_gates(model: Model, **options: Any) -> list[interop.Node]:
    return [
        interop.Node(np.roll(n.W, n.hidden_size, 1), n.R, n.B, n.direction, 1) for n in interop.save(model, **options)
    ]


@pytest.mark.parametrize("wrong", [other_reset, other_gates])
def test_a_file_that_computes_something_else_is_not_written(
    wrong: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter.graph, "gru_nodes", wrong)
    (tmp_path / "m.onnx").write_bytes(b"the old one")
    with pytest.raises(InputError, match="ONNX Runtime does not compute what the model does, so nothing was written"):
        to_onnx(model_of(GRU(4, 6)), tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"] and (tmp_path / "m.onnx").read_bytes() == b"the old one"


def test_a_biased_last_layer_is_noticed_in_a_bidirectional_model() -> None:
    model = model_of(*TWO_WAY["two-way"])
    one = {name: a + np.float32(1e-4) * (name == "0.bias_hh_l1_reverse") for name, a in model.arrays.items()}
    assert not exporter.prove(Model(model.spec, one), exporter.build(model, 17)).good


def test_the_rule_is_the_one_of_the_tests() -> None:
    model, x = model_of(*CHAINS["deep"]), inputs(CHAINS["deep"])
    expected = agreement.Expected(model, x)
    right = exact.run(model.spec.blocks, model.arrays, x)
    assert expected.compare(right).good and not expected.compare(right + 1e-4).good
    assert not expected.compare(right * np.nan).good and not expected.compare(right[1:]).good


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: to_onnx("m", p), "model is a str"),  # type: ignore[arg-type]
        (lambda p: to_onnx(quantize(model_of(GRU(4, 6)), np.ones((3, 1, 4))), p), r"quantised \(w8a16\)"),
        (lambda p: to_onnx(model_of(GRU(4, 6)), p, opset=13), "opset is 13, expected an integer from 14 to"),
        (lambda p: to_onnx(model_of(GRU(4, 6)), p, opset=900), "opset is 900"),
        (lambda p: exporter.prove(model_of(GRU(4, 6)), b"no graph"), "ONNX Runtime cannot run this file"),
        (
            lambda p: exporter.prove(model_of(GRU(4, 6)), exporter.build(model_of(GRU(4, 6, 2)), 17)),
            "inputs and outputs are .* those of this model",
        ),
        (
            lambda p: exporter.prove(model_of(GRU(4, 6)), exporter.build(model_of(GRU(5, 6)), 17)),
            "ONNX Runtime cannot run this file for this model",
        ),
    ],
)
def test_what_is_refused(call: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        call(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_what_is_missing_is_named(missing: str, python: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
import numpy as np, grus
from grus.export import to_onnx
from grus.spec import GRU, parameters
blocks = (GRU(2, 3),)
model = grus.Model(grus.Spec(blocks), {{n: np.zeros(s, np.float32) for n, s in parameters(blocks).items()}})
try:
    to_onnx(model, {str(tmp_path / "m.onnx")!r})
except grus.InputError as error:
    print(error)
"""
    done = python(code)
    assert done.stdout.endswith(f"{installed.command('onnx')}\n"), done.stderr
