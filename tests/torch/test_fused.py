"""Calls that PyTorch's own implementation takes: float64 on the CPU here, other devices as float64 stands for them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import grus.torch
from grus.torch import recurrence
from grus.torch.recurrence import fused, plain

T, B, I, H = 6, 4, 5, 7  # noqa: E741


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often each way was taken."""
    counts = {"fused": 0, "step": 0, "plain": 0}

    def counting(module: Any, name: str, key: str) -> None:
        original = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            counts[key] += 1
            return original(*args, **options)

        monkeypatch.setattr(module, name, call)

    counting(torch._VF, "gru", "fused")
    counting(torch._VF, "gru_cell", "step")
    counting(plain, "layer", "plain")
    return counts


def tensor(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before there was another way."""
    monkeypatch.setattr(grus.torch.GRU, "_is_torch_s", lambda *_: False)
    monkeypatch.setattr(fused, "takes", lambda *_: False)


def solve(module: nn.Module, x: Any, *rest: Any, **call: Any) -> list[Tensor]:
    """y, h_n and all gradients."""
    y, h_n = module(x, *rest, **call)
    data = y.data if isinstance(y, PackedSequence) else y
    sources = [x.data if isinstance(x, PackedSequence) else x, *(h for h in rest if h is not None)]
    (data.sin().sum() + h_n.cos().sum()).backward()
    found = [data.detach(), h_n.detach(), *(t.grad for t in sources), *(p.grad for p in module.parameters())]
    assert all(g is not None for g in found)
    for t in (*sources, *module.parameters()):
        t.grad = None
    return found


def agree(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


CALLS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {  # options, the call's, and how many calls of PyTorch's
    "one": ({}, {}, 1),
    "all": ({"num_layers": 3, "bidirectional": True, "batch_first": True}, {}, 1),
    "no bias": ({"num_layers": 2, "bias": False}, {}, 1),
    "learnt h0": ({"num_layers": 2, "learn_h0": True}, {}, 1),
    "lengths": ({"num_layers": 2, "bidirectional": True}, {"lengths": [3, 0, 6, 1]}, 1),
    "lengths, batch first": ({"batch_first": True}, {"lengths": torch.tensor([0, 0, 2, 0])}, 1),
    "masks of evaluation": ({"input_dropout": 0.5, "recurrent_dropout": 0.5, "weight_drop": 0.5}, {}, 1),
    "reset before": ({"num_layers": 2, "reset_after": False}, {}, 0),
    "layer norm": ({"layer_norm": True}, {}, 0),
    "zoneout": ({"zoneout": 0.1}, {}, 0),
    "resets": ({}, {"resets": torch.eye(T, B, dtype=torch.bool)}, 0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("with_h0", [False, True])
def test_the_values_and_gradients_of_plain_pytorch(
    name: str, with_h0: bool, counted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    options, call, calls = CALLS[name]
    module = grus.torch.GRU(I, H, **options, dtype=torch.float64).eval()
    x = tensor(*((B, T, I) if module.batch_first else (T, B, I)))
    rest = [tensor(len(module.all_weights), B, H)] if with_h0 and not module.learn_h0 else []
    found = solve(module, x, *rest, **call)
    assert (counted["fused"], counted["plain"] == 0) == (calls, calls == 1)
    plainly(monkeypatch)
    agree(found, solve(module, x, *rest, **call))
    assert counted["fused"] == calls


def test_unbatched_and_what_is_empty(counted: dict[str, int]) -> None:
    module = grus.torch.GRU(I, H, 2, dtype=torch.float64)
    x = tensor(T, B, I)
    y, h_n = module(x[:, 1])
    assert counted["fused"] == 1 and h_n.shape == (2, H)
    agree([y], [module(x)[0][:, 1]])
    for empty in (x[:0], x[:, :0]):
        y, h_n = module(empty)
        assert (y.shape, h_n.shape) == ((*empty.shape[:2], H), (2, empty.shape[1], H))
    assert counted["fused"] == 2


@pytest.mark.parametrize("sort", [False, True])
def test_packed_rows_go_as_they_are(sort: bool, counted: dict[str, int]) -> None:
    theirs = nn.GRU(I, H, 2, dropout=0.4, bidirectional=True, dtype=torch.float64)
    ours = grus.torch.convert(copy.deepcopy(theirs)).module
    lengths = [6, 5, 5, 1] if sort else [2, 6, 1, 4]
    x = pack_padded_sequence(tensor(T, B, I, grad=False), torch.tensor(lengths), enforce_sorted=sort)
    x = x._replace(data=x.data.requires_grad_())
    h0 = tensor(4, B, H)
    results = []
    for module in (theirs, ours):
        torch.manual_seed(1)
        results.append(solve(module, x, h0))
    agree(results[1], results[0])
    assert counted == {"fused": 2, "step": 0, "plain": 0}


def test_dropout_draws_what_pytorch_draws(counted: dict[str, int]) -> None:
    theirs = nn.GRU(I, H, 3, dropout=0.5, batch_first=True, dtype=torch.float64)
    ours = grus.torch.convert(copy.deepcopy(theirs)).module
    x, results = tensor(B, T, I), []
    for module in (theirs, ours):
        torch.manual_seed(2)
        results.append(solve(module, x))
    agree(results[1], results[0])
    assert counted["fused"] == 2
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_masks_of_training_go_before_each_layer(counted: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    module = grus.torch.GRU(I, H, 2, input_dropout=0.4, weight_drop=0.3, dtype=torch.float64)
    x, results = tensor(T, B, I), []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(solve(module, x))
        assert counted["fused"] == 2
        plainly(monkeypatch)
    agree(results[0], results[1])


def test_what_lies_behind_a_row_s_end_does_not_matter() -> None:
    module = grus.torch.GRU(I, H, 2, bidirectional=True, dtype=torch.float64)
    x = tensor(T, B, I, grad=False)
    lengths = torch.tensor([3, 0, 6, 1])
    expected = module(x, lengths=lengths)
    for b, length in enumerate(lengths):
        x[length:, b] = torch.nan
    x.requires_grad_()
    y, h_n = module(x, lengths=lengths)
    agree([y, h_n], list(expected))
    (y.sum() + h_n.sum()).backward()
    assert x.grad is not None and bool((x.grad[3:, 0] == 0).all() and (x.grad[:, 1] == 0).all())
    assert all(bool(p.grad.isfinite().all()) for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("bias", [True, False])
def test_a_cell(bias: bool, counted: dict[str, int]) -> None:
    theirs = nn.GRUCell(I, H, bias=bias, dtype=torch.float64)
    ours = grus.torch.convert(copy.deepcopy(theirs)).module
    x, h = tensor(B, I), tensor(B, H)
    for given in ((x,), (x, h), (x[0], h[0])):
        agree([ours(*given)], [theirs(*given)])
    assert counted == {"fused": 0, "step": 6, "plain": 0}
    assert torch.autograd.gradcheck(ours, (x, h)) and torch.autograd.gradgradcheck(ours, (x, h))
    before = grus.torch.GRUCell(I, H, dtype=torch.float64, reset_after=False)
    before(x, h)
    assert counted["plain"] == 1


@pytest.mark.parametrize("device", ["cuda", "mps", "meta", "xpu"])
def test_who_takes_a_call_on_another_device(device: str) -> None:
    class Elsewhere:
        """As much of a tensor as the choice looks at."""

        __torch_dispatch__ = torch._C._disabled_torch_dispatch_impl

        def __init__(self, dtype: torch.dtype) -> None:
            self.dtype, self.device = dtype, torch.device(device)

    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        x: Any = Elsewhere(dtype)
        assert recurrence.route(x, None, x) == "fused"
    x = tensor(T, B, I)
    assert recurrence.route(x, None, x) == "fused"
    assert recurrence.route(x.float(), None, x.float()) == "eager"
    with torch.autograd.forward_ad.dual_level():
        assert recurrence.route(x, None, x) == "plain"


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the backward pass had no derivative, like cuDNN's."""
    original = torch._VF.gru

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, run: Any, *tensors: Tensor) -> Any:
            with torch.enable_grad():
                ctx.own = [t.detach().requires_grad_() for t in tensors]
                ctx.found = run(*ctx.own)
            y, h_n = (t.detach() for t in ctx.found)
            ctx.set_materialize_grads(False)
            return y, h_n

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None) -> Any:
            pairs = [(a, g) for a, g in zip(ctx.found, (dy, dh_n), strict=True) if g is not None]
            if not pairs:
                return None, *[None] * len(ctx.own)
            outputs, by = zip(*pairs, strict=True)
            return None, *torch.autograd.grad(outputs, ctx.own, by, retain_graph=True)

    def gru(*args: Any) -> Any:
        place = 1 if isinstance(args[2], list) else 2  # of h0; packed calls have their sizes before it
        tensors = [args[0], args[place], *args[place + 1]]

        def run(x: Tensor, h0: Tensor, *flat: Tensor) -> Any:
            return original(x, *args[1:place], h0, list(flat), *args[place + 2 :])

        return Once.apply(run, *tensors)

    monkeypatch.setattr(torch._VF, "gru", gru)
    monkeypatch.setattr(fused, "_differentiable_once", lambda _: True)


GRADED = [{}, {"lengths": [3, 0, 6, 1]}]


@pytest.mark.parametrize("call", GRADED, ids=["whole", "lengths"])
@pytest.mark.parametrize("library", ["as it is", "once"])
def test_second_derivatives(library: str, call: dict[str, Any], request: pytest.FixtureRequest) -> None:
    if library == "once":
        request.getfixturevalue("once")
    module = grus.torch.GRU(2, 3, 2, bidirectional=True, dtype=torch.float64)
    given = tensor(T, B, 2), tensor(4, B, 3), *module.parameters()
    names = [name for name, _ in module.named_parameters()]

    def function(x: Tensor, h0: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, h0), call)

    options = {"fast_mode": True}
    assert torch.autograd.gradcheck(function, given, **options)
    assert torch.autograd.gradgradcheck(function, given, **options)
    assert torch.autograd.gradcheck(function, given, check_batched_grad=True)


def test_a_packed_call_s_second_derivatives(once: None) -> None:
    module = grus.torch.GRU(2, 3, 2, dtype=torch.float64)
    x = pack_padded_sequence(tensor(T, B, 2, grad=False), torch.tensor([2, 6, 1, 4]), enforce_sorted=False)

    def function(data: Tensor) -> Any:
        y, h_n = module(x._replace(data=data))
        return y.data, h_n

    data = x.data.requires_grad_()
    assert torch.autograd.gradcheck(function, (data,)) and torch.autograd.gradgradcheck(function, (data,))


def test_first_derivatives_are_the_library_s_own(once: None, counted: dict[str, int]) -> None:
    module = grus.torch.GRU(I, H, 2, dtype=torch.float64)
    x = tensor(T, B, I)
    agree(solve(module, x), solve(grus.torch.revert(copy.deepcopy(module)), x))
    assert counted["plain"] == 0


def test_states_may_be_written_into_and_y_may_not(once: None) -> None:
    module = grus.torch.GRU(I, H, 2, dtype=torch.float64)
    x = tensor(T, B, I)
    y, h_n = module(x)
    h_n.mul_(2)
    h_n.detach_()
    y.sum().backward()
    y, _ = module(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_where_dropout_was_drawn_by_the_library_there_is_no_second_derivative(once: None) -> None:
    module = grus.torch.GRU(I, H, 2, dropout=0.5, dtype=torch.float64)
    x = tensor(T, B, I)
    module(x)[0].sum().backward()
    y, _ = module(x)
    with pytest.raises(RuntimeError, match=r"inside torch.backends.cudnn.flags\(enabled=False\), or with dropout=0"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_in_evaluation_there_are_gradients_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN has none of a call that was no training."""
    seen = []
    original = torch._VF.gru

    def gru(*args: Any) -> Any:
        seen.append(args[6])
        return original(*args)

    monkeypatch.setattr(torch._VF, "gru", gru)
    module = grus.torch.GRU(I, H, dtype=torch.float64).eval()
    module(tensor(T, B, I))
    with torch.no_grad():
        module(tensor(T, B, I))
    assert seen == [True, False]


def test_weights_are_moved_into_one_piece_where_pytorch_s_are(monkeypatch: pytest.MonkeyPatch) -> None:
    flattened = []
    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", lambda self: flattened.append(self._flat_weights))
    module = grus.torch.GRU(I, H, 2, bidirectional=True)
    module.to(torch.float64)
    module.flatten_parameters()
    assert len(flattened) == 3
    weights = [weight for own in module.all_weights for weight in own]
    assert all(a is b for a, b in zip(flattened[1], weights, strict=True))
    theirs = nn.GRU(I, H, 2, bidirectional=True)
    assert module._flat_weights_names == theirs._flat_weights_names
