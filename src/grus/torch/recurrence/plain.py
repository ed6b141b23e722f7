"""The recurrence in plain PyTorch, a step at a time: any dtype and device, any transform, derivatives of any order.

It is what the kernels' operators are tested against, and where what they cannot do is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from grus.torch.recurrence.types import Direction, Gates

__all__ = ["gates", "layer", "normalised", "without"]


def layer(directions: Sequence[Direction]) -> tuple[Tensor, Tensor]:
    """y [T, B, D·H] and h_n [D, B, H]."""
    results = [_walk(one) for one in directions]
    return torch.cat([y for y, _ in results], -1), torch.stack([h for _, h in results])


def _walk(one: Direction) -> tuple[Tensor, Tensor]:
    """y [T, B, H] and the last state [B, H]."""
    x = without(one.x, one.skip)
    h = _first_state(one, x)
    projected = _project(x, one)
    states: list[Tensor] = []
    for t in reversed(range(len(x))) if one.reverse else range(len(x)):
        h, y = _step(projected[t], h, one, t)
        states.append(y)
    if not states:
        return projected[:, :, : h.shape[-1]], h  # where T = 0: differentiable like any other
    return torch.stack(states[::-1] if one.reverse else states), h


def _first_state(one: Direction, like: Tensor) -> Tensor:
    return like.new_zeros(like.shape[1], one.weight_hh.shape[1]) if one.h0 is None else one.h0


def _project(x: Tensor, one: Direction) -> Tensor:
    """W x + b_i [T, B, 3H]."""
    return x if one.weight_ih is None else linear(x, one.weight_ih, one.bias_ih)


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


def _step(a: Tensor, h: Tensor, one: Direction, t: int) -> tuple[Tensor, Tensor]:
    """Step t of ``grus.reference``: a = W x + b_i [B, 3H] and h [B, H] to the next h and to y."""
    skip = None if one.skip is None else one.skip[t, :, None]
    if one.restart is not None:
        restart = one.restart[t, :, None] if skip is None else one.restart[t, :, None] & ~skip
        h = torch.where(restart, torch.zeros_like(h) if one.start is None else one.start, h)
    _, z, n = _gates(a, h if one.drop is None else h * one.drop, one)
    zone = one.zone if one.zone_mask is None else one.zone_mask[t]
    if isinstance(zone, Tensor) or zone:
        z = z + zone * (1 - z)
    after = (1 - z) * n + z * h
    if skip is None:
        return after, after
    return torch.where(skip, h, after), after.masked_fill(skip, 0.0)


def _gates(a: Tensor, h: Tensor, one: Direction) -> Gates:
    """The gates from a = W x + b_i [..., 3H] and h [..., H], what U sees."""
    U, gain, hidden = one.weight_hh, one.gain, h.shape[-1]
    zeros = U.new_zeros(3 * hidden)
    (a_r, a_z, a_n), b_h = a.chunk(3, -1), zeros if one.bias_hh is None else one.bias_hh
    if one.reset_after:
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


def gates(directions: Sequence[Direction], y: Tensor) -> list[Tensor]:
    """r, z and n of each direction, all steps at once, from the layer's output y [T, B, D·H]."""
    hidden = directions[0].weight_hh.shape[1]
    found: list[Tensor] = []
    for d, one in enumerate(directions):
        h = _before(one, y[..., d * hidden : (d + 1) * hidden])
        projected = _project(without(one.x, one.skip), one)
        found += (without(gate, one.skip) for gate in _gates(projected, h, one))
    return found


def _before(one: Direction, y: Tensor) -> Tensor:
    """What U sees at each step [T, B, H]: the state after the step before."""
    h = _first_state(one, y)
    before = torch.cat([y, h[None]])[1:] if one.reverse else torch.cat([h[None], y])[:-1]  # T = 0 has none
    if one.skip is not None and one.reverse:  # a row's first step, as it walks, begins with h0 and not with y
        none = torch.zeros_like(one.skip[:1])
        before = torch.where(torch.cat([one.skip[1:], none])[..., None], h, before)
    if one.restart is not None:
        start = torch.zeros_like(h) if one.start is None else one.start
        before = torch.where(one.restart[..., None], start, before)
    return before if one.drop is None else before * one.drop


def without(tensor: Tensor, skip: Tensor | None) -> Tensor:
    """Zeros in the place of skipped steps, whatever stood there."""
    return tensor if skip is None else tensor.masked_fill(skip[..., None], 0.0)
