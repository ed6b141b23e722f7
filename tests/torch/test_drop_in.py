"""What code around a ``torch.nn.GRU`` does with it: autocast, half precision, hooks, parametrizations, saving."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from beside_torch import close
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import grus.torch

HALVES = {torch.bfloat16: 2**-7, torch.float16: 2**-9}  # four roundings of a value below 1
halves = pytest.mark.parametrize("dtype", HALVES)


def pair(dtype: torch.dtype = torch.float32, **options: Any) -> tuple[nn.GRU, grus.torch.GRU]:
    torch.manual_seed(0)
    theirs, ours = nn.GRU(5, 7, dtype=dtype, **options), grus.torch.GRU(5, 7, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def cells(dtype: torch.dtype = torch.float32) -> tuple[nn.GRUCell, grus.torch.GRUCell]:
    theirs, ours = nn.GRUCell(5, 7, dtype=dtype), grus.torch.GRUCell(5, 7, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@halves
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=["plain", "all"])
def test_half_precision_is_rounded_once(dtype: torch.dtype, options: dict[str, Any]) -> None:
    _, half = pair(dtype, **options)
    full = copy.deepcopy(half).float()
    x = torch.randn(9, 3, 5, dtype=dtype)
    h0 = torch.randn(len(half.all_weights), 3, 7, dtype=dtype)
    with torch.no_grad():
        for _ in range(2):  # the second with weights packed in the first
            for one, exact in zip(half(x, h0), full(x.float(), h0.float()), strict=True):
                assert one.dtype == dtype and torch.equal(one, exact.to(dtype))
        packed, _ = half(pack_sequence([x[:5, 0], x[:3, 1]]))
    assert isinstance(packed, PackedSequence) and packed.data.dtype == dtype


@halves
def test_half_precision_trains_close_to_pytorch(dtype: torch.dtype) -> None:
    results = []
    for module in (*pair(dtype, num_layers=2), *cells(dtype)):
        torch.manual_seed(1)
        x = torch.randn(*((4,) if isinstance(module, nn.GRUCell | grus.torch.GRUCell) else (6, 4)), 5, dtype=dtype)
        result: Any = module(x.requires_grad_())
        y = result if isinstance(result, torch.Tensor) else result[0]
        assert y.dtype == dtype
        (dx,) = torch.autograd.grad(y.square().sum(), x)
        assert dx.dtype == dtype
        results.append((y.detach().float(), dx.float()))
    for index in (0, 2):
        for one, other in zip(results[index], results[index + 1], strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=4 * HALVES[dtype] * max(1.0, float(one.abs().max())))


DTYPES = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("x_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("h_dtype", [None, *DTYPES], ids=str)
def test_autocast_gives_the_dtypes_of_pytorch(
    weights: torch.dtype, x_dtype: torch.dtype, h_dtype: torch.dtype | None
) -> None:
    for theirs, ours, batch in ((*pair(weights), (6, 4)), (*cells(weights), (4,))):
        x = torch.randn(*batch, 5).to(x_dtype)
        h = None if h_dtype is None else torch.randn(*((1, 4) if len(batch) == 2 else (4,)), 7).to(h_dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            try:
                right: Any = theirs(x, h)
            except RuntimeError:  # PyTorch mixes no half precision with float64
                right = None
            got: Any = ours(x, h)
        first = got if isinstance(got, torch.Tensor) else got[0]
        if right is not None:
            wanted = right if isinstance(right, torch.Tensor) else right[0]
            assert first.dtype == wanted.dtype
            torch.testing.assert_close(first.float(), wanted.float(), rtol=0, atol=2**-5)
        assert first.dtype == (torch.float64 if weights == torch.float64 else h_dtype or x_dtype)


def test_autocast_computes_in_float32() -> None:
    _, ours = pair(num_layers=2)
    x = torch.randn(6, 4, 5)
    right, _ = ours(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = ours(x)
        y.sum().backward()
    assert (
        torch.equal(y, right) and ours.weight_hh_l0.grad is not None and ours.weight_hh_l0.grad.dtype == torch.float32
    )
    with pytest.raises(ValueError, match="input dtype"), torch.autocast("cpu", dtype=torch.bfloat16):
        ours(torch.zeros(6, 4, 5, dtype=torch.int64))


def test_hooks_see_what_they_see_of_pytorchs() -> None:
    seen: list[list[Any]] = []
    for module in pair():
        own: list[Any] = []
        module.register_forward_pre_hook(lambda m, args, own=own: own.append([a.shape for a in args]))
        module.register_forward_hook(lambda m, args, result, own=own: own.append([r.shape for r in result]))
        module.register_full_backward_hook(
            lambda m, grad_in, grad_out, own=own: own.append([g is None or g.shape for g in (*grad_in, *grad_out)])
        )
        module.weight_hh_l0.register_hook(lambda gradient: gradient * 0)
        module(torch.randn(6, 4, 5, requires_grad=True))[0].sum().backward()
        assert module.weight_hh_l0.grad is not None and not module.weight_hh_l0.grad.any()
        seen.append(own)
    assert seen[0] == seen[1] and len(seen[0]) == 3


class Symmetric(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.cat([gate + gate.T for gate in weight.chunk(3)])


@pytest.mark.parametrize("how", ["own", "weight_norm", "spectral_norm", "orthogonal"])
def test_parametrizations(how: str) -> None:
    register: dict[str, Any] = {
        "own": lambda m: parametrize.register_parametrization(m, "weight_hh_l0", Symmetric()),
        "weight_norm": lambda m: nn.utils.parametrizations.weight_norm(m, "weight_hh_l0"),
        "spectral_norm": lambda m: nn.utils.parametrizations.spectral_norm(m, "weight_hh_l0"),
        "orthogonal": lambda m: nn.utils.parametrizations.orthogonal(m, "weight_hh_l0"),
    }
    theirs, ours = pair(bidirectional=True)
    for module in (theirs, ours):
        torch.manual_seed(2)
        register[how](module)
    ours.load_state_dict(theirs.state_dict())
    for module in (theirs, ours):
        module.eval()  # spectral_norm moves on at each call in training
    x = torch.randn(6, 4, 5)
    results = []
    for module in (theirs, ours, copy.deepcopy(ours)):
        y, h_n = module(x)
        results.append((y, h_n, *torch.autograd.grad(y.square().sum(), list(module.parameters()))))
    for right, one, copied in zip(*results, strict=True):
        close(one, right)
        assert torch.equal(copied, one)
    for module in (theirs, ours):
        parametrize.remove_parametrizations(module, "weight_hh_l0")
    close(ours(x)[0], theirs(x)[0])
    assert type(ours) is grus.torch.GRU and repr(ours) == repr(theirs)


def test_whole_modules_through_files() -> None:
    module = grus.torch.GRU(5, 7, 2, bidirectional=True, reset_after=False, learn_h0=True)
    x = torch.randn(6, 4, 5)
    with torch.no_grad():
        module.h0.normal_()
        right, _ = module(x)
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        assert torch.equal(torch.load(file, weights_only=False)(x)[0], right)


def test_attributes_that_code_reads() -> None:
    for name in ("mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"):
        theirs, ours = pair(num_layers=2, dropout=0.5)
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.proj_size == theirs.proj_size == 0 and ours.flatten_parameters() is None
    assert [[tuple(w.shape) for w in ws] for ws in ours.all_weights] == [
        [tuple(w.shape) for w in ws] for ws in theirs.all_weights
    ]


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_learned_first_state_is_a_given_one(options: dict[str, Any], dtype: torch.dtype) -> None:
    module = grus.torch.GRU(5, 7, dtype=dtype, learn_h0=True, **options)
    rows = len(module.all_weights)
    assert module.h0.shape == (rows, 7) and not module.h0.any()
    nn.init.normal_(module.h0)
    x = torch.randn(4, 6, 5, dtype=dtype) if module.batch_first else torch.randn(6, 4, 5, dtype=dtype)
    given = module.h0.detach()[:, None].repeat(1, 4, 1).requires_grad_()
    y, h_n = module(x)
    right, end = module(x, given)
    assert torch.equal(y, right) and torch.equal(h_n, end)
    (learned,) = torch.autograd.grad(y.square().sum(), module.h0)
    (by_row,) = torch.autograd.grad(right.square().sum(), given)
    close(learned, by_row.sum(1))
    with torch.no_grad():
        one = x[0] if module.batch_first else x[:, 0]
        close(module(one)[1], h_n[:, 0].detach())
        _, ends = module(pack_sequence([one[:2], one], enforce_sorted=False))
        for row, sequence in enumerate((one[:2], one)):
            close(ends[:, row], module(sequence)[1])


def test_a_learned_first_state_changes_nothing_else() -> None:
    torch.manual_seed(3)
    plain = grus.torch.GRU(5, 7, 2)
    torch.manual_seed(3)
    learned = grus.torch.GRU(5, 7, 2, learn_h0=True)
    x = torch.randn(6, 4, 5)
    assert list(learned.state_dict()) == [*plain.state_dict(), "h0"]
    assert torch.equal(learned(x)[0], plain(x)[0]), "zero at first"
    assert repr(learned) == "GRU(5, 7, num_layers=2, learn_h0=True)"
    learned.load_state_dict(plain.state_dict(), strict=False)
    with pytest.raises(RuntimeError, match='Unexpected key.*"h0"'):
        plain.load_state_dict(learned.state_dict())
    nn.init.ones_(learned.h0)
    learned.reset_parameters()
    assert not learned.h0.any()


def test_a_learned_first_state_learns() -> None:
    """To give ones without any input, where zeros would stay near zero."""
    module = grus.torch.GRU(1, 4, learn_h0=True)
    optimiser = torch.optim.SGD([module.h0], lr=1.0)
    x = torch.zeros(2, 3, 1)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = (module(x)[0][0] - 1).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_shapes_on_the_meta_device(dtype: torch.dtype) -> None:
    module = grus.torch.GRU(5, 7, 2, bidirectional=True, device="meta", dtype=dtype)
    x = torch.zeros(6, 4, 5, device="meta", dtype=dtype, requires_grad=True)
    y, h_n = module(x)
    assert (y.shape, h_n.shape) == ((6, 4, 14), (4, 4, 7)) and y.dtype == dtype and y.is_meta and h_n.is_meta
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.shape == x.shape and dx.is_meta
    packed, _ = module(pack_sequence([torch.zeros(2, 5), torch.zeros(1, 5)])._replace(data=torch.zeros_like(x[0, :3])))
    assert packed.data.shape == (3, 14) and packed.data.is_meta
    assert grus.torch.GRUCell(5, 7, device="meta", dtype=dtype)(x[0]).shape == (4, 7)
