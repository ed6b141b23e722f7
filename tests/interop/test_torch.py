"""To and from torch.nn.GRU: the numbers, the arrays, and what is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from interop.trained import SHAPES, check, inputs, random_model, same
from safetensors.numpy import save_file as write_arrays
from safetensors.torch import save_file as write_tensors

import grus.torch
from grus import InputError, Model, Session
from grus.interop import torch as interop
from grus.spec import GRU, Activation, Bypass, Linear, Mean, Residual

BLOCKS = {name: blocks[0] for name, blocks in SHAPES.items() if len(blocks) == 1}


def module_of(block: GRU) -> torch.nn.GRU:
    sizes = block.input_size, block.hidden_size, block.num_layers
    return torch.nn.GRU(*sizes, bias=block.bias, bidirectional=block.bidirectional)


def tensors(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def trained(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.8, 0.8)
    return module


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_model_becomes_their_layer(block: GRU) -> None:
    model = random_model(block)
    module = module_of(block)
    module.load_state_dict(tensors(interop.save(model)), strict=True)
    x, h0 = inputs(model)
    with torch.no_grad():
        check("torch", module(torch.from_numpy(x), torch.from_numpy(np.stack(h0)))[0].numpy(), model, x, h0)
        check("torch", module(torch.from_numpy(x))[0].numpy(), model, x)
    assert same(interop.load(module.state_dict()), model)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_their_layer_becomes_a_model(block: GRU) -> None:
    module = trained(module_of(block))
    model = interop.load(module.state_dict())
    assert model.spec.blocks == (block,)
    x, h0 = inputs(model)
    with torch.no_grad():
        check("torch", module(torch.from_numpy(x), torch.from_numpy(np.stack(h0)))[0].numpy(), model, x, h0)
    back = interop.save(model)
    assert list(back) == list(module.state_dict())
    assert all(np.array_equal(back[name], tensor.numpy()) for name, tensor in module.state_dict().items())


class Speller(torch.nn.Module):
    """An encoder in a module, a decoder's cell, and other layers of like names."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 3)
        self.encoder = torch.nn.ModuleDict({"gru": torch.nn.GRU(3, 4, bidirectional=True)})
        self.decoder = torch.nn.GRUCell(8, 6)
        self.lstm = torch.nn.LSTM(3, 4)
        self.rnn = torch.nn.RNN(3, 4)
        self.out = torch.nn.Linear(6, 10)


def test_by_prefix_anywhere_in_a_module() -> None:
    module = trained(Speller())
    state = module.state_dict()
    encoder = interop.load(state, "encoder.gru")
    assert same(encoder, interop.load(state, "encoder.gru."))
    assert same(encoder, interop.load(module.encoder["gru"].state_dict()))  # type: ignore[index]
    assert encoder.spec.blocks == (GRU(3, 4, bidirectional=True),)
    with pytest.raises(InputError, match=r"there are 2 GRUs: name one with prefix=, one of 'encoder.gru', 'decoder'"):
        interop.load(state)
    with pytest.raises(InputError, match=r"prefix is 'encoder', expected one of 'encoder.gru', 'decoder'"):
        interop.load(state, "encoder")
    with pytest.raises(InputError, match=r"there is no GRU but an LSTM at 'lstm.': expected one of 'encoder.gru', 'de"):
        interop.load(state, "lstm")

    back = interop.save(encoder, "encoder.gru")
    assert module.load_state_dict(tensors(back), strict=False).unexpected_keys == []
    assert all(np.array_equal(array, state[name].numpy()) for name, array in back.items())


def test_a_cell() -> None:
    module = trained(Speller())
    model = interop.load(module.state_dict(), "decoder")
    x, h0 = inputs(model)
    y, h = [], torch.from_numpy(h0[0])
    with torch.no_grad():
        for x_t in torch.from_numpy(x):
            h = module.decoder(x_t, h)  # type: ignore[operator]
            y.append(h.numpy())
    check("torch", np.stack(y), model, x, h0)
    back = interop.save(model, cell=True)
    assert list(back) == list(module.decoder.state_dict())  # type: ignore[union-attr]
    assert all(np.array_equal(back[n], t.numpy()) for n, t in module.decoder.state_dict().items())  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_safetensors_file(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "speller.safetensors"
    module = trained(Speller()).to(dtype)
    write_tensors(module.state_dict(), path)
    model = interop.load_file(path, "encoder.gru")
    assert same(model, interop.load(module.state_dict(), "encoder.gru"))
    for name, array in interop.save(model, "encoder.gru").items():
        assert np.array_equal(array, module.state_dict()[name].float().numpy())
    again = tmp_path / "again.safetensors"
    interop.save_file(model, again, "a.b")
    assert same(interop.load_file(again), model)


def test_parameters_and_float64_that_float32_holds() -> None:
    module = trained(torch.nn.GRU(3, 4))
    model = interop.load(module.state_dict())
    assert same(interop.load(dict(module.named_parameters())), model)  # which need gradients
    assert same(interop.load(module.double().state_dict()), model)  # they were float32
    with torch.no_grad():
        module.bias_hh_l0[0] = 0.1
    with pytest.raises(InputError, match="bias_hh_l0 is float64 and float32 would round it"):
        interop.load(module.state_dict())


def test_one_gru_of_a_larger_model() -> None:
    blocks = (GRU(3, 4), Residual((GRU(4, 4, reset_after=False),)), Bypass(1, (Linear(3, 2), GRU(2, 5))), Linear(6, 1))
    model = random_model(*blocks, Mean(((GRU(1, 2), Activation(2, "tanh")), (Linear(1, 2),))))
    for name, prefix in {"0": "0", "2.1": "2.1", "4.0.0": "4.0.0"}.items():
        for key, array in interop.save(model, block=name).items():
            assert np.array_equal(array, model.arrays[f"{prefix}.{key}"])
    with pytest.raises(
        InputError, match=r"the model has Bypass, Linear, Mean, Residual beside GRU.* '0', '1.0', '2.1'"
    ):
        interop.save(model)
    with pytest.raises(
        InputError, match=r"block is '3', expected the name of a GRU in the model: '0', '1.0', '2.1', '4"
    ):
        interop.save(model, block="3")
    with pytest.raises(InputError, match=r"'torch' has no GRU with the reset before"):
        interop.save(model, block="1.0")


def state(**changes: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {**interop.save(random_model(GRU(3, 4, num_layers=2))), **changes}
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interop.load([]), r"source is a list, expected a module or a mapping: module.state_dict\(\)"),
        (lambda: interop.load(state(), prefix=3), "prefix is 3, expected a string"),  # type: ignore[arg-type]
        (lambda: interop.load(state(), reset_after=0), "reset_after is 0, expected True or False"),  # type: ignore[arg-type]
        (lambda: interop.load(torch.nn.GRU(3, 4), reset_after=True), "reset_after is read from the module"),
        (lambda: interop.load(torch.nn.LSTM(3, 4, proj_size=2).state_dict()), "but an LSTM with proj_size at ''"),
        (  # whose weights have the shapes of a GRU's
            lambda: interop.load(torch.nn.LSTM(3, 6, proj_size=4).state_dict() | {"weight_hh_l0": np.zeros((12, 4))}),
            r"has \['weight_hr_l0'\] beside what a GRU has",
        ),
        (lambda: interop.load(state(**{"head.weight": np.zeros(3)})), r"at '' has \['head.weight'\] beside"),
        (lambda: interop.load({}), "there is no GRU: expected keys like 'weight_hh_l0'"),
        (lambda: interop.load({"weight_hh_l0": np.zeros((16, 4))}), "there is no GRU but an LSTM at ''"),
        (lambda: interop.load(state(bias_hh_l1=None)), r"the GRU at '' lacks \['bias_hh_l1'\]"),
        (lambda: interop.load(state(weight_ih_l9=np.zeros((12, 4)))), "lacks .*'bias_hh_l2'"),
        (lambda: interop.load(state(weight_ih_l9999=np.zeros((12, 4)))), "num_layers is 10000, expected at most 256"),
        (lambda: interop.load(state(weight_ih=np.zeros((12, 4)))), r"and has \['weight_ih'\] beside what"),
        (
            lambda: interop.load(state(weight_ih_l1=np.zeros((12, 5)))),
            r"'weight_ih_l1' has shape \(12, 5\), expected \(12, 4\)",
        ),
        (lambda: interop.load(state(weight_ih_l0=np.zeros(12))), r"'weight_ih_l0' has shape \(12,\)"),
        (lambda: interop.load(state(weight_hh_l0=np.zeros((12, 4), int))), "weight_hh_l0 is int64, expected floating"),
        (lambda: interop.load(state(bias_hh_l0=np.full(12, np.nan))), "holds NaN or infinity"),
        (lambda: interop.load(state(bias_hh_l0=np.full(12, 1e300))), "float32 would round it"),
        (lambda: interop.load({k: v.to("meta") for k, v in tensors(state()).items()}), "weight_ih_l0 is not an array"),
        (lambda: interop.save(random_model(GRU(3, 4), GRU(4, 5))), "has layers of one kind"),
        (
            lambda: interop.save(random_model(GRU(3, 4, num_layers=2)), cell=True),
            "GRUCell is one layer in one direction",
        ),
        (lambda: interop.save("model.safetensors"), "model is a str, expected a grus.Model"),  # type: ignore[arg-type]
    ],
)
def test_what_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


OF_GRUS: dict[str, tuple[dict[str, Any], str]] = {
    "layer_norm": ({"layer_norm": True}, "layer normalisation"),
    "learn_h0": ({"learn_h0": True}, "a learned initial state"),
}


@pytest.mark.parametrize("option", OF_GRUS)
def test_more_than_a_model_can_say_is_not_left_out(option: str, tmp_path: Path) -> None:
    options, words = OF_GRUS[option]
    both = torch.nn.ModuleDict({"plain": torch.nn.GRU(3, 4), "other": grus.torch.GRU(3, 4, **options)})
    write_tensors(both.state_dict(), tmp_path / "both.safetensors")
    for load in (
        lambda: interop.load(both["other"]),
        lambda: interop.load(both, "other"),
        lambda: interop.load(both["other"].state_dict()),
        lambda: interop.load_file(tmp_path / "both.safetensors", "other"),
    ):
        with pytest.raises(InputError, match=f"the GRU at '.*' has .*{words}.*no block of a Model has that"):
            load()
    assert same(interop.load(both, "plain"), interop.load(both["plain"]))


def test_a_module_says_its_options(tmp_path: Path) -> None:
    before = trained(grus.torch.GRU(3, 4, 2, reset_after=False, dropout=0.5, weight_drop=0.5)).eval()
    model = interop.load(before)
    assert model.spec.blocks == (GRU(3, 4, 2, reset_after=False),)
    assert same(model, interop.load(torch.nn.ModuleDict({"inner": before})))
    x, _ = inputs(model)
    with torch.no_grad():
        check("grus.torch", before(torch.from_numpy(x))[0].numpy(), model, x)
    write_tensors(before.state_dict(), tmp_path / "before.safetensors")
    assert same(interop.load(before.state_dict(), reset_after=False), model)
    assert same(interop.load_file(tmp_path / "before.safetensors", reset_after=False), model)
    assert interop.load(grus.torch.GRUCell(3, 4, reset_after=False)).spec.blocks == (GRU(3, 4, reset_after=False),)
    assert interop.load(torch.nn.GRU(3, 4)).spec.blocks == (GRU(3, 4),)
    with pytest.raises(InputError, match="has zoneout, and no block of a Model has that"):
        interop.load(grus.torch.GRU(3, 4, zoneout=0.1))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("weight", ["weight_ih_l0", "weight_hh_l0"])
def test_weights_that_are_computed(weight: str, inside: bool) -> None:
    def holding(gru: torch.nn.Module) -> dict[str, Any]:
        return (torch.nn.ModuleDict({"a": gru}) if inside else gru).state_dict()

    parametrized = torch.nn.utils.parametrizations.weight_norm(torch.nn.GRU(3, 4), weight)
    pruned = torch.nn.utils.prune.l1_unstructured(torch.nn.GRU(3, 4), weight, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normed = torch.nn.utils.weight_norm(torch.nn.GRU(3, 4), weight)
    for module, remedy in (
        (parametrized, "remove_parametrizations"),
        (pruned, "prune.remove"),
        (normed, "remove_weight_norm"),
    ):
        for prefix in (None, "a" if inside else ""):
            with pytest.raises(InputError, match=rf"{weight}.* computed from them: make these plain with .*{remedy}"):
                interop.load(holding(module), prefix)
    torch.nn.utils.parametrize.remove_parametrizations(parametrized, weight)
    torch.nn.utils.prune.remove(pruned, weight)
    for module in (parametrized, pruned):
        assert interop.load(holding(module)).spec.blocks == (GRU(3, 4),)


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    with pytest.raises(FileNotFoundError):
        interop.load_file(path)
    random_model(GRU(3, 4, reset_after=False)).save(path)
    with pytest.raises(InputError, match=r"file.safetensors': is a model of Grus already: grus.load reads it"):
        interop.load_file(path)
    write_arrays({"weight_hh_l0": np.zeros((12, 4), np.float32)}, path)
    with pytest.raises(InputError, match=r"file.safetensors': the GRU at '' lacks \['weight_ih_l0'\]"):
        interop.load_file(path)
    whole = path.read_bytes()
    huge = json.dumps(
        {"weight_hh_l0": {"dtype": "F32", "shape": [30000, 10000], "data_offsets": [0, 1200000000]}}
    ).encode()
    for damaged in (
        whole[:-1],
        whole[:20],
        b"",
        b"\x80\x04pickle",
        len(huge).to_bytes(8, "little") + huge,
        b"\xff" * 64,
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is not a .safetensors file, or is damaged"):
            interop.load_file(path)


def test_a_saved_state_is_a_copy() -> None:
    model = random_model(GRU(3, 4))
    x, _ = inputs(model)
    before = Session(model).run(x)[0]
    for array in interop.save(model).values():
        array[...] = 0
    assert isinstance(model, Model) and np.array_equal(Session(model).run(x)[0], before)
