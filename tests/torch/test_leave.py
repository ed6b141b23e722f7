"""A network of ours goes elsewhere: to ONNX through ``torch.onnx.export``, and back to ``torch.nn``."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import close
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence

import grus.torch
from grus import InputError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(params=["dynamo", "TorchScript"])
def dynamo(request: pytest.FixtureRequest) -> bool:
    if request.param == "dynamo":
        pytest.importorskip("onnxscript")
    return bool(request.param == "dynamo")


class Inside(nn.Module):
    """A call of a GRU with h0 or lengths among the arguments of a model."""

    def __init__(self, gru: nn.Module, names: tuple[str, ...] = (), **always: Any) -> None:
        super().__init__()
        self.gru, self.names, self.always = gru, names, always

    def forward(self, x: Any, *more: Any) -> Any:
        return self.gru(x, **dict(zip(self.names, more, strict=True)), **self.always)


def export(model: nn.Module, args: tuple[Any, ...], path: Path, dynamo: bool, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, args, path / "net.onnx", verbose=False, dynamo=dynamo, **options)
    kinds = [node.op_type for node in onnx.load(path / "net.onnx").graph.node]
    return onnxruntime.InferenceSession(path / "net.onnx"), kinds


CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "one layer": ({"batch_first": True}, ()),
    "two layers, two directions, h0": ({"num_layers": 2, "bidirectional": True, "batch_first": True}, ("hx",)),
    "the papers' reset, lengths": ({"num_layers": 2, "bidirectional": True, "reset_after": False}, ("lengths",)),
    "no bias, h0 and lengths": ({"bias": False, "reset_after": False}, ("hx", "lengths")),
}


@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_gives_what_the_module_gives(case: str, dynamo: bool, tmp_path: Path) -> None:
    options, names = CASES[case]
    torch.manual_seed(0)
    gru = grus.torch.GRU(5, 8, **options)
    model = Inside(gru, names).eval()

    def arguments(steps: int, batch: int) -> tuple[Any, ...]:
        x = torch.randn((batch, steps, 5) if gru.batch_first else (steps, batch, 5))
        given = {
            "hx": torch.randn(gru.num_layers * gru._directions, batch, 8),
            "lengths": torch.arange(batch) * steps // batch,  # the first is 0
        }
        return x, *(given[name] for name in names)

    example = arguments(7, 3)
    if "lengths" in names:  # all whole: what the example has is no constant of the graph
        example[-1][:] = 7
    axes = {"x": (0, 1), "hx": (1,), "lengths": (0,)}
    if dynamo:
        free = [dict.fromkeys(axes[name], torch.export.Dim.DYNAMIC) for name in ("x", *names)]
        dynamic: dict[str, Any] = {"dynamic_shapes": (free[0], tuple(free[1:])) if names else (free[0],)}
    else:
        dynamic = {"dynamic_axes": {n: {a: f"{n}{a}" for a in axes[n]} for n in ("x", *names)}}
        dynamic["input_names"] = ["x", *names]
    session, kinds = export(model, example, tmp_path, dynamo, **dynamic)
    assert kinds.count("GRU") == gru.num_layers, "one operator a layer, both directions together"
    for steps, batch in ((7, 3), (11, 2), (1, 5)):
        given = arguments(steps, batch)
        found = session.run(None, {i.name: v.numpy() for i, v in zip(session.get_inputs(), given, strict=True)})
        for right, got in zip(model(*given), found, strict=True):
            np.testing.assert_allclose(got, right.detach().numpy(), rtol=0, atol=2e-6)


def test_a_cell_is_one_step(dynamo: bool, tmp_path: Path) -> None:
    model, given = Inside(grus.torch.GRUCell(5, 4), ("hx",)).eval(), (torch.randn(3, 5), torch.randn(3, 4))
    session, kinds = export(model, given, tmp_path, dynamo)
    assert "GRU" in kinds
    (found,) = session.run(None, {i.name: v.numpy() for i, v in zip(session.get_inputs(), given, strict=True)})
    np.testing.assert_allclose(found, model(*given).detach().numpy(), rtol=0, atol=2e-6)


class Packed(Inside):
    def forward(self, x: Any, *more: Any) -> Any:
        return self.gru(pack_padded_sequence(x, torch.tensor([6, 4, 2])))[1]


x = torch.randn(6, 3, 5)
REFUSED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "layer_norm=True": (lambda: Inside(grus.torch.GRU(5, 4, layer_norm=True)), (x,)),
    "zoneout=0.1": (lambda: Inside(grus.torch.GRU(5, 4, zoneout=0.1)), (x,)),
    "resets=": (lambda: Inside(grus.torch.GRU(5, 4), ("resets",)), (x, torch.zeros(6, 3, dtype=torch.bool))),
    "return_gates=True": (lambda: Inside(grus.torch.GRU(5, 4), return_gates=True), (x,)),
    "lengths=": (lambda: Packed(grus.torch.GRU(5, 4)), (x,)),
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_the_operator_cannot_say_is_named(option: str, dynamo: bool, tmp_path: Path) -> None:
    make, given = REFUSED[option]
    with pytest.raises(Exception, match=r"torch.onnx.export: .*") as found:
        export(make().eval(), given, tmp_path, dynamo)
    assert option in str(found.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_takes_other_lengths_than_its_example() -> None:
    gru = grus.torch.GRU(5, 4)
    traced = torch.jit.trace(Inside(gru, ("lengths",)), (x, torch.tensor([6, 6, 6])), check_trace=False)
    close(traced(x, torch.tensor([6, 4, 0]))[1], gru(x, lengths=[6, 4, 0])[1])


class Double(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def test_there_and_back() -> None:
    model = nn.ModuleDict({"a": nn.GRU(5, 7, 2, dropout=0.1, batch_first=True), "cell": nn.GRUCell(7, 3, bias=False)})
    model["b"] = nn.Sequential(model["a"])
    parametrize.register_parametrization(model["cell"], "weight_hh", Double())
    before, parameters = copy.deepcopy(model).eval(), dict(model.named_parameters())
    grus.torch.convert(model)
    assert grus.torch.revert(model) is model
    back: Any = model.eval()
    assert type(back["a"]) is nn.GRU and back["a"] is back["b"][0] and isinstance(back["cell"], nn.GRUCell)
    assert {"_flat_weights", "_all_weights"} <= set(vars(back["a"])) and set(vars(back["a"])) == set(vars(before["a"]))
    assert list(back.state_dict()) == list(before.state_dict())
    assert all(one is parameters[name] for name, one in back.named_parameters())
    h, _ = back["a"](x.transpose(0, 1))
    right, _ = before["a"](x.transpose(0, 1))
    assert torch.equal(h, right)
    assert torch.equal(back["cell"](h[:, -1]), before["cell"](right[:, -1]))
    h.sum().backward()
    assert all(p.grad is not None for p in back["a"].parameters())
    assert type(grus.torch.revert(grus.torch.GRU(5, 4))) is nn.GRU


def test_what_torch_cannot_say_is_named_and_nothing_changes() -> None:
    model = nn.ModuleDict({"one": grus.torch.GRU(5, 4), "two": grus.torch.GRU(5, 4, reset_after=False, zoneout=0.1)})
    model["cell"] = grus.torch.GRUCell(5, 4, reset_after=False)
    with pytest.raises(InputError) as found:
        grus.torch.revert(model)
    assert "two: reset_after=False, zoneout=0.1; cell: reset_after=False" in str(found.value)
    assert type(model["one"]) is grus.torch.GRU
    with pytest.raises(TypeError, match="module should be a torch.nn.Module, got int"):
        grus.torch.revert(3)  # type: ignore[arg-type]
