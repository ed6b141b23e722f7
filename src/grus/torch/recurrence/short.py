"""The short way to the kernels: one layer in one direction, without options, in float32 on the CPU, run eagerly.

At small sizes a step takes less than the code around it, so this does what ``recurrence.layer`` does with as little
of that as is safe. It gives None where anything is out of the ordinary, or steps are many and ``ready`` does not hold
the weights: the caller then goes the long way, which packs them, and says what is wrong where something is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from grus.runtime import kernels
from grus.torch.recurrence import packing, plain, pullback
from grus.torch.recurrence.types import Direction

__all__ = ["layer", "step"]

_TENSORS = (Tensor, nn.Parameter)  # subclasses may do anything
Addresses = tuple[int, int, int, int, int]


class _Plan(NamedTuple):
    """Of a call: x is [T, B, I], or [B, T, I] with ``batch_first``, or [B, I] for a cell."""

    steps: int
    batch: int
    input_size: int
    hidden_size: int
    reset_after: bool
    batch_first: bool
    cell: bool

    def place(self, tensor: Tensor | None, size: int) -> tuple[int, int, int]:
        if tensor is None:
            return 0, 0, 0
        if self.batch_first:
            return tensor.data_ptr(), size, self.steps * size
        return tensor.data_ptr(), self.batch * size, size


kernels.know_tensors(Tensor, nn.Parameter, torch.float32, torch.strided, torch.empty, torch.device("cpu"))


def layer(
    x: Tensor, h0: Tensor | None, weights: list[Any], ready: list[packing.Packed], module: Any
) -> tuple[Tensor, Tensor] | None:
    """x [T, B, I], or [B, T, I] with ``module.batch_first``, and h0 [1, B, H] to y like x and h_n [1, B, H].

    Differentiable where the steps are few.
    """
    found = _infer(x, h0, weights, module, module.batch_first, False)
    if found is None:
        return None if torch.is_grad_enabled() else _by_ready(x, h0, weights, ready, module)
    if len(found) == 2:
        return found  # type: ignore[no-any-return]
    rows, columns, features = x.shape
    steps, batch = (columns, rows) if module.batch_first else (rows, columns)
    plan = _Plan(steps, batch, features, module.hidden_size, module.reset_after, module.batch_first, False)
    own = weights if module.bias else (*weights, None, None)
    return _Steps.apply(plan, found, x, h0, *own)  # type: ignore[no-any-return,no-untyped-call]


def step(x: Tensor, h: Tensor | None, weights: list[Any], cell: Any) -> Tensor | None:
    """A cell: x [B, I] and h [B, H] to the next state [B, H], differentiable."""
    found = _infer(x, h, weights, cell, False, True)
    if type(found) is not tuple:
        return found  # type: ignore[no-any-return]
    plan = _Plan(1, *x.shape, cell.hidden_size, cell.reset_after, False, True)
    return _Steps.apply(plan, found, x, h, *weights)  # type: ignore[no-any-return,no-untyped-call]


def _infer(
    x: Tensor, h0: Tensor | None, weights: list[Any], module: Any, batch_first: bool, cell: bool
) -> Any:
    """What comes of few steps; with a graph to come the addresses of the weights; None where another way is needed."""
    if _watched():
        return None
    sizes = module.input_size, module.hidden_size
    options = module.bias, module.reset_after, batch_first, cell
    return kernels.infer(x, h0, weights, *sizes, *options, packing.FEW, torch.is_grad_enabled())


def _by_ready(
    x: Tensor, h0: Tensor | None, weights: Sequence[Tensor | None], ready: list[packing.Packed], module: Any
) -> tuple[Tensor, Tensor] | None:
    """Many steps, where ``ready`` holds the weights."""
    if x.dim() != 3 or len(ready) != 1 or (at := _addresses(x, weights, module)) is None:
        return None
    rows, columns, features = x.shape
    steps, batch = (columns, rows) if module.batch_first else (rows, columns)
    hidden = module.hidden_size
    if not steps or not batch or features != module.input_size:
        return None
    if h0 is not None and (h0.shape != (1, batch, hidden) or not _ordinary(h0)):
        return None
    if not packing.holds(ready[0], features, hidden, module.reset_after, *at):
        return None
    plan = _Plan(steps, batch, features, hidden, module.reset_after, module.batch_first, False)
    return _forward(ready[0], plan, x, h0, None)  # type: ignore[return-value]


def _watched() -> bool:
    """Whether anybody but us looks on."""
    return (
        torch.compiler.is_compiling()
        or forward_ad._current_level >= 0
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
    )


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


def _addresses(x: Tensor, weights: Sequence[Tensor | None], module: Any) -> Addresses | None:
    """Where the weights are, when they and x are ordinary and nobody but us looks on."""
    if _watched() or not _ordinary(x):
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


def _forward(
    packed: packing.Packed, plan: _Plan, x: Tensor, h0: Tensor | None, room: kernels.Gates | None
) -> tuple[Tensor, Tensor | None]:
    """y, and h_n where it is no cell's."""
    hidden = plan.hidden_size
    y = torch.empty(*x.shape[:-1], hidden, dtype=torch.float32, device="cpu")
    h_n = None if plan.cell else torch.empty(1, plan.batch, hidden, dtype=torch.float32, device="cpu")
    packed.forward_at(
        kernels.ForwardCall(
            steps=plan.steps,
            batch=plan.batch,
            x=plan.place(x, plan.input_size),
            h0=(0, 0) if h0 is None else (h0.data_ptr(), hidden),
            y=plan.place(y, hidden),
            h_n=0 if h_n is None else h_n.data_ptr(),
            reverse=False,
            gates=None if room is None else room.native,
        )
    )
    return y, h_n


def _given(plan: _Plan, weights: Sequence[Any]) -> packing.Packed:
    """A saved tensor may have come back as another: its memory is where it is now."""
    own: list[Any] = [None if w is None else w.resolve_neg().contiguous() for w in weights]
    at = [0 if w is None else w.data_ptr() for w in own]
    return packing.Packed.given(plan.input_size, plan.hidden_size, (*at, 0), plan.reset_after, own)  # type: ignore[arg-type]


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, at: Addresses, x: Tensor, h0: Tensor | None, *weights: Tensor | None) -> Any:
        packed = packing.Packed.given(plan.input_size, plan.hidden_size, at, plan.reset_after)
        ctx.plan, ctx.room = plan, packed.gates(plan.steps, plan.batch)
        y, h_n = _forward(packed, plan, x, h0, ctx.room)
        # the state after a step is read by the next: the last may be written into
        ctx.save_for_backward(x, h0, y if plan.steps > 1 else None, *weights)
        ctx.set_materialize_grads(False)
        return y if h_n is None else (y, h_n)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None = None) -> Any:
        plan: _Plan = ctx.plan
        with pullback.explained():
            x, h0, y, *weights = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        if pullback.needed(dy, dh_n):
            by = (dy,) if plan.cell else (dy, dh_n)
            return None, None, *pullback.by_autograd(_plainly(plan), (x, h0, *weights), by, wanted)
        dy, dh_n = (None if g is None else g.resolve_neg().contiguous() for g in (dy, dh_n))
        hidden = plan.hidden_size
        dx = torch.empty_like(x) if wanted[0] else None
        dh0 = x.new_empty(plan.batch, hidden) if h0 is None else torch.empty_like(h0)
        by_weights: list[Any] = [None] * 4
        if any(wanted[2:]):
            b_i, b_h = (x.new_empty(3 * hidden) if bias is None else torch.empty_like(bias) for bias in weights[2:])
            by_weights = [torch.empty_like(weights[0]), torch.empty_like(weights[1]), b_i, b_h]
        call = kernels.BackwardCall(
            steps=plan.steps,
            batch=plan.batch,
            x=plan.place(x, plan.input_size),
            h0=(0, 0) if h0 is None else (h0.data_ptr(), hidden),
            y=plan.place(y, hidden),
            dy=plan.place(dy, hidden),
            dh_n=0 if dh_n is None else dh_n.data_ptr(),
            dx=plan.place(dx, plan.input_size),
            add_dx=False,
            dh0=dh0.data_ptr(),
            by_weights=(*(0 if gradient is None else gradient.data_ptr() for gradient in by_weights), 0),  # type: ignore[arg-type]
            reverse=False,
            gates=ctx.room.native,
        )
        _given(plan, weights).backward_at(call)
        found = zip((dx, dh0, *by_weights), wanted, strict=True)
        return None, None, *(gradient if want else None for gradient, want in found)


def _plainly(plan: _Plan) -> pullback.Function:
    """What a call computes, of x, h0 and the weights."""

    def function(x: Tensor, h0: Tensor | None, *weights: Any) -> Sequence[Tensor]:
        if plan.cell:
            x = x.unsqueeze(0)
        else:
            x, h0 = x.transpose(0, 1) if plan.batch_first else x, None if h0 is None else h0.squeeze(0)
        y, h_n = plain.layer([Direction(x, h0, *weights)._replace(reset_after=plan.reset_after)])
        if plan.cell:
            return (y.squeeze(0),)
        return y.transpose(0, 1) if plan.batch_first else y, h_n

    return function
