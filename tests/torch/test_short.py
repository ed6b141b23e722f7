"""The short way to the kernels gives the bits of the long one, and is left where it would not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from beside_torch import close
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.utils import parametrize

import grus.torch
from grus.torch.recurrence import packing, short


class Watch:
    """Whether the last call went the short way; ``closed``, none does."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.taken, self.closed = False, False
        for name in ("layer", "step"):
            patch.setattr(short, name, self._watched(getattr(short, name)))

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result = None if self.closed else function(*arguments)
            self.taken = result is not None
            return result

        return call


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


@pytest.mark.parametrize("steps", [1, 9])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("with_h0", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"batch_first": True}, {"reset_after": False}],
    ids=["plain", "b", "batch", "before"],
)
@torch.no_grad()
def test_inference_of_a_layer(steps: int, batch: int, with_h0: bool, options: dict[str, Any], watch: Watch) -> None:
    module = grus.torch.GRU(5, 7, **options)
    x = torch.randn(batch, steps, 5) if module.batch_first else torch.randn(steps, batch, 5)
    h0 = torch.randn(1, batch, 7) if with_h0 else None
    watch.closed = True
    right = module(x, h0)
    watch.closed = False
    got = module(x, h0)
    assert watch.taken
    for one, other in zip(got, right, strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride()
    module.weight_ih_l0.data.mul_(2)
    changed = module(x, h0)[0]
    assert watch.taken == packing.few(steps), "packed weights have changed"
    assert torch.equal(module(x, h0)[0], changed) and watch.taken
    assert not torch.equal(changed, got[0])


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "wanted",
    [{"x"}, {"h"}, {"weight_ih"}, {"weight_hh", "h"}, {"x", "h", "weights"}],
    ids=lambda names: "-".join(sorted(names)),
)
def test_training_a_cell(reset_after: bool, bias: bool, wanted: set[str], watch: Watch) -> None:
    cell = grus.torch.GRUCell(5, 7, bias, reset_after=reset_after)
    for name, parameter in cell.named_parameters():
        parameter.requires_grad_("weights" in wanted or name in wanted)
    x, h = torch.randn(4, 5, requires_grad="x" in wanted), torch.randn(4, 7, requires_grad="h" in wanted)
    leaves = [tensor for tensor in (x, h, *cell.parameters()) if tensor.requires_grad]
    found = []
    for closed in (True, False):
        watch.closed = closed
        cell(x, h)
        after = cell(x, cell(x, h))
        assert watch.taken != closed
        found.append([after, *torch.autograd.grad(after.square().sum(), leaves, retain_graph=True)])
        again = torch.autograd.grad(after.square().sum(), leaves)
        assert all(map(torch.equal, again, found[-1][1:]))
    for one, other in zip(*found, strict=True):
        close(one, other)
    assert torch.equal(found[0][0], found[1][0])


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"reset_after": False}, {"batch_first": True}], ids=str)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("with_h0", [True, False])
@pytest.mark.parametrize("used", ["y", "h_n", "both"])
def test_training_a_layer(used: str, with_h0: bool, steps: int, options: dict[str, Any], watch: Watch) -> None:
    module = grus.torch.GRU(5, 7, **options)
    x = torch.randn((4, steps, 5) if "batch_first" in options else (steps, 4, 5), requires_grad=True)
    h0 = torch.randn(1, 4, 7, requires_grad=True) if with_h0 else None
    leaves = [tensor for tensor in (x, h0, *module.parameters()) if tensor is not None]
    found = []
    for closed in (True, False):
        watch.closed = closed
        y, h_n = module(x, h0)
        assert watch.taken != closed
        loss = sum(t.square().sum() for t, name in ((y, "y"), (h_n, "h_n")) if used in (name, "both"))
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, retain_graph=True)
        found.append([y, h_n, *torch.autograd.grad(loss, leaves), *first, *second])
    for one, other in zip(*found, strict=True):
        close(one, other)
    for one, other in zip(*(each[:2] for each in found), strict=True):
        assert torch.equal(one, other)


def test_writing_into_the_states_between_is_found_out() -> None:
    module = grus.torch.GRU(5, 7)
    y, _ = module(torch.randn(3, 4, 5))
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.* write into a copy"):
        y.sum().backward()


def test_second_derivatives_of_a_cell(watch: Watch) -> None:
    cell = grus.torch.GRUCell(5, 7)
    x, h = torch.randn(4, 5, requires_grad=True), torch.randn(4, 7, requires_grad=True)
    leaves = [x, h, *cell.parameters()]
    found = []
    for closed in (True, False):
        watch.closed = closed
        cell(x, h)
        (dx,) = torch.autograd.grad(cell(x, h).square().sum(), x, create_graph=True)
        assert watch.taken != closed
        found.append(torch.autograd.grad(dx.square().sum(), leaves))
    for one, other in zip(*found, strict=True):
        close(one, other)


def test_writing_into_what_the_backward_pass_needs_is_found_out() -> None:
    cell = grus.torch.GRUCell(5, 7)
    x, h = torch.randn(4, 5), torch.randn(4, 7)
    for written in (x, h, cell.weight_hh):
        after = cell(x, h)
        with torch.no_grad():
            written.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            after.sum().backward()


def test_the_next_state_is_not_needed_and_may_be_written_into() -> None:
    cell, x = grus.torch.GRUCell(5, 7), torch.randn(4, 5)
    (right,) = torch.autograd.grad(2 * cell(x).sum(), cell.weight_ih)
    (got,) = torch.autograd.grad(cell(x).mul_(2).sum(), cell.weight_ih)
    assert torch.equal(got, right)


class Mine(Tensor):
    pass


class Half(torch.nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def dual(module: Any, x: Tensor, h: Tensor) -> Any:
    with forward_ad.dual_level():
        return module(forward_ad.make_dual(x, x), h)


LONG: dict[str, Callable[[Any, Tensor, Tensor], Any]] = {
    "gradients of many steps": lambda m, x, h: torch.enable_grad()(m)(x.repeat(3, 1, 1), h),
    "float64": lambda m, x, h: m.double()(x.double(), h.double()),
    "bfloat16": lambda m, x, h: m.bfloat16()(x.bfloat16(), h.bfloat16()),
    "not contiguous": lambda m, x, h: m(x.transpose(0, 1), h),
    "lazily negated": lambda m, x, h: m(torch._neg_view(x), h),
    "a subclass": lambda m, x, h: m(x.as_subclass(Mine), h),
    "a subclass as h": lambda m, x, h: m(x, h.as_subclass(Mine)),
    "vmap": lambda m, x, h: torch.vmap(m)(x[None], h[None]),
    "forward derivatives": lambda m, x, h: dual(m, x, h),
    "parametrized": lambda m, x, h: parametrize.register_parametrization(m, "weight_hh_l0", Half())(x, h),
    "unbatched": lambda m, x, h: m(x[:, 0], h[:, 0]),
    "no steps": lambda m, x, h: m(x[:0], h),
    "lengths": lambda m, x, h: m(x, h, lengths=[1] * x.shape[1]),
    "resets": lambda m, x, h: m(x, h, resets=torch.ones(x.shape[:2], dtype=torch.bool)),
    "gates": lambda m, x, h: m(x, h, return_gates=True),
}


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # in PyTorch itself
@pytest.mark.parametrize("name", LONG)
@torch.no_grad()
def test_what_goes_the_long_way(name: str, watch: Watch) -> None:
    """The same with and without: each case is called once with the short way closed."""
    torch.manual_seed(0)
    module, x, h = grus.torch.GRU(5, 7), torch.randn(3, 3, 5), torch.randn(1, 3, 7)
    module(x, h)
    module(x, h)
    assert watch.taken
    watch.taken = False
    LONG[name](module, x, h)
    assert not watch.taken


@pytest.mark.parametrize(
    "options",
    [{"num_layers": 2}, {"bidirectional": True}, {"learn_h0": True}, {"layer_norm": True}, {"zoneout": 0.1}],
    ids=str,
)
@torch.no_grad()
def test_options_go_the_long_way(options: dict[str, Any], watch: Watch) -> None:
    module = grus.torch.GRU(5, 7, **options).eval()
    for _ in range(2):
        module(torch.randn(3, 2, 5))
    assert not watch.taken


@pytest.mark.parametrize("option", ["input_dropout", "recurrent_dropout", "weight_drop"])
@torch.no_grad()
def test_dropout_goes_the_long_way_in_training(option: str, watch: Watch) -> None:
    module = grus.torch.GRU(5, 7, **{option: 0.5})
    for train in (False, True):
        module.train(train)
        watch.taken = False
        for _ in range(2):
            module(torch.randn(3, 2, 5))
        assert watch.taken != train


@torch.no_grad()
def test_what_does_not_fit_is_refused_all_the_same() -> None:
    module, cell = grus.torch.GRU(5, 7), grus.torch.GRUCell(5, 7)
    module(torch.zeros(3, 2, 5)), cell(torch.zeros(2, 5))
    with pytest.raises(RuntimeError, match="Expected 5, got 4"):
        module(torch.zeros(3, 2, 4))
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        module(torch.zeros(3, 2, 5), torch.zeros(1, 3, 7))
    with pytest.raises(RuntimeError, match="inconsistent input_size"):
        cell(torch.zeros(2, 4))
    with pytest.raises(RuntimeError, match="inconsistent hidden_size"):
        cell(torch.zeros(2, 5), torch.zeros(2, 6))
