"""The short way to the kernels: one layer in one direction, without options, in float32 on the CPU, run eagerly.

At small sizes a step takes less than the code around it, so this does what ``recurrence.layer`` does with as little
of that as is safe. It gives None where anything is out of the ordinary, or steps are many and ``ready`` does not hold
the weights: the caller then goes the long way, which packs them, and says what is wrong where something is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from grus.runtime import kernels
from grus.torch.recurrence import packing, plain, pullback
from grus.torch.recurrence.types import Direction

__all__ = ["infer", "step"]

_TENSORS = (Tensor, nn.Parameter)  # subclasses may do anything


def infer(
    x: Tensor, h0: Tensor | None, weights: Sequence[Tensor | None], ready: list[packing.Packed], layer: Any
) -> tuple[Tensor, Tensor] | None:
    """A layer: x [T, B, I], or [B, T, I] with ``layer.batch_first``, to y like it and h_n [1, B, H]; no graph."""
    if (at := _addresses(x, 3, weights, layer)) is None:
        return None
    rows, columns, features = x.shape
    steps, batch = (columns, rows) if layer.batch_first else (rows, columns)
    hidden, I = layer.hidden_size, layer.input_size  # noqa: E741
    if not steps or not batch or features != I:
        return None
    first = (0, 0)
    if h0 is not None:
        if h0.shape != (1, batch, hidden) or not _ordinary(h0):
            return None
        first = (h0.data_ptr(), hidden)
    y = torch.empty(rows, columns, hidden, dtype=torch.float32, device="cpu")
    h_n = torch.empty(1, batch, hidden, dtype=torch.float32, device="cpu") if h0 is None else torch.empty_like(h0)
    in_time, in_batch = (1, steps) if layer.batch_first else (batch, 1)
    given, made = (x.data_ptr(), in_time * I, in_batch * I), (y.data_ptr(), in_time * hidden, in_batch * hidden)
    call = kernels.ForwardCall(steps=steps, batch=batch, x=given, h0=first, y=made, h_n=h_n.data_ptr(), reverse=False)
    if packing.few(steps):
        packed = packing.Packed.given(I, hidden, at, layer.reset_after)
    elif len(ready) == 1 and packing.holds(ready[0], I, hidden, layer.reset_after, *at):
        packed = ready[0]
    else:
        return None
    packed.forward_at(call)
    return y, h_n


def step(x: Tensor, h: Tensor | None, weights: Sequence[Tensor | None], cell: Any) -> Tensor | None:
    """A cell: x [B, I] and h [B, H] to the next state [B, H], differentiable."""
    if (at := _addresses(x, 2, weights, cell)) is None:
        return None
    batch, features = x.shape
    if not batch or features != cell.input_size:
        return None
    if h is not None and (h.shape != (batch, cell.hidden_size) or not _ordinary(h)):
        return None
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, h, *weights)):
        return _Step.apply(cell.reset_after, x, h, *weights)  # type: ignore[no-any-return,no-untyped-call]
    packed = packing.Packed.given(features, cell.hidden_size, at, cell.reset_after)
    return _step(packed, x, h, None)


def _ordinary(tensor: Tensor) -> bool:
    """Whether the address of its memory says all."""
    return (
        type(tensor) in _TENSORS
        and tensor.dtype is torch.float32
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )


Addresses = tuple[int, int, int, int, int]


def _addresses(x: Tensor, dims: int, weights: Sequence[Tensor | None], module: Any) -> Addresses | None:
    """Where the weights are, when they and x are ordinary and nobody but us looks on."""
    if (
        torch.compiler.is_compiling()
        or x.dim() != dims
        or not _ordinary(x)
        or forward_ad._current_level >= 0
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
    ):
        return None
    found = [0, 0, 0, 0, 0]
    for index, (weight, shape) in enumerate(zip(weights, module._shapes[0], strict=False)):
        if weight is None:
            if index < 2 or module.bias:  # computed, by a parametrization
                return None
            continue
        if weight.shape != shape or not _ordinary(weight):
            return None
        found[index] = weight.data_ptr()
    return found[0], found[1], found[2], found[3], 0


def _step(packed: packing.Packed, x: Tensor, h: Tensor | None, room: kernels.Gates | None) -> Tensor:
    batch, hidden = x.shape[0], packed.hidden_size
    after = torch.empty(batch, hidden, dtype=torch.float32, device="cpu")
    again = torch.empty_like(after)
    first = (0, 0) if h is None else (h.data_ptr(), hidden)
    given, made = (x.data_ptr(), 0, packed.input_size), (after.data_ptr(), 0, hidden)
    native = None if room is None else room.native
    packed.forward_at(
        kernels.ForwardCall(
            steps=1, batch=batch, x=given, h0=first, y=made, h_n=again.data_ptr(), reverse=False, gates=native
        )
    )
    return after


def _given(reset_after: bool, weights: Sequence[Any]) -> packing.Packed:
    """A saved tensor may have come back as another: its memory is where it is now."""
    own: list[Any] = [None if w is None else w.resolve_neg().contiguous() for w in weights]
    at = tuple(0 if w is None else w.data_ptr() for w in own)
    return packing.Packed.given(own[0].shape[1], own[1].shape[1], (*at, 0), reset_after, own)  # type: ignore[arg-type]


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reset_after: bool, x: Tensor, h: Tensor | None, *weights: Tensor | None) -> Tensor:
        packed = _given(reset_after, weights)
        room = packed.gates(1, x.shape[0])
        after = _step(packed, x, h, room)
        ctx.reset_after, ctx.room = reset_after, room
        ctx.save_for_backward(x, h, after, *weights)
        return after

    @staticmethod
    def backward(ctx: Any, dafter: Tensor) -> Any:
        x, h, after, *weights = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if pullback.needed(dafter):

            def plainly(x: Tensor, h: Tensor | None, *weights: Any) -> tuple[Tensor]:
                one = Direction(x.unsqueeze(0), h, *weights)._replace(reset_after=ctx.reset_after)
                return (plain.layer([one])[1],)

            return None, *pullback.by_autograd(plainly, (x, h, *weights), (dafter.unsqueeze(0),), wanted)
        (batch, features), hidden = x.shape, after.shape[1]
        dafter = dafter.resolve_neg().contiguous()
        dx = torch.empty_like(x) if wanted[0] else None
        dh = torch.empty_like(after)
        by_weights: list[Tensor | None] = [None] * 4
        if any(wanted[2:]):
            b_i, b_h = (after.new_empty(3 * hidden) if bias is None else torch.empty_like(bias) for bias in weights[2:])
            by_weights = [torch.empty_like(weights[0]), torch.empty_like(weights[1]), b_i, b_h]
        call = kernels.BackwardCall(
            steps=1,
            batch=batch,
            x=(x.data_ptr(), 0, features),
            h0=(0, 0) if h is None else (h.data_ptr(), hidden),
            y=(after.data_ptr(), 0, hidden),
            dy=(0, 0, 0),
            dh_n=dafter.data_ptr(),
            dx=(0, 0, 0) if dx is None else (dx.data_ptr(), 0, features),
            add_dx=False,
            dh0=dh.data_ptr(),
            by_weights=(*(0 if gradient is None else gradient.data_ptr() for gradient in by_weights), 0),  # type: ignore[arg-type]
            reverse=False,
            gates=ctx.room.native,
        )
        _given(ctx.reset_after, weights).backward_at(call)
        found = zip((dx, dh, *by_weights), wanted, strict=True)
        return None, *(gradient if want else None for gradient, want in found)
