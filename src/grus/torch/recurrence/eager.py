"""The kernels in eager code: a layer in float32 on the CPU as one node of autograd's graph.

The backward pass has the gates of the last steps and computes those of the others once more, so that beyond inputs,
weights and output it keeps no more than a fixed amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grus.runtime import kernels
from grus.torch.recurrence import native, packing, pullback
from grus.torch.recurrence.types import OWN, REST, Direction, joined

__all__ = ["layer"]


def layer(
    h0: Tensor | None, directions: Sequence[Direction], training: bool, ready: list[packing.Packed] | None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """y [T, B, D·H], h_n [D, B, H] and r, z and n of each direction where they are results.

    h0 [D, B, H] comes apart: of the graph it is one input. ``training``: there are gradients to come.
    """
    if directions[0].gain is None:
        return _together(h0, directions, training, ready)
    # with layer normalisation each has an x of its own
    firsts = [None] * len(directions) if h0 is None else [h0[d : d + 1] for d in range(len(directions))]
    parts = [_together(first, [one], training, None) for first, one in zip(firsts, directions, strict=True)]
    if len(parts) == 1:
        return parts[0]
    y, h_n, gates = zip(*parts, strict=True)
    return torch.cat(y, -1), torch.cat(h_n), [gate for own in gates for gate in own]


def _together(
    h0: Tensor | None, directions: Sequence[Direction], training: bool, ready: list[packing.Packed] | None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Those of one x."""
    x, more = directions[0].x, [native.masks(one) for one in directions]
    if training:
        packed = None if packing.few(len(x)) else packing.pack(directions, training=True)
        rests = [one[REST] for one in directions]
        own = [tensor for one in directions for tensor in one.differentiable[OWN]]
        y, h_n, *gates = _Layer.apply(packed, more, rests, x, h0, *own)  # type: ignore[no-untyped-call]
    else:
        packed = packing.as_given(directions) if packing.few(len(x)) else packing.packed_in(ready, directions)
        if h0 is not None:
            directions = [one._replace(h0=first) for one, first in zip(directions, h0.unbind(), strict=True)]
        y, h_n, rooms = _forward(directions, more, packed)
        gates = _gates(directions, rooms, h_n)
    return directions[0].turned(y), h_n, gates


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        packed: list[packing.Packed] | None,  # None: as they are given, to each pass
        more: list[native.Masks | None],
        rests: list[Any],
        x: Tensor,
        h0: Tensor | None,
        *own: Tensor | None,
    ) -> tuple[Tensor, ...]:
        directions = joined(rests, x, h0, own)
        y, h_n, rooms = _forward(directions, more, packed or packing.as_given(directions))
        gates = _gates(directions, rooms, h_n)
        ctx.packed, ctx.more, ctx.rests, ctx.rooms = packed, more, rests, rooms
        ctx.save_for_backward(x, h0, y, *own, *gates)  # of the results, that nobody has written into them
        ctx.set_materialize_grads(False)  # an output the loss does not use has the gradient None
        return y, h_n, *gates

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None, *dgates: Tensor | None) -> Any:
        rests, wanted = ctx.rests, ctx.needs_input_grad[3:]
        with pullback.explained():
            x, h0, y, *own = ctx.saved_tensors[: 1 + len(wanted)]
        by_gates = any(gradient is not None for gradient in dgates)

        def make(x: Tensor, h0: Tensor | None, *own: Tensor | None) -> list[Direction]:
            return joined(rests, x, h0, own)

        if pullback.needed(dy, dh_n, *dgates):
            function, by = pullback.results(make, by_gates), (dy, dh_n, *(dgates if by_gates else ()))
            return None, None, None, *pullback.by_autograd(function, (x, h0, *own), by, wanted)
        more = None
        if by_gates:  # through the gates first, as functions of y among others; then through y
            sources = (y, x, h0, *own)
            by_y, *more = pullback.by_autograd(pullback.gates(make), sources, dgates, (True, *wanted))
            dy = by_y if dy is None or by_y is None else dy + by_y
        directions = make(x, h0, *own)
        packed = ctx.packed or packing.as_given(directions)  # where they are now: .data may have become another
        found = native.backward(directions, ctx.more, packed, ctx.rooms, y, dy, dh_n, wanted)
        if more is not None:
            found = [a if b is None else b if a is None else a + b for a, b in zip(found, more, strict=True)]
        return None, None, None, *found


Rooms = list[kernels.Gates | None]


def _forward(
    directions: Sequence[Direction], more: Sequence[native.Masks | None], packed: Sequence[packing.Packed]
) -> tuple[Tensor, Tensor, Rooms]:
    rooms = [native.room(one, direction) for one, direction in zip(packed, directions, strict=True)]
    return *native.forward(directions, more, packed, rooms), rooms


def _gates(directions: Sequence[Direction], rooms: Rooms, like: Tensor) -> list[Tensor]:
    """r, z and n [T, B, H] of each direction where they are results, in the memory of ``rooms``."""
    found: list[Tensor] = []
    for one, room in zip(directions if directions[0].gates else (), rooms, strict=False):
        if room is None:
            found += [like.new_zeros(*one.x.shape[:2], like.shape[-1]) for _ in range(3)]
            continue
        gates = torch.from_numpy(room.array())
        if one.skip is not None:
            gates.masked_fill_(one.skip[:, :, None, None], 0.0)
        found += gates.unbind(2)[:3]
    return found
