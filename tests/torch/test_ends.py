"""Rows that end early: what they have no step for is no part of any sum, wherever they lie in the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from implementations import case
from torch import Tensor

import grus.torch
from grus.runtime import kernels
from grus.torch.recurrence import native

T, B, I, H = 30, 20, 32, 64  # noqa: E741
LENGTHS = torch.tensor([0, 9, 3, 8, 0, 1, 7, 2, 9, 5, 4, 6, 9, 3, 7, 1, 8, 0, 2, 6])


def gradients(gru: Any, x: Tensor, lengths: Tensor, dy: Tensor) -> dict[str, Tensor]:
    gru.zero_grad()
    x = x.clone().requires_grad_()
    y, h_n = gru(x, lengths=lengths)
    torch.autograd.backward([y, h_n], [dy, torch.ones_like(h_n)])
    assert x.grad is not None
    return {"y": y.detach(), "h_n": h_n.detach(), "x": x.grad} | {n: p.grad.clone() for n, p in gru.named_parameters()}


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kept", [True, False])
def test_no_term_of_a_sum(reset_after: bool, layer_norm: bool, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer padding, rows of no step and another order of the rows change not a bit of a gradient by the weights."""
    if not kept:
        monkeypatch.setattr(native, "room", lambda *_: None)
    torch.manual_seed(0)
    gru = grus.torch.GRU(I, H, bidirectional=True, reset_after=reset_after, layer_norm=layer_norm)
    x, dy = torch.randn(T, B, I), torch.randn(T, B, 2 * H)
    padded = torch.arange(T)[:, None] >= LENGTHS
    x[padded], dy[padded] = 1e30 if layer_norm else torch.nan, torch.inf
    got = gradients(gru, x, LENGTHS, dy)
    order = LENGTHS.argsort(descending=True, stable=True)
    order = order[LENGTHS[order] > 0]
    few = gradients(gru, x[:9, order], LENGTHS[order], dy[:9, order])
    assert not got["y"][padded].any() and not got["x"][padded].any()
    alone = [name for name in few if "_hh" in name] if layer_norm else list(few)  # W x is PyTorch's product there
    for name in alone:
        found = got[name][:, order] if name in ("y", "h_n", "x") else got[name]
        assert torch.equal(found[: len(few[name])], few[name]), name


@pytest.mark.parametrize("reverse", [False, True])
def test_memory_for_gates_goes_to_rows_that_have_a_step(reverse: bool) -> None:
    """Room for 6 of 30 steps of all rows takes the gates of every step that there is."""
    weights, x, _, _ = case(T, B, I, H, True)
    layer, lengths = kernels.Layer(weights), LENGTHS.numpy()
    marks = (np.arange(T)[:, None] >= lengths).astype(np.uint8) * np.uint8(kernels.SKIP)
    saved = {}
    for save in (6, T):
        y, gates = np.empty((T, B, H), np.float32), layer.gates(T, B, save=save)
        places: Any = [(a.ctypes.data, a.strides[0] // 4, a.strides[1] // 4) for a in (x, y)]
        more = kernels.Extras(marks.ctypes.data)
        call = kernels.ForwardCall(T, B, places[0], (0, 0), places[1], 0, reverse, gates.native, more)
        layer.forward_at(call)
        saved[save] = gates.array().reshape(save * B, 4, H)
    steps = range(T)[::-1] if reverse else range(T)
    order = np.argsort(-lengths, kind="stable")
    having = [t * B + b for t in steps for b in order if t < lengths[b]]
    assert len(having) == lengths.sum() <= 6 * B
    assert np.array_equal(saved[6][: len(having)], saved[T][having])
