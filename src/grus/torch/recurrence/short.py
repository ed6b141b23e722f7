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


kernels.know_tensors(Tensor, nn.Parameter, torch.float32, torch.strided, torch.empty, torch.device("cpu"))


class _Kind(NamedTuple):
    """Of a call: x is [T, B, I], or [B, T, I] with ``batch_first``, or [B, I] for a cell."""

    input_size: int
    hidden_size: int
    reset_after: bool
    batch_first: bool
    cell: bool


def layer(
    x: Tensor, h0: Tensor | None, weights: list[Any], ready: list[packing.Packed], module: Any
) -> tuple[Tensor, Tensor] | None:
    """x [T, B, I], or [B, T, I] with ``module.batch_first``, and h0 [1, B, H] to y like x and h_n [1, B, H].

    Differentiable where the steps are few.
    """
    kind = _Kind(module.input_size, module.hidden_size, module.reset_after, module.batch_first, False)
    if (found := _few(x, h0, weights, kind, module.bias)) is not None:
        return found  # type: ignore[no-any-return]
    return None if torch.is_grad_enabled() else _by_ready(x, h0, weights, ready, module)


def step(x: Tensor, h: Tensor | None, weights: list[Any], cell: Any) -> Tensor | None:
    """A cell: x [B, I] and h [B, H] to the next state [B, H], differentiable."""
    kind = _Kind(cell.input_size, cell.hidden_size, cell.reset_after, False, True)
    return _few(x, h, weights, kind, cell.bias)  # type: ignore[no-any-return]


def _few(x: Tensor, h0: Tensor | None, weights: list[Any], kind: _Kind, bias: bool) -> Any:
    """What comes of few steps: y and h_n, or the state of a cell. None where another way is needed."""
    if _watched():
        return None
    I, H, reset_after, batch_first, cell = kind  # noqa: E741
    graph = torch.is_grad_enabled()
    found = kernels.forward_given(x, h0, weights, I, H, bias, reset_after, batch_first, cell, packing.FEW, graph)
    if found is None:
        return None
    y, h_n, gates = found
    if gates is not None:
        own = weights if len(weights) == 4 else (*weights, None, None)
        return _Steps.apply(kind, (y, h_n, gates), x, h0, *own)  # type: ignore[no-untyped-call]
    return y if cell else (y, h_n)


def _by_ready(
    x: Tensor, h0: Tensor | None, weights: Sequence[Tensor | None], ready: list[packing.Packed], module: Any
) -> tuple[Tensor, Tensor] | None:
    """Many steps, where ``ready`` holds the weights."""
    if x.dim() != 3 or len(ready) != 1 or (at := _addresses(x, weights, module)) is None:
        return None
    rows, columns, I = x.shape  # noqa: E741
    T, B, H = (columns, rows, module.hidden_size) if module.batch_first else (rows, columns, module.hidden_size)
    if not T or not B or module.input_size != I:
        return None
    if h0 is not None and (h0.shape != (1, B, H) or not _ordinary(h0)):
        return None
    if not packing.holds(ready[0], I, H, module.reset_after, *at):
        return None
    y = torch.empty(rows, columns, H, dtype=torch.float32, device="cpu")
    h_n = torch.empty(1, B, H, dtype=torch.float32, device="cpu")
    in_time, in_batch = (1, T) if module.batch_first else (B, 1)
    given, made = (x.data_ptr(), in_time * I, in_batch * I), (y.data_ptr(), in_time * H, in_batch * H)
    first = (0, 0) if h0 is None else (h0.data_ptr(), H)
    ready[0].forward_at(
        kernels.ForwardCall(steps=T, batch=B, x=given, h0=first, y=made, h_n=h_n.data_ptr(), reverse=False)
    )
    return y, h_n


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


class _Steps(torch.autograd.Function):
    """Adds what was computed already to the graph."""

    @staticmethod
    def forward(ctx: Any, kind: _Kind, found: Any, x: Tensor, h0: Tensor | None, *weights: Tensor | None) -> Any:
        y, h_n, ctx.gates = found
        ctx.kind = kind
        # the state after a step is read by the next: the last may be written into
        one = kind.cell or x.shape[kind.batch_first] == 1
        ctx.save_for_backward(x, h0, None if one else y, *weights)
        ctx.set_materialize_grads(False)
        return y if kind.cell else (y, h_n)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None = None) -> Any:
        kind: _Kind = ctx.kind
        with pullback.explained():
            saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        if pullback.needed(dy, dh_n):
            x, h0, _, *weights = saved
            by = (dy,) if kind.cell else (dy, dh_n)
            return None, None, *pullback.by_autograd(_plainly(kind), (x, h0, *weights), by, wanted)
        found = _pull(ctx.gates, kind, saved, dy, dh_n, wanted)
        if found is None:  # a gradient that is not contiguous, or saved tensors have come back as others
            *own, dy, dh_n = (None if t is None else _plain_one(t) for t in (*saved, dy, dh_n))
            found = _pull(ctx.gates, kind, own, dy, dh_n, wanted)
        return None, None, *found


def _pull(gates: Any, kind: _Kind, saved: Sequence[Any], dy: Any, dh_n: Any, wanted: Sequence[bool]) -> Any:
    x, h0, y, *weights = saved
    return kernels.backward_given(gates, x, h0, y, weights, dy, dh_n, *kind, wanted)


def _plain_one(tensor: Tensor) -> Tensor:
    return tensor.detach().as_subclass(Tensor).resolve_neg().to("cpu", torch.float32).contiguous()


def _plainly(kind: _Kind) -> pullback.Function:
    """What a call computes, of x, h0 and the weights."""

    def function(x: Tensor, h0: Tensor | None, *weights: Any) -> Sequence[Tensor]:
        if kind.cell:
            x = x.unsqueeze(0)
        else:
            x, h0 = x.transpose(0, 1) if kind.batch_first else x, None if h0 is None else h0.squeeze(0)
        y, h_n = plain.layer([Direction(x, h0, *weights)._replace(reset_after=kind.reset_after)])
        if kind.cell:
            return (y.squeeze(0),)
        return y.transpose(0, 1) if kind.batch_first else y, h_n

    return function
