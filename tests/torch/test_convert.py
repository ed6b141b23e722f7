"""``grus.torch.convert``: what it replaces, what it keeps, what it leaves alone and why."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from benchmarks.models import CASES, Case, TextClassifier, train
from beside_torch import close
from torch import nn
from torch.nn.utils import parametrize, prune

import grus.torch
from grus.torch import convert, revert

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def sequence(module: Any) -> torch.Tensor:
    return torch.randn(6, 3, module.input_size, generator=torch.Generator().manual_seed(1))


@cases
def test_a_real_model_gives_the_same(case: Case) -> None:
    torch.manual_seed(3)
    theirs = case.make().eval()
    ours = copy.deepcopy(theirs)
    convert(ours)
    batch = case.batch(0)
    results = []
    for model in (theirs, ours):
        outputs = case.outputs(model, batch)
        gradients = torch.autograd.grad(case.loss(model, batch), list(model.parameters()))
        results.append([*outputs, *gradients])
    for one, other in zip(*results, strict=True):
        close(other, one)
    assert not any(type(module) in (nn.GRU, nn.GRUCell) for module in ours.modules())
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.slow
@cases
def test_a_real_model_trains_alike(case: Case) -> None:
    """200 steps of Adam, with dropout where the model has it: a plot could not tell the curves apart."""
    torch.manual_seed(3)
    theirs = case.make()
    ours = copy.deepcopy(theirs)
    convert(ours)
    curves = [train(model, case, 200) for model in (theirs, ours)]
    first, last = curves[0][0], sum(curves[0][-20:]) / 20
    assert last < 0.7 * first, "the model learns"
    assert max(abs(a - b) for a, b in zip(*curves, strict=True)) <= 1e-3 * first


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.GRU(5, 7, 2, dropout=0.1)))
        self.shared = nn.GRU(7, 7, bidirectional=True, bias=False)
        self.decoder = nn.ModuleDict({"again": self.shared, "cell": nn.GRUCell(14, 3)})
        self.memory = nn.LSTM(3, 3)


def test_what_it_did_is_told() -> None:
    model = Model()
    result = convert(model)
    assert result.module is model and result.skipped == {}
    assert list(result.converted) == ["shared", "encoder.1.0", "decoder.again", "decoder.cell"]
    assert str(result).splitlines() == [
        "grus.torch.convert: 4 of 4 GRU modules converted",
        "  shared: GRU(7, 7, bias=False, bidirectional=True)",
        "  encoder.1.0: GRU(5, 7, num_layers=2, dropout=0.1)",
        "  decoder.again: GRU(7, 7, bias=False, bidirectional=True)",
        "  decoder.cell: GRUCell(14, 3)",
    ]
    assert type(model.encoder[1][0]) is grus.torch.GRU and type(model.decoder["cell"]) is grus.torch.GRUCell  # type: ignore[index]
    assert model.shared is model.decoder["again"] and type(model.memory) is nn.LSTM
    again = convert(model)
    assert again.converted == {} and again.skipped == {}, "what is ours already is left as it is"
    assert str(convert(nn.Linear(2, 2))) == "grus.torch.convert: 0 of 0 GRU modules converted"


def test_parameters_are_the_very_same_and_an_optimiser_goes_on() -> None:
    model = Model()
    before = dict(model.named_parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    model.encoder.requires_grad_(False).eval()
    convert(model)
    after = dict(model.named_parameters())
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)
    gru: Any = model.encoder[1]
    assert not gru[0].training and not any(p.requires_grad for p in gru.parameters()) and model.shared.training
    kept = model.shared.weight_hh_l0.detach().clone()
    model.shared(torch.randn(4, 2, 7))[0].sum().backward()
    optimiser.step()
    assert not torch.equal(model.shared.weight_hh_l0, kept)


@pytest.mark.parametrize("kind", [nn.GRU, nn.GRUCell])
def test_the_root_itself(kind: type[nn.Module]) -> None:
    root = kind(5, 7)
    result = convert(root)
    assert isinstance(result.module, grus.torch.GRU | grus.torch.GRUCell)
    assert result.converted == {"": repr(root)}
    assert "the module itself: " in str(result)
    assert all(a is b for a, b in zip(result.module.parameters(), root.parameters(), strict=True))
    x = torch.randn(3, 5)
    ours, theirs = result.module(x), root(x)
    close(ours if kind is nn.GRUCell else ours[0], theirs if kind is nn.GRUCell else theirs[0])


def test_a_converted_module_is_like_one_made_new() -> None:
    gru: Any = convert(nn.GRU(5, 7, 2, batch_first=True, bidirectional=True, dropout=0.3)).module
    made = grus.torch.GRU(5, 7, 2, batch_first=True, bidirectional=True, dropout=0.3)
    assert set(vars(gru)) == set(vars(made)) and repr(gru) == repr(made)
    assert [[w.shape for w in ws] for ws in gru.all_weights] == [[w.shape for w in ws] for ws in made.all_weights]
    made.load_state_dict(gru.state_dict())
    x = torch.randn(3, 6, 5)
    for twin in (made, copy.deepcopy(gru), pickle.loads(pickle.dumps(gru))):
        assert torch.equal(twin.eval()(x)[0], gru.eval()(x)[0])
    gru.reset_parameters()
    gru.double().float().flatten_parameters()
    cell = convert(nn.GRUCell(5, 7, bias=False)).module
    assert set(vars(cell)) == set(vars(grus.torch.GRUCell(5, 7, bias=False)))


def test_the_old_module_is_set_free() -> None:
    model = nn.Sequential(nn.GRU(5, 7))
    old = weakref.ref(model[0])
    convert(model)
    gc.collect()
    assert old() is None


def test_hooks_and_attributes_go_along() -> None:
    model = nn.Sequential(nn.GRU(5, 7))
    seen: list[str] = []
    old: Any = model[0]
    old.note = "mine"
    old.register_buffer("seen", torch.ones(2))
    before = old.register_forward_pre_hook(lambda module, args: seen.append(f"before {type(module).__module__}"))
    old.register_forward_hook(lambda module, args, result: seen.append("after"))
    old.register_full_backward_hook(lambda module, grad_in, grad_out: seen.append("backward"))
    old.weight_hh_l0.register_hook(lambda gradient: seen.append("weight"))
    convert(model)
    gru: Any = model[0]
    assert gru.note == "mine" and torch.equal(gru.seen, torch.ones(2)) and "0.seen" in model.state_dict()
    x = sequence(gru).requires_grad_()
    model(x)[0].sum().backward()
    assert sorted(seen) == ["after", "backward", "before grus.torch.gru", "weight"]
    before.remove()
    seen.clear()
    model(x)
    assert seen == ["after"]


class Double(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def test_parametrizations_go_along() -> None:
    model = nn.Sequential(nn.GRU(5, 7))
    parametrize.register_parametrization(model[0], "weight_hh_l0", Double())
    nn.utils.parametrizations.weight_norm(model[0], "weight_ih_l0")
    theirs = copy.deepcopy(model[0])
    parameters = dict(model.named_parameters())
    result = convert(model)
    gru: Any = model[0]
    assert list(result.converted) == ["0"] and isinstance(gru, grus.torch.GRU)
    assert parametrize.is_parametrized(gru, "weight_hh_l0") and parametrize.is_parametrized(gru, "weight_ih_l0")
    assert all(p is parameters[name] for name, p in model.named_parameters())
    x = sequence(gru)
    for module in (gru, copy.deepcopy(gru)):
        close(module(x)[0], theirs(x)[0])
    gru(x)[0].sum().backward()
    theirs(x)[0].sum().backward()
    for (name, one), other in zip(gru.named_parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None, name
        close(one.grad, other.grad)
    parametrize.remove_parametrizations(gru, "weight_hh_l0")
    close(gru(x)[0], theirs(x)[0])


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_pruning_and_the_older_weight_norm_go_along() -> None:
    model = nn.Sequential(nn.GRU(5, 7))
    prune.l1_unstructured(model[0], "weight_hh_l0", amount=0.5)
    nn.utils.weight_norm(model[0], "weight_ih_l0")
    x = sequence(model[0])
    right, _ = model(x)
    convert(model)
    gru: Any = model[0]
    assert isinstance(gru, grus.torch.GRU)
    with torch.no_grad():
        gru.weight_ih_l0_g.mul_(3)
        changed = model(x)[0]
        assert not torch.equal(changed, right)
        gru.weight_ih_l0_g.div_(3)
    again, _ = model(x)
    close(again, right)
    again.sum().backward()
    assert gru.weight_hh_l0_orig.grad is not None and gru.weight_ih_l0_v.grad is not None


class Own(nn.GRU):
    pass


def replaced_forward() -> nn.Module:
    module = nn.GRU(5, 7)
    module.forward = lambda input, hx=None: (input, hx)  # type: ignore[method-assign, assignment]
    return module


def with_load_hook() -> nn.Module:
    module = nn.GRUCell(5, 7)
    module.register_load_state_dict_pre_hook(lambda *_: None)
    return module


def compiled() -> nn.Module:
    module = nn.GRU(5, 7)
    module.compile(backend="eager")
    return module


SKIPPED: dict[str, tuple[Any, str]] = {
    "subclass": (lambda: Own(5, 7), "Own is a subclass of torch.nn.GRU and may do something else"),
    "dtype": (lambda: nn.GRUCell(5, 7, dtype=torch.complex64), "weight_ih is torch.complex64"),
    "forward": (replaced_forward, "its method forward was replaced"),
    "load hook": (with_load_hook, "it has a load_state_dict pre-hook, which is bound to the old module"),
    "scripted": (
        lambda: torch.jit.script(nn.GRU(5, 7)),
        "it is compiled by TorchScript: convert the model before torch.jit.script or trace",
    ),
    "compiled": (compiled, "it is compiled: convert the model before module.compile()"),
    "empty": (lambda: nn.GRUCell(0, 7), "it has no input or no state"),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", SKIPPED)
def test_what_is_left_alone_and_why(name: str) -> None:
    make, reason = SKIPPED[name]
    model = nn.Sequential(nn.GRU(5, 7), make())
    old = model[1]
    result = convert(model)
    assert model[1] is old and isinstance(model[0], grus.torch.GRU)
    assert result.skipped == {"1": reason}
    assert f"1 of 2 GRU modules converted\n  0: GRU(5, 7)\n  1: left as it is, {reason}" in str(result)


def test_a_model_on_the_meta_device_gets_its_weights_later() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.GRU(5, 7, 2))
    convert(model)
    theirs = nn.Sequential(nn.GRU(5, 7, 2))
    assert model(torch.zeros(6, 3, 5, device="meta"))[0].shape == (6, 3, 7)
    model.load_state_dict(theirs.state_dict(), assign=True)
    close(model(sequence(theirs[0]))[0], theirs(sequence(theirs[0]))[0])


def test_a_model_on_another_device_is_converted() -> None:
    class OnCuda(nn.Parameter):
        device = property(lambda self: torch.device("cuda", 0))  # type: ignore[assignment]

    model = nn.Sequential(nn.GRU(5, 7, 2), nn.GRUCell(5, 7))
    for module in model:
        for name, parameter in module._parameters.items():
            assert parameter is not None
            module._parameters[name] = OnCuda(parameter.detach())
    result = convert(model)
    assert list(result.converted) == ["0", "1"] and not result.skipped
    assert isinstance(revert(model), nn.Sequential) and isinstance(model[0], nn.GRU)


def test_what_is_no_module_is_named() -> None:
    with pytest.raises(TypeError, match="module should be a torch.nn.Module, got dict"):
        convert({})  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    theirs = TextClassifier().to(dtype).eval()
    ours = copy.deepcopy(theirs)
    assert list(convert(ours).converted) == ["gru"]
    tokens, lengths, _ = CASES["text classifier"].batch(0)
    one, other = ours(tokens, lengths), theirs(tokens, lengths)
    assert one.dtype == other.dtype == dtype
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12 if dtype == torch.float64 else 2**-6)
