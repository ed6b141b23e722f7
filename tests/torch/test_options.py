"""Every option of ``grus.torch.GRU`` beside a spelling of it in PyTorch: values, gradients, masks, modes, seeds."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import gru_spelled as spelling
import numpy as np
import pytest
import torch
from tolerance import check_float32, check_float64, is_right
from torch import Tensor
from torch.nn import functional

import grus.torch
from grus import InputError
from grus.export import agreement
from grus.torch.recurrence import routes

T, B, I, H = 6, 4, 3, 16  # noqa: E741
ALL = {"learn_h0": True, "zoneout": 0.3, "input_dropout": 0.3, "recurrent_dropout": 0.4, "weight_drop": 0.3}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zoneout": {"zoneout": 0.3},
    "input_dropout": {"input_dropout": 0.4},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "weight_drop": {"weight_drop": 0.5},
    "learn_h0": {"learn_h0": True},
    "layer_norm": {"layer_norm": True},
    "all": ALL,
    "all and layer_norm": ALL | {"layer_norm": True},
}
ROWS: dict[str, dict[str, Any]] = {
    "whole": {},
    "lengths": {"lengths": [6, 0, 3, 5]},
    "resets": {"resets": torch.rand(T, B, generator=torch.Generator().manual_seed(0)) < 0.4},
}
ROWS["both"] = ROWS["lengths"] | ROWS["resets"]
SHAPES: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
}


class Tape:
    """Records the masks that a forward pass draws, and gives the same again in another dtype."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.drawn: list[tuple[str, Tensor]] = []
        self.again: Iterator[tuple[str, Tensor]] | None = None
        bernoulli = torch.bernoulli
        patch.setattr(torch, "bernoulli", lambda p: self._mask("zone", p, lambda: bernoulli(p)))
        patch.setattr("grus.torch.gru.dropped", self._dropout)

    def _mask(self, kind: str, like: Tensor, draw: Any) -> Tensor:
        if self.again is not None:
            name, mask = next(self.again)
            assert name == kind and mask.shape == like.shape
            return mask.to(like.dtype)
        self.drawn.append((kind, draw()))
        return self.drawn[-1][1]

    def _dropout(self, x: Tensor, p: float) -> Tensor:
        kind = "weight" if x.requires_grad or x.shape == (3 * H, H) else "input or state"
        return x * self._mask(kind, x, lambda: functional.dropout(torch.ones_like(x), p))

    def masks(self, options: dict[str, Any], dtype: torch.dtype) -> spelling.Masks:
        """By kind. Of each layer the input's mask is drawn before its states'."""
        kinds: dict[str, list[Tensor]] = {"zone": [], "weight": [], "input": [], "state": []}
        directions = 2 if options.get("bidirectional") else 1
        small = [
            kind
            for kind in ("input", "state")
            if options.get({"input": "input_dropout"}.get(kind, "recurrent_dropout"))
        ]
        cycle = [kind for kind in small for _ in range(1 if kind == "input" else directions)]
        for kind, mask in self.drawn:
            if kind == "input or state":
                kind = cycle[(len(kinds["input"]) + len(kinds["state"])) % len(cycle)]
            kinds[kind].append(mask.to(dtype))
        return spelling.Masks(kinds["input"], kinds["weight"], kinds["zone"], kinds["state"])


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    return Tape(monkeypatch)


def made(options: dict[str, Any], dtype: torch.dtype = torch.float32) -> grus.torch.GRU:
    torch.manual_seed(1)
    module = grus.torch.GRU(I, H, **options)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
            if name.startswith("norm"):
                parameter.mul_(0.25)  # a recurrence that does not blow up the roundings of its first steps
    return module.to(dtype)


def inputs(options: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    states = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    x, h0 = torch.randn(T, B, I, generator=generator), torch.randn(states, B, H, generator=generator)
    return x.to(dtype).requires_grad_(), h0.to(dtype).requires_grad_()


def moved(tensor: Tensor, seed: int) -> Tensor:
    return torch.tensor(agreement.moved(tensor.detach().numpy(), np.random.default_rng(seed))).requires_grad_()


def with_gradients(results: dict[str, Tensor], leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """The results, and the gradients by name of a loss that weighs every element of each."""
    generator = torch.Generator().manual_seed(3)
    loss = sum((torch.randn(one.shape, generator=generator).to(one.dtype) * one).sum() for one in results.values())
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)  # type: ignore[arg-type]
    found = {
        f"d{name}": torch.zeros_like(leaves[name]) if g is None else g
        for name, g in zip(leaves, gradients, strict=True)
    }
    return {name: tensor.detach() for name, tensor in (results | found).items()}


def ours(
    options: dict[str, Any], rows: dict[str, Any], dtype: torch.dtype, train: bool, with_gates: bool, given_h0: bool
) -> dict[str, Tensor]:
    module = made(options, dtype).train(train)
    x, h0 = inputs(options, dtype)
    y, h_n, *rest = module(x, h0 if given_h0 else None, return_gates=with_gates, **rows)
    results = {"y": y, "h_n": h_n}
    for i, own in enumerate(rest[0] if rest else ()):
        results |= {f"{name}{i}": gate for name, gate in zip("rzn", own, strict=True)}
    return with_gradients(results, dict(module.named_parameters()) | {"x": x, "given h0": h0})


def spelled(
    options: dict[str, Any],
    rows: dict[str, Any],
    dtype: torch.dtype,
    train: bool,
    tape: Tape,
    with_gates: bool,
    given_h0: bool,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """With a seed, of the problem :func:`moved` so."""
    weights = dict(made(options, dtype).named_parameters())
    x, h0 = inputs(options, dtype)
    if seed is not None:
        weights = {name: moved(one, seed + i) for i, (name, one) in enumerate(weights.items())}
        x, h0 = moved(x, seed + 50), moved(h0, seed + 51)
    first = h0
    if not given_h0:
        first = weights["h0"][:, None].expand(h0.shape) if "h0" in weights else torch.zeros_like(h0)
    masks = tape.masks(options, dtype) if train else None
    results = spelling.run(weights, x, first, options, masks=masks, **rows)
    if not with_gates:
        results = {name: results[name] for name in ("y", "h_n")}
    return with_gradients(results, weights | {"x": x, "given h0": h0})


@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
def test_values_and_gradients(
    options: dict[str, Any],
    rows: dict[str, Any],
    shape: dict[str, Any],
    reset_after: bool,
    train: bool,
    tape: Tape,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = options | shape | {"reset_after": reset_after}
    with_gates, given_h0 = "lengths" in rows or "zoneout" in options, "resets" in rows and "lengths" not in rows
    got32 = ours(options, rows, torch.float32, train, with_gates, given_h0)
    tape.again = iter(tape.drawn)
    got64 = ours(options, rows, torch.float64, train, with_gates, given_h0)
    arguments = train, tape, with_gates, given_h0
    exact, baseline = (spelled(options, rows, dtype, *arguments) for dtype in (torch.float64, torch.float32))
    tape.again = iter(tape.drawn)
    monkeypatch.setattr(routes, "route", lambda *tensors: "plain")
    batched = ours(options, rows, torch.float32, train, with_gates, given_h0)
    baselines = [baseline, batched]
    if not all(
        is_right(got32[name].numpy(), right.numpy(), *(one[name].numpy() for one in baselines))
        for name, right in exact.items()
    ):
        baselines += [spelled(options, rows, torch.float32, *arguments, seed=seed) for seed in range(0, 800, 100)]
    assert list(got32) == list(got64) == list(exact)
    for name, right in exact.items():
        check_float64(name, got64[name].numpy(), right.numpy())
        check_float32(name, got32[name].numpy(), right.numpy(), *(one[name].numpy() for one in baselines))


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradcheck(options: dict[str, Any], reset_after: bool) -> None:
    """First and second derivatives in float64, the masks held by the seed."""
    module = made(options | {"reset_after": reset_after, "bidirectional": True}, torch.float64)
    x, h0 = (
        tensor.detach()[:, :2].clone().requires_grad_() for tensor in inputs({"bidirectional": True}, torch.float64)
    )
    resets = torch.tensor([[False, False], [False, True], [True, False]])

    def f(x: Tensor, h0: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        named = dict(zip(dict(module.named_parameters()), weights, strict=True))
        keywords = {"lengths": [3, 2], "resets": resets}
        y, h_n = torch.func.functional_call(module, named, (x, h0), keywords)
        return y, h_n

    x = x.detach()[:3].requires_grad_()
    leaves = (x, h0, *module.parameters())
    assert torch.autograd.gradcheck(f, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, leaves, fast_mode=True)


RANDOM = ["zoneout", "input_dropout", "recurrent_dropout", "weight_drop", "all"]


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_repeats_the_masks_and_evaluation_draws_none(name: str) -> None:
    module = made(OPTIONS[name] | {"num_layers": 2})
    x, _ = inputs({}, torch.float32)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return module(x)[0].detach()

    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))
    module.eval()
    before = torch.get_rng_state()
    assert torch.equal(run(0), run(1))
    torch.set_rng_state(before)
    module(x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["input_dropout", "recurrent_dropout", "weight_drop"])
def test_evaluation_is_that_of_a_gru_without(name: str) -> None:
    module = made(OPTIONS[name] | {"bidirectional": True}).eval()
    plain = grus.torch.GRU(I, H, bidirectional=True)
    plain.load_state_dict(module.state_dict())
    x, _ = inputs({}, torch.float32)
    assert all(map(torch.equal, module(x), plain(x)))


def share(count: float, total: int, p: float) -> None:
    """``count`` of ``total`` draws of probability ``p``, within five standard deviations."""
    assert abs(count / total - p) <= 5 * (p * (1 - p) / total) ** 0.5


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_zoneout_keeps_that_share_of_the_units_each_step_anew(p: float) -> None:
    torch.manual_seed(0)
    module = grus.torch.GRU(8, 32, zoneout=p)
    y, _ = module(torch.randn(50, 40, 8))
    kept = (y[1:] - y[:-1]).abs() < 1e-6
    share(float(kept.sum()), kept.numel(), p)
    both = kept[1:] & kept[:-1]
    share(float(both.sum()), both.numel(), p * p)  # of the steps, independent
    both = kept[..., 1:] & kept[..., :-1]
    share(float(both.sum()), both.numel(), p * p)  # of the units


def test_zoneout_in_evaluation_is_the_expectation_of_training() -> None:
    torch.manual_seed(0)
    rows = 20000
    module = grus.torch.GRU(3, 4, zoneout=0.3, dtype=torch.float64)
    x, h = torch.randn(1, 1, 3).double().expand(1, rows, 3), torch.randn(1, 1, 4).double().expand(1, rows, 4)
    drawn, _ = module(x, h)
    expected, _ = module.eval()(x, h)
    deviation = drawn[0].std(0) / rows**0.5
    assert ((drawn[0].mean(0) - expected[0, 0]).abs() <= 5 * deviation + 1e-12).all()


def test_dropout_has_one_mask_for_a_sequence(tape: Tape) -> None:
    torch.manual_seed(0)
    options = {"num_layers": 2, "bidirectional": True, "input_dropout": 0.25, "recurrent_dropout": 0.5}
    grus.torch.GRU(40, 30, **options)(torch.randn(7, 50, 40))
    masks = tape.masks(options, torch.float32)
    assert [mask.shape for mask in masks.inputs] == [(50, 40), (50, 60)]
    assert [mask.shape for mask in masks.states] == [(50, 30)] * 4
    for mask, p in [(one, 0.25) for one in masks.inputs] + [(one, 0.5) for one in masks.states]:
        assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}
        share(float((mask == 0).sum()), mask.numel(), p)
    assert not torch.equal(masks.states[0], masks.states[1])


def test_input_dropout_drops_the_same_inputs_all_along() -> None:
    torch.manual_seed(0)
    module = grus.torch.GRU(64, 9, input_dropout=0.5)
    x = torch.randn(10, 5, 64, requires_grad=True)
    (dx,) = torch.autograd.grad(module(x)[0].sum(), x)
    dropped = dx == 0
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    share(float(dropped[0].sum()), dropped[0].numel(), 0.5)


def test_weight_drop_drops_weights_of_u_anew_each_call() -> None:
    torch.manual_seed(0)
    module = grus.torch.GRU(3, 40, weight_drop=0.3)
    x, h = torch.randn(5, 2, 3), torch.randn(1, 2, 40)
    zeros = []
    for _ in range(2):
        module.zero_grad()
        module(x, h)[0].sum().backward()
        assert module.weight_hh_l0.grad is not None and not (module.weight_ih_l0.grad == 0).any()
        zeros.append(module.weight_hh_l0.grad == 0)
        share(float(zeros[-1].sum()), zeros[-1].numel(), 0.3)
    assert not torch.equal(*zeros)
    kept = module.weight_hh_l0.detach().clone()
    module(x, h)
    assert torch.equal(module.weight_hh_l0, kept) and list(module.state_dict())[1] == "weight_hh_l0"


@pytest.mark.parametrize("name", RANDOM[:4])
def test_a_probability_of_one(name: str) -> None:
    """Everything stays as it was, or is dropped; nothing is divided by zero."""
    torch.manual_seed(0)
    module = grus.torch.GRU(I, H, **{name: 1.0})
    x, h0 = inputs({}, torch.float32)
    y, _ = module(x, h0)
    y.sum().backward()
    assert y.isfinite().all() and all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    if name == "zoneout":
        assert (y - h0).abs().max() < 1e-6
        torch.testing.assert_close(module.eval()(x, h0)[0], h0.expand_as(y))
    else:
        with torch.no_grad():
            dead = made({})
            dead.load_state_dict(module.state_dict())
            if name == "input_dropout":
                dead.weight_ih_l0.zero_()
            else:
                dead.weight_hh_l0.zero_()
        torch.testing.assert_close(y, dead(x, h0)[0])


@pytest.mark.parametrize("name", OPTIONS)
def test_copies_pickles_state_dict_and_repr(name: str) -> None:
    options = OPTIONS[name]
    module = made(options | {"num_layers": 2}).eval()
    assert all(f"{key}={value}" in repr(module) for key, value in options.items())
    x, _ = inputs({}, torch.float32)
    right, _ = module(x)
    fresh = grus.torch.GRU(I, H, num_layers=2, **options).eval()
    fresh.load_state_dict(module.state_dict())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), fresh):
        assert repr(twin) == repr(module) and torch.equal(twin(x)[0], right)
    beyond = set(module.state_dict()) - set(torch.nn.GRU(I, H, 2).state_dict())
    expected = {"h0"} if options.get("learn_h0") else set()
    if options.get("layer_norm"):
        expected |= {f"norm_{kind}_l{layer}" for kind in ("ih", "hh") for layer in (0, 1)}
    assert beyond == expected


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_are_drawn_as_pytorch_draws_them(name: str) -> None:
    torch.manual_seed(5)
    theirs = torch.nn.GRU(I, H, 2, bidirectional=True)
    torch.manual_seed(5)
    module = grus.torch.GRU(I, H, 2, bidirectional=True, **OPTIONS[name])
    for _ in range(2):
        state = module.state_dict()
        assert all(torch.equal(state.pop(key), value) for key, value in theirs.state_dict().items())
        assert all((value == (0 if key == "h0" else 1)).all() for key, value in state.items())
        torch.manual_seed(5)
        module.reset_parameters()


@pytest.mark.parametrize("save_gates", [True, False, None])
def test_saved_gates_change_memory_and_no_value(save_gates: bool | None) -> None:
    x, h0 = inputs({}, torch.float32)
    results = []
    for chosen in (None, save_gates):
        module = made({"save_gates": chosen})
        y, _ = module(x, h0)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, h0])])
    assert all(map(torch.equal, *results))
    assert ("save_gates" in repr(module)) == (save_gates is not None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    options = ALL | {"num_layers": 2, "bidirectional": True, "batch_first": True}
    module = made(options, dtype)
    x = torch.randn(B, T, I, dtype=dtype)
    resets = torch.rand(B, T) < 0.3
    y, h_n, gates = module(x, lengths=[6, 0, 3, 5], resets=resets, return_gates=True)
    assert {one.dtype for one in (y, h_n, *(gate for own in gates for gate in own))} == {dtype}
    (y.float().sum() + gates[0].z.float().sum()).backward()
    module.eval()
    full = copy.deepcopy(module).float()
    for one, exact in zip(module(x, resets=resets)[:2], full(x.float(), resets=resets)[:2], strict=True):
        assert torch.equal(one, exact.to(dtype))


@pytest.mark.parametrize("name", RANDOM)
def test_packed_sequences_take_every_option(name: str, tape: Tape) -> None:
    options = OPTIONS[name] | {"num_layers": 2, "bidirectional": True}
    module = made(options)
    x, _ = inputs(options, torch.float32)
    lengths = [6, 4, 4, 1]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths))
    y, h_n = module(packed)
    tape.again = iter(tape.drawn)
    padded, last = module(x, lengths=lengths)
    assert torch.equal(torch.nn.utils.rnn.pad_packed_sequence(y)[0], padded) and torch.equal(h_n, last)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "zoneout type": ({"zoneout": "half"}, TypeError, "zoneout should be a number, got: str"),
    "zoneout bool": ({"zoneout": True}, TypeError, "zoneout should be a number, got: bool"),
    "zoneout range": ({"zoneout": 1.2}, InputError, "zoneout is 1.2, expected a probability from 0 to 1"),
    "zoneout nan": ({"zoneout": float("nan")}, InputError, "zoneout is nan, expected a probability from 0 to 1"),
    "input_dropout type": ({"input_dropout": None}, TypeError, "input_dropout should be a number, got: NoneType"),
    "input_dropout range": ({"input_dropout": -0.1}, InputError, "input_dropout is -0.1, expected a probability"),
    "recurrent_dropout type": (
        {"recurrent_dropout": [0.1]},
        TypeError,
        "recurrent_dropout should be a number, got: list",
    ),
    "recurrent_dropout range": ({"recurrent_dropout": 2}, InputError, "recurrent_dropout is 2, expected a probability"),
    "weight_drop type": ({"weight_drop": 1j}, TypeError, "weight_drop should be a number, got: complex"),
    "weight_drop range": ({"weight_drop": float("inf")}, InputError, "weight_drop is inf, expected a probability"),
    "layer_norm": ({"layer_norm": 1}, TypeError, "layer_norm should be of type bool, got: int"),
    "learn_h0": ({"learn_h0": "yes"}, TypeError, "learn_h0 should be of type bool, got: str"),
    "reset_after": ({"reset_after": None}, TypeError, "reset_after should be of type bool, got: NoneType"),
    "save_gates": ({"save_gates": 3}, TypeError, "save_gates should be of type bool, or None, got: int"),
    "unknown": ({"zone_out": 0.1}, TypeError, "unexpected keyword argument 'zone_out'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_option_is_named(name: str) -> None:
    options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        grus.torch.GRU(I, H, **options)


@pytest.mark.parametrize("name", ["h0", "norm_ih_l0", "norm_hh_l0"])
def test_a_parameter_of_another_shape_or_dtype_is_named(name: str) -> None:
    for wrong in (
        torch.zeros(2, 2),
        torch.zeros_like(getattr(made({"learn_h0": True, "layer_norm": True}), name)).double(),
    ):
        module = made({"learn_h0": True, "layer_norm": True})
        setattr(module, name, torch.nn.Parameter(wrong))
        with pytest.raises(InputError, match=f"grus.torch.GRU: {name} is "):
            module(torch.zeros(T, B, I))


def test_options_beyond_pytorch_are_keywords() -> None:
    with pytest.raises(TypeError):
        grus.torch.GRU(I, H, 1, True, False, 0.0, False, None, None, False)  # type: ignore[misc]
