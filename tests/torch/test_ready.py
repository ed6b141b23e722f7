"""Weights packed in one inference and used in the next: whatever changes them, however it does, is seen."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from grus.torch import GRU, recurrence
from grus.torch.recurrence import packing

OPTIONS = {"num_layers": 2, "bidirectional": True}


def output(layer: GRU, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return layer(x)[0]


def by_data(layer: GRU) -> None:
    layer.weight_hh_l1.data[3, 2] += 0.5


def by_numpy(layer: GRU) -> None:
    layer.bias_hh_l0_reverse.detach().numpy()[-1] -= 0.5


def by_optimiser(layer: GRU) -> None:
    for weight in layer.parameters():
        weight.grad = torch.ones_like(weight)
    torch.optim.SGD(layer.parameters(), 0.1).step()


def by_state_dict(layer: GRU) -> None:
    layer.load_state_dict(GRU(5, 7, **OPTIONS).state_dict())


def by_parameter(layer: GRU) -> None:
    layer.weight_ih_l0 = torch.nn.Parameter(-layer.weight_ih_l0)


def by_reset(layer: GRU) -> None:
    layer.reset_after = False


@pytest.mark.parametrize("steps", [2, 4, 9])
@pytest.mark.parametrize("change", [by_data, by_numpy, by_optimiser, by_state_dict, by_parameter, by_reset])
def test_a_change_is_seen(change: Callable[[GRU], None], steps: int) -> None:
    torch.manual_seed(0)
    layer, x = GRU(5, 7, **OPTIONS), torch.randn(steps, 3, 5)
    before = output(layer, x)
    assert torch.equal(output(layer, x), before)
    change(layer)
    fresh = GRU(5, 7, **OPTIONS, reset_after=layer.reset_after)
    fresh.load_state_dict(layer.state_dict())
    after = output(layer, x)
    assert torch.equal(after, output(fresh, x))
    assert not torch.equal(after, before)


def test_packed_weights_are_used_again_and_not_copied() -> None:
    layer, x = GRU(5, 7), torch.randn(9, 3, 5)
    output(layer, x)
    packed = layer._ready[0][0]
    output(layer, x)
    assert layer._ready[0][0] is packed
    assert copy.deepcopy(layer)._ready == [[]]


def test_few_steps_keep_nothing() -> None:
    layer = GRU(5, 7)
    output(layer, torch.randn(packing.FEW, 3, 5))
    assert layer._ready == [[]]


def test_a_lazily_negated_input() -> None:
    layer = GRU(1, 7)  # of one feature: more would be copied for their stride, and so resolved
    x = torch.randn(4, 3, 1, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    assert torch.equal(output(layer, x), output(layer, x.clone()))


def test_weights_that_are_lazily_negated_are_not_taken_for_others() -> None:
    torch.manual_seed(0)
    x, weights, ready = torch.randn(9, 2, 4), [torch.randn(s) for s in ((15, 4), (15, 5), (15,), (15,))], []
    recurrence.layer(x, None, [recurrence.Weights(*weights)], ready=ready)
    negated = [torch._neg_view(weight) for weight in weights]
    got = recurrence.layer(x, None, [recurrence.Weights(*negated)], ready=ready)[0]
    assert torch.equal(got, recurrence.layer(x, None, [recurrence.Weights(*(-weight for weight in weights))])[0])
