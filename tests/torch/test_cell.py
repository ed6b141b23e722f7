"""``grus.torch.GRUCell`` beside ``torch.nn.GRUCell``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from beside_torch import close

import grus.torch
from grus import InputError

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
biases = pytest.mark.parametrize("bias", [True, False])


def pair(dtype: torch.dtype = torch.float32, bias: bool = True) -> tuple[torch.nn.GRUCell, grus.torch.GRUCell]:
    torch.manual_seed(7)
    theirs = torch.nn.GRUCell(5, 7, bias, dtype=dtype)
    torch.manual_seed(7)
    return theirs, grus.torch.GRUCell(5, 7, bias, dtype=dtype)


@biases
def test_draws_state_dict_and_repr_are_those_of_pytorch(bias: bool) -> None:
    theirs, ours = pair(bias=bias)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert (ours.bias_ih is None) == (theirs.bias_ih is None)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert repr(grus.torch.GRUCell(5, 7, reset_after=False)) == "GRUCell(5, 7, reset_after=False)"


@dtypes
@biases
@pytest.mark.parametrize("batch", [(), (1,), (4,), (0,)], ids=str)
@pytest.mark.parametrize("with_h", [True, False])
def test_values_and_gradients(dtype: torch.dtype, bias: bool, batch: tuple[int, ...], with_h: bool) -> None:
    torch.manual_seed(3)
    x = torch.randn(*batch, 5, dtype=dtype, requires_grad=True)
    h = torch.randn(*batch, 7, dtype=dtype, requires_grad=True)
    results = []
    for cell in pair(dtype, bias):
        after = cell(x, h) if with_h else cell(x)
        leaves = [x, *([h] if with_h else []), *cell.parameters()]
        results.append((after, *torch.autograd.grad(after.square().sum(), leaves)))
    for one, other in zip(*results, strict=True):
        close(other, one)


@pytest.mark.parametrize("reset_after", [True, False])
@dtypes
def test_a_sequence_cell_by_cell_is_that_of_the_layer(reset_after: bool, dtype: torch.dtype) -> None:
    layer = grus.torch.GRU(5, 7, dtype=dtype, reset_after=reset_after)
    cell = grus.torch.GRUCell(5, 7, dtype=dtype, reset_after=reset_after)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in layer.state_dict().items()})
    x, h = torch.randn(6, 3, 5, dtype=dtype), torch.randn(3, 7, dtype=dtype)
    y, _ = layer(x, h[None])
    for t, right in enumerate(y):
        h = cell(x[t], h)
        close(h, right)
        assert dtype == torch.float64 or torch.equal(h, right)


def test_backpropagation_through_time_with_resets() -> None:
    results = []
    for cell in pair():
        torch.manual_seed(3)
        x = torch.randn(6, 3, 5)
        keep = (torch.rand(6, 3, 1) > 0.3).float()
        h, loss = torch.zeros(3, 7), torch.zeros(())
        for t in range(6):
            h = cell(x[t], h * keep[t])
            loss = loss + h.square().sum()
        results.append(torch.autograd.grad(loss, list(cell.parameters())))
    for one, other in zip(*results, strict=True):
        close(other, one)


def test_the_state_may_be_written_into_before_it_is_used() -> None:
    cell = grus.torch.GRUCell(5, 7)
    h = cell(torch.randn(3, 5))
    h[1] = 0  # as code for torch.nn.GRUCell does where an episode ends
    cell(torch.randn(3, 5), h).sum().backward()
    assert cell.weight_hh.grad is not None


@pytest.mark.parametrize("reset_after", [True, False])
def test_gradcheck(reset_after: bool) -> None:
    cell = grus.torch.GRUCell(2, 3, dtype=torch.float64, reset_after=reset_after)
    x, h = (torch.randn(2, size, dtype=torch.float64, requires_grad=True) for size in (2, 3))
    assert torch.autograd.gradcheck(cell, (x, h)) and torch.autograd.gradgradcheck(cell, (x, h))


def test_copies_and_pickles() -> None:
    cell = grus.torch.GRUCell(5, 7)
    x, h = torch.randn(3, 5), torch.randn(3, 7)
    with torch.no_grad():
        right = cell(x, h)
        for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
            assert torch.equal(twin(x, h), right)
        cell.weight_ih.data.mul_(2)
        assert not torch.equal(cell(x, h), right)


CALLS: dict[str, Callable[[Any], Any]] = {
    "0-D": lambda c: c(torch.zeros(())),
    "3-D": lambda c: c(torch.zeros(1, 4, 5)),
    "features": lambda c: c(torch.zeros(4, 3)),
    "unbatched features": lambda c: c(torch.zeros(3)),
    "hx 4-D": lambda c: c(torch.zeros(4, 5), torch.zeros(4, 1, 1, 7)),
    "hx size": lambda c: c(torch.zeros(4, 5), torch.zeros(4, 6)),
    "hx batch": lambda c: c(torch.zeros(4, 5), torch.zeros(3, 7)),
    "hx unbatched": lambda c: c(torch.zeros(5), torch.zeros(6)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_call_errors_are_those_of_pytorch(call: Callable[[Any], Any]) -> None:
    errors = []
    for cell in pair():
        with pytest.raises((ValueError, RuntimeError)) as caught:
            call(cell)
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


def test_what_is_refused_in_words_of_its_own() -> None:
    cell = grus.torch.GRUCell(5, 7)
    with pytest.raises(RuntimeError, match="batched 2-D input, hx should also be 2-D but got 1-D"):
        cell(torch.zeros(4, 5), torch.zeros(7))
    with pytest.raises(RuntimeError, match="unbatched 1-D input, hx should also be 1-D but got 2-D"):
        cell(torch.zeros(5), torch.zeros(1, 7))
    with pytest.raises(TypeError, match="GRUCell: hx should be a Tensor or None, got tuple"):
        cell(torch.zeros(4, 5), (torch.zeros(4, 7), torch.zeros(4, 7)))
    with pytest.raises(TypeError, match="GRUCell: input should be a Tensor, got list"):
        cell([0.0] * 5)
    with pytest.raises(ValueError, match=r"input dtype \(torch.float64\) does not match weight dtype \(torch.float32"):
        cell(torch.zeros(4, 5, dtype=torch.float64))
    with pytest.raises(InputError, match="grus.torch.GRUCell: input is on cpu, expected meta, as its weights"):
        grus.torch.GRUCell(5, 7, device="meta")(torch.zeros(4, 5))
    for sizes in ((0, 7), (5, -1)):
        with pytest.raises(ValueError, match="must be greater than zero"):
            grus.torch.GRUCell(*sizes)
    with pytest.raises(TypeError, match="hidden_size should be of type int, got: float"):
        grus.torch.GRUCell(5, 7.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bias should be of type bool, got: int"):
        grus.torch.GRUCell(5, 7, 1)  # type: ignore[arg-type]
