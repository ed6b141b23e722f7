"""The recurrence in plain PyTorch, a step at a time: any dtype and device, any transform, derivatives of any order.

It is what the kernels' operators are tested against, and where what they cannot do is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from grus.torch.recurrence.types import Extras, Gates, Weights

__all__ = ["gates", "layer", "normalised", "project", "without"]


def layer(
    x: Tensor,
    h0: Tensor | None,
    directions: Sequence[Weights],
    reset_after: bool,
    extras: Sequence[Extras] | None = None,
    gains: Sequence[Tensor | None] | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """x [T, B, I] and h0 [D, B, H] (None: zeros) to y [T, B, D·H] and h_n [D, B, H].

    The second direction walks backwards in time; with ``reverse``, the only one. ``gains`` [3H] normalise U h.
    """
    sequences, last = [], []
    for d, weights in enumerate(directions):
        more = Extras() if extras is None else extras[d]
        x = without(x, more.skip)
        h = x.new_zeros(x.shape[1], weights.weight_hh.shape[1]) if h0 is None else h0[d]
        projected, gain, back = project(x, weights), None if gains is None else gains[d], reverse or d == 1
        states: list[Tensor] = []
        for t in reversed(range(len(x))) if back else range(len(x)):
            h, y = _step(projected[t], h, weights, gain, reset_after, more, t)
            states.append(y)
        last.append(h)
        empty = projected[:, :, : h.shape[-1]]  # where T = 0: differentiable like any other
        sequences.append(torch.stack(states[::-1] if back else states) if states else empty)
    return torch.cat(sequences, -1), torch.stack(last)


def project(x: Tensor, weights: Weights) -> Tensor:
    """W x + b_i [T, B, 3H]."""
    return x if weights.weight_ih is None else linear(x, weights.weight_ih, weights.bias_ih)


def normalised(a: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """a [..., 3H] with mean 0 and deviation 1 of r and z together and of n, times gain [3H], plus bias [3H].

    Ba et al. 2016, arXiv:1607.06450.
    """
    hidden = gain.shape[0] // 3
    sizes, parts = [2 * hidden, hidden], []
    biases = (None, None) if bias is None else torch.split(bias, sizes)
    for part, own_gain, own_bias in zip(torch.split(a, sizes, -1), torch.split(gain, sizes), biases, strict=True):
        parts.append(layer_norm(part, part.shape[-1:], own_gain, own_bias))
    return torch.cat(parts, -1)


def _step(
    a: Tensor, h: Tensor, weights: Weights, gain: Tensor | None, reset_after: bool, more: Extras, t: int
) -> tuple[Tensor, Tensor]:
    """Step t of ``grus.reference``: a = W x + b_i [B, 3H] and h [B, H] to the next h and to y."""
    skip = None if more.skip is None else more.skip[t, :, None]
    if more.restart is not None:
        restart = more.restart[t, :, None] if skip is None else more.restart[t, :, None] & ~skip
        h = torch.where(restart, torch.zeros_like(h) if more.start is None else more.start, h)
    _, z, n = _gates(a, h if more.drop is None else h * more.drop, weights, gain, reset_after)
    zone = more.zone[t] if isinstance(more.zone, Tensor) else more.zone
    if isinstance(zone, Tensor) or zone:
        z = z + zone * (1 - z)
    after = (1 - z) * n + z * h
    if skip is None:
        return after, after
    return torch.where(skip, h, after), after.masked_fill(skip, 0.0)


def _gates(a: Tensor, h: Tensor, weights: Weights, gain: Tensor | None, reset_after: bool) -> Gates:
    """The gates from a = W x + b_i [..., 3H] and h [..., H], what U sees."""
    U, hidden = weights.weight_hh, h.shape[-1]
    zeros = U.new_zeros(3 * hidden)
    (a_r, a_z, a_n), b_h = a.chunk(3, -1), zeros if weights.bias_hh is None else weights.bias_hh
    if reset_after:
        u = linear(h, U, b_h) if gain is None else normalised(linear(h, U), gain, b_h)
        u_r, u_z, u_n = u.chunk(3, -1)
        r = torch.sigmoid(a_r + u_r)
        return Gates(r, torch.sigmoid(a_z + u_z), torch.tanh(a_n + r * u_n))
    U_rz, U_n = torch.split(U, [2 * hidden, hidden])
    u_rz = linear(h, U_rz)
    if gain is not None:
        u_rz = layer_norm(u_rz, u_rz.shape[-1:]) * gain[: 2 * hidden]
    u_r, u_z = (u_rz + b_h[: 2 * hidden]).chunk(2, -1)
    r = torch.sigmoid(a_r + u_r)
    u_n = linear(r * h, U_n)
    if gain is not None:
        u_n = layer_norm(u_n, u_n.shape[-1:]) * gain[2 * hidden :]
    return Gates(r, torch.sigmoid(a_z + u_z), torch.tanh(a_n + u_n + b_h[2 * hidden :]))


def gates(
    x: Tensor,
    h0: Tensor | None,
    y: Tensor,
    weights: Weights,
    reset_after: bool,
    more: Extras,
    reverse: bool,
    gain: Tensor | None = None,
) -> Gates:
    """The gates of all steps of one direction at once, from its output y [T, B, H]."""
    h = y.new_zeros(y.shape[1:]) if h0 is None else h0
    before = torch.cat([y, h[None]])[1:] if reverse else torch.cat([h[None], y])[:-1]  # T = 0 has none
    if more.skip is not None and reverse:  # a row's first step, as it walks, begins with h0 and not with y
        none = torch.zeros_like(more.skip[:1])
        before = torch.where(torch.cat([more.skip[1:], none])[..., None], h, before)
    if more.restart is not None:
        start = torch.zeros_like(h) if more.start is None else more.start
        before = torch.where(more.restart[..., None], start, before)
    if more.drop is not None:
        before = before * more.drop
    projected = project(without(x, more.skip), weights)
    return Gates(*(without(gate, more.skip) for gate in _gates(projected, before, weights, gain, reset_after)))


def without(tensor: Tensor, skip: Tensor | None) -> Tensor:
    """Zeros in the place of skipped steps, whatever stood there."""
    return tensor if skip is None else tensor.masked_fill(skip[..., None], 0.0)
