"""``grus.torch.GRU`` beside ``torch.nn.GRU``: the same calls, results, errors and draws."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from beside_torch import close

import grus.torch
from grus import reference

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-bias": {"bias": False},
    "layers": {"num_layers": 3},
    "two-way": {"bidirectional": True},
    "batch-first": {"batch_first": True},
    "all": {"num_layers": 2, "batch_first": True, "bidirectional": True, "dropout": 0.4},
    "all-no-bias": {"num_layers": 2, "bidirectional": True, "bias": False},
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def pair(dtype: torch.dtype = torch.float32, **options: Any) -> tuple[torch.nn.GRU, grus.torch.GRU]:
    theirs, ours = torch.nn.GRU(5, 7, dtype=dtype, **options), grus.torch.GRU(5, 7, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def inputs(module: Any, T: int = 6, B: int = 4, requires_grad: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    dtype = module.weight_ih_l0.dtype
    rows = module.num_layers * (2 if module.bidirectional else 1)
    x = torch.randn(*((B, T) if module.batch_first else (T, B)), 5, generator=generator, dtype=dtype)
    h0 = torch.randn(rows, B, 7, generator=generator, dtype=dtype)
    return x.requires_grad_(requires_grad), h0.requires_grad_(requires_grad)


@options
@dtypes
def test_values_and_gradients(options: dict[str, Any], dtype: torch.dtype) -> None:
    results = []
    for module in pair(dtype, **options):
        x, h0 = inputs(module, requires_grad=True)
        torch.manual_seed(5)  # dropout draws the same masks
        y, h_n = module(x, h0)
        weights = torch.linspace(-1, 1, y.shape[-1], dtype=dtype)
        loss = (y * weights).sum() + (h_n * h_n).sum()
        results.append((y, h_n, *torch.autograd.grad(loss, [x, h0, *module.parameters()])))
    for one, other in zip(*results, strict=True):
        close(other, one)


@options
@dtypes
def test_without_h0_and_without_batch(options: dict[str, Any], dtype: torch.dtype) -> None:
    theirs, ours = (m.eval() for m in pair(dtype, **options))
    x, h0 = inputs(theirs)
    one = x[0] if theirs.batch_first else x[:, 0]
    for call in ((x,), (x, None), (one,), (one, h0[:, 0])):
        for a, b in zip(ours(*call), theirs(*call), strict=True):
            close(a, b)


@options
def test_state_dict_repr_and_draws_are_those_of_pytorch(options: dict[str, Any]) -> None:
    torch.manual_seed(7)
    theirs = torch.nn.GRU(5, 7, **options)
    torch.manual_seed(7)
    ours = grus.torch.GRU(5, 7, **options)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert isinstance(one, torch.nn.Parameter) and torch.equal(one, other)
    for module in (theirs, ours):
        torch.manual_seed(8)
        module.reset_parameters()
    for one, other in zip(ours.all_weights, theirs.all_weights, strict=True):
        assert all(map(torch.equal, one, other))
    ours.flatten_parameters()
    theirs.load_state_dict(ours.state_dict())
    assert repr(grus.torch.GRU(5, 7, reset_after=False)) == "GRU(5, 7, reset_after=False)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_reset_before_is_the_reference(dtype: torch.dtype, bidirectional: bool) -> None:
    module = grus.torch.GRU(5, 7, bidirectional=bidirectional, dtype=dtype, reset_after=False)
    x, h0 = inputs(module)
    y, h_n = module(x, h0)
    for d, weights in enumerate(module.all_weights):
        order = slice(None, None, -1 if d else 1)
        arrays = [w.detach().numpy() for w in weights]
        right = reference.forward(x.numpy()[order], h0[d].numpy(), *arrays, reset_after=False)[order].copy()
        close(y[..., d * 7 : (d + 1) * 7], torch.from_numpy(right).to(dtype))
        assert torch.equal(h_n[d], y[0 if d else -1, :, d * 7 : (d + 1) * 7])


@pytest.mark.parametrize("which", range(8), ids=lambda i: f"{i:03b}")
@dtypes
def test_gradients_of_any_subset(which: int, dtype: torch.dtype) -> None:
    """x, h0 and the weights may each need a gradient or not."""
    theirs, ours = pair(dtype)
    x, h0 = inputs(ours)
    wanted = [bool(which & 1), bool(which & 2), bool(which & 4)]
    full = theirs(x.requires_grad_(), h0.requires_grad_())[0].square().sum()
    right = torch.autograd.grad(full, [x, h0, *theirs.parameters()])
    ours.requires_grad_(wanted[2])
    x, h0 = x.detach().requires_grad_(wanted[0]), h0.detach().requires_grad_(wanted[1])
    y, _ = ours(x, h0)
    assert y.requires_grad == any(wanted)
    if not any(wanted):
        return
    y.square().sum().backward()
    leaves = [x, h0, *ours.parameters()]
    for leaf, expected, want in zip(leaves, right, [*wanted[:2], *[wanted[2]] * 4], strict=True):
        assert (leaf.grad is not None) == want
        if leaf.grad is not None:
            close(leaf.grad, expected)


def test_gradients_of_single_weights() -> None:
    _, ours = pair()
    x, h0 = inputs(ours)
    ours(x, h0)[0].square().sum().backward()
    for name in dict(ours.named_parameters()):
        alone = copy.deepcopy(ours).requires_grad_(False)
        alone.get_parameter(name).requires_grad_(True)
        alone.zero_grad()
        alone(x, h0)[0].square().sum().backward()
        assert torch.equal(alone.get_parameter(name).grad, ours.get_parameter(name).grad)  # type: ignore[arg-type]
        assert all(p.grad is None for n, p in alone.named_parameters() if n != name)


@pytest.mark.parametrize("use", ["y", "h_n", "one element", "strided"])
@dtypes
def test_gradients_from_any_part_of_the_output(use: str, dtype: torch.dtype) -> None:
    results = []
    for module in pair(dtype, num_layers=2, bidirectional=True):
        x, h0 = inputs(module, requires_grad=True)
        y, h_n = module(x, h0)
        loss = {
            "y": lambda y, h_n: y.sum(),
            "h_n": lambda y, h_n: h_n.sum(),
            "one element": lambda y, h_n: y[2, 1, 3],
            "strided": lambda y, h_n: (y.transpose(0, 2)[::3, :, ::2] ** 2).sum() + h_n.transpose(1, 2).square().sum(),
        }[use](y, h_n)
        results.append(torch.autograd.grad(loss, [x, h0, *module.parameters()]))
    for one, other in zip(*results, strict=True):
        close(other, one)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("more", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False}])
def test_gradcheck(reset_after: bool, more: dict[str, Any]) -> None:
    module = grus.torch.GRU(2, 3, dtype=torch.float64, reset_after=reset_after, **more)
    x = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)
    h0 = torch.randn(len(module.all_weights), 2, 3, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*module.named_parameters(), strict=True)

    def call(x: torch.Tensor, h0: torch.Tensor, *weights: torch.Tensor) -> Any:
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, h0))

    assert torch.autograd.gradcheck(call, (x, h0, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, h0, *weights), fast_mode=True)


@dtypes
def test_a_gradient_penalty_trains(dtype: torch.dtype) -> None:
    results = []
    for module in pair(dtype, num_layers=2, bidirectional=True):
        x, h0 = inputs(module, requires_grad=True)
        y, _ = module(x, h0)
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(gradient.square().sum(), [x, h0, *module.parameters()]))
    for one, other in zip(*results, strict=True):
        close(other, one)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_autograd(mode: Callable[[], Any]) -> None:
    module = grus.torch.GRU(5, 7, 2, bidirectional=True)
    x, h0 = inputs(module)
    y, h_n = module(x, h0)
    with mode():
        again, h_n_again = module(x, h0)
        made_inside, _ = module(x.clone(), h0.clone())
    assert not again.requires_grad and again.grad_fn is None
    assert torch.equal(again, y) and torch.equal(h_n_again, h_n) and torch.equal(made_inside, y)


@dtypes
@options
def test_nothing_to_do(dtype: torch.dtype, options: dict[str, Any]) -> None:
    module = grus.torch.GRU(5, 7, dtype=dtype, **options)
    width = 14 if module.bidirectional else 7
    for T, B in ((0, 3), (4, 0), (0, 0)):
        x, h0 = inputs(module, T, B, requires_grad=True)
        y, h_n = module(x, h0)
        assert y.shape == ((B, T, width) if module.batch_first else (T, B, width)) and h_n.shape == h0.shape
        if T == 0 and module.num_layers == 1:
            assert torch.equal(h_n, h0)
        leaves = [x, h0, *module.parameters()]
        gradients = torch.autograd.grad(y.sum() + h_n.sum(), leaves, allow_unused=True)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            one = T == 0 and leaf is h0
            assert gradient is None or (gradient.shape == leaf.shape and bool((gradient == float(one)).all()))
        assert module(x)[0].shape == y.shape


def test_layouts_of_memory() -> None:
    module = grus.torch.GRU(5, 7, batch_first=True)
    time_major = grus.torch.GRU(5, 7)
    time_major.load_state_dict(module.state_dict())
    x, h0 = inputs(module)
    y, _ = module(x, h0)
    assert y.is_contiguous(), "batch_first lays y out for its caller"
    assert torch.equal(time_major(x.transpose(0, 1), h0)[0], y.transpose(0, 1))
    wide = torch.randn(4, 6, 10)
    wide[..., 2:7] = x
    by_feature = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    expanded = x[:, :1].expand(4, 6, 5)
    for same in (wide[..., 2:7], by_feature, x.flip(1).flip(1)):
        assert torch.equal(module(same, h0)[0], y)
        leaf = same.detach().requires_grad_()
        right = x.detach().clone().requires_grad_()
        for tensor in (leaf, right):
            module(tensor, h0)[0].square().sum().backward()
        assert torch.equal(leaf.grad, right.grad)  # type: ignore[arg-type]
    assert torch.equal(module(expanded, h0)[0], module(expanded.contiguous(), h0)[0])
    states = h0.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert torch.equal(module(x, states)[0], y)


def test_weights_of_any_layout() -> None:
    module = grus.torch.GRU(5, 7)
    x, h0 = inputs(module)
    y, _ = module(x, h0)
    module.weight_hh_l0 = torch.nn.Parameter(module.weight_hh_l0.detach().t().contiguous().t())
    again, _ = module(x, h0)
    assert torch.equal(again, y)
    again.sum().backward()
    assert module.weight_hh_l0.grad is not None and module.weight_hh_l0.grad.shape == (21, 7)


def test_a_change_of_the_weights_is_seen_however_it_is_made() -> None:
    module = grus.torch.GRU(5, 7)
    x, h0 = inputs(module)
    for change in (
        lambda: module.weight_ih_l0.data.mul_(2),
        lambda: torch.nn.init.orthogonal_(module.weight_hh_l0),
        lambda: module.load_state_dict(grus.torch.GRU(5, 7).state_dict()),
        lambda: setattr(module, "bias_hh_l0", torch.nn.Parameter(torch.randn(21))),
        lambda: module.bias_ih_l0.detach().numpy().fill(0.3),
    ):
        with torch.no_grad():
            before = module(x, h0)[0]
            change()
            after = module(x, h0)[0]
        assert not torch.equal(before, after)
        fresh = grus.torch.GRU(5, 7)
        fresh.load_state_dict(module.state_dict())
        assert torch.equal(fresh(x, h0)[0], after)


def test_writing_into_what_was_saved_raises() -> None:
    module = grus.torch.GRU(5, 7)
    for batch_first in (False, True):
        module.batch_first = batch_first
        x, h0 = inputs(module)
        y, _ = module(x, h0)
        y.mul_(2)  # which PyTorch's own layer on the CPU would bear
        with pytest.raises(RuntimeError, match=r"modified by an inplace operation(.|\n)*y\.clone\(\)"):
            y.sum().backward()
    module.batch_first = False
    x, h0 = inputs(module)
    y, _ = module(x, h0)
    with torch.no_grad():
        module.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_h_n_is_not_y() -> None:
    module = grus.torch.GRU(5, 7)
    with torch.no_grad():
        y, h_n = module(*inputs(module))
        kept = h_n.clone()
        y.zero_()
    assert torch.equal(h_n, kept)


def test_backward_twice_and_accumulation() -> None:
    module = grus.torch.GRU(5, 7)
    loss = module(*inputs(module))[0].square().sum()
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    loss.backward()
    assert all(torch.equal(p.grad, 2 * g) for p, g in zip(module.parameters(), once, strict=True))  # type: ignore[arg-type]


def test_it_trains_as_pytorchs_does() -> None:
    losses = []
    for module in pair(num_layers=2):
        optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
        x, _ = inputs(module, T=12, B=8)
        for _ in range(30):
            optimiser.zero_grad()
            loss = (module(x)[0][..., :5] - x.roll(1, 0)).square().mean()
            loss.backward()
            optimiser.step()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3) and losses[1] < 0.8


def test_copies_pickles_and_moves() -> None:
    module = grus.torch.GRU(5, 7, 2, bidirectional=True)
    x, h0 = inputs(module)
    y, _ = module(x, h0)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x, h0)[0], y)
    close(module.double()(x.double(), h0.double())[0].float(), y)
    assert torch.equal(module.float()(x, h0)[0], y)


@pytest.mark.parametrize("B", [4, 0])
def test_defaults_of_the_process_do_not_matter(B: int) -> None:
    module = grus.torch.GRU(5, 7, bidirectional=True)
    x, h0 = inputs(module, B=B, requires_grad=True)

    def results() -> list[torch.Tensor]:
        y, h_n = module(x, h0)
        return [y, h_n, *torch.autograd.grad(y.square().sum() + h_n.sum(), [x, h0, *module.parameters()])]

    right = results()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            again = results()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, again, right)) and {one.dtype for one in again} == {torch.float32}


@pytest.mark.parametrize("shared", [1, 2])
def test_the_same_module_in_threads(shared: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    module = grus.torch.GRU(5, 7, shared)
    x, h0 = inputs(module, T=30)
    with torch.no_grad():
        right, _ = module(x, h0)

    def call(_: int) -> bool:
        with torch.no_grad():
            return torch.equal(module(x, h0)[0], right)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(40)))
