"""One layer of a GRU, in one or two directions, as a differentiable function of tensors: who takes which call.

| the call | is taken by |
|---|---|
| of a module with one layer in one direction and no options, float32 on the CPU, weights packed before | ``short`` |
| met by a compiler, exporter, tracer, dispatch mode, a transform of torch.func or a tensor's subclass | ``operators`` |
| one of those in ``torch.onnx.export`` | ``exported`` |
| with forward-mode derivatives | ``plain`` |
| of another dtype or device, with nothing but what ``torch.nn.GRU`` has | ``fused`` |
| of another dtype or device, with an option | ``plain`` |
| any other: float32 on the CPU in eager code | ``eager`` |

| inside them | by |
|---|---|
| W x with layer normalisation in eager code | ``projection`` |
| ``torch.vmap`` of an operator | ``vmap`` |
| gradients differentiated in turn, batched or by gates; an operator's, off the kernels | ``pullback`` |
| weights packed for the kernels, and how many gates are kept | ``packing`` |
| the kernels' calls, of ``eager`` and of ``operators`` | ``native`` |

The module itself tries ``short`` first, and gives ``fused`` all its layers at once where it can; the others are chosen
here. Each gives what ``plain`` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import linear

from grus.torch.recurrence import eager, fused, operators, packing, plain, projection
from grus.torch.recurrence.types import Direction, Extras, Gates, Norms, Weights
from grus.torch.recurrence.types import directions as directions_of

__all__ = ["in_onnx_export", "layer", "route"]

_NO_DISPATCH = torch._C._disabled_torch_dispatch_impl  # what a tensor has that Python code does not look into


def layer(
    x: Tensor,
    h0: Tensor | None,
    directions: Sequence[Weights],
    *,
    reset_after: bool = True,
    batch_major: bool = False,
    save_gates: bool | None = None,
    extras: Sequence[Extras] | None = None,
    norms: Sequence[Norms] | None = None,
    gates: list[Gates] | None = None,
    ready: list[packing.Packed] | None = None,
) -> tuple[Tensor, Tensor]:
    """x [T, B, I] and h0 [D, B, H] (None: zeros) to y [T, B, D·H] and h_n [D, B, H], D directions.

    The second direction walks backwards in time. ``batch_major`` lays y out in memory as [B, T, D·H]. ``extras`` are
    those of each direction, and so are ``norms``, which ask for layer normalisation. ``gates``, a list, is given the
    gates of each direction. ``ready`` is a list to find packed weights in, and to leave them in, from one call to the
    next. ``save_gates`` keeps gates for the backward pass, as ``packing.steps_kept`` says.
    """
    way, with_gates = route(x, h0, directions[0].weight_hh), gates is not None
    if way == "fused":
        if reset_after and norms is None and not with_gates and fused.takes(x, extras):
            return fused.stack(x, h0, directions, skip=None if extras is None else extras[0].skip)
        way = "plain"
    found = directions_of(
        x,
        None if way == "eager" else h0,  # where it is one input of the graph
        directions,
        extras,
        reset_after=reset_after,
        batch_major=batch_major,
        gates=with_gates,
    )
    if norms is not None:
        found = [_projected(one, norm, way) for one, norm in zip(found, norms, strict=True)]
    results: list[Tensor]
    if way == "operators" and in_onnx_export():
        from grus.torch.recurrence import exported  # and torch.onnx with it, which few need

        return exported.layer(found)
    if way == "plain":
        y, h_n = plain.layer(found)
        results = plain.gates(found, y) if with_gates else []
    else:
        tensors = [h0, *(tensor for one in found for tensor in one.differentiable)]
        training = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
        if with_gates or training:
            keep = x.shape[0] if with_gates else packing.steps_kept(found[0], save_gates)
            found = [one._replace(keep=keep) for one in found]
        y, h_n, results = eager.layer(h0, found, training, ready) if way == "eager" else operators.layer(found)
    if gates is not None:
        gates += [Gates(*results[i : i + 3]) for i in range(0, len(results), 3)]
    return y, h_n


def route(x: Tensor, h0: Tensor | None, U: Tensor) -> Literal["operators", "plain", "fused", "eager"]:
    """Who takes a call that is not short: addresses are not for us where someone looks on.

    What ``fused`` cannot take, ``plain`` does.
    """
    if forward_ad._current_level >= 0:
        return "plain"
    transformed = torch._C._are_functorch_transforms_active()
    if torch.compiler.is_compiling():
        return "plain" if transformed else "operators"  # Dynamo knows none of our rules for transforms
    if transformed or torch._C._is_tracing() or torch._C._len_torch_dispatch_stack():
        return "operators"
    seen = (x, U) if h0 is None else (x, U, h0)
    if any(type(tensor).__torch_dispatch__ is not _NO_DISPATCH for tensor in seen):
        return "operators"
    return "eager" if x.dtype == torch.float32 and x.device.type == "cpu" else "fused"


def in_onnx_export() -> bool:
    """Whether this call is written to an ONNX file."""
    if torch.compiler.is_compiling():  # where Dynamo cannot ask for tracers
        return torch.compiler.is_exporting() and _asked_torch()
    return torch._C._is_tracing() and _asked_torch()


def _asked_torch() -> bool:
    return torch.onnx.is_in_onnx_export()


# what torch.compiler.assume_constant_result sets, without loading Dynamo, which takes the answer itself for False
_asked_torch._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _projected(one: Direction, norm: Norms, way: str) -> Direction:
    """With W x + b_i, normalised, in the place of x."""
    x, W = plain.without(one.x, one.skip), one.weight_ih
    assert W is not None
    if way == "eager":
        a = projection.project(x, W, norm.gain_ih, one.bias_ih)
    else:
        a = plain.normalised(linear(x, W), norm.gain_ih, one.bias_ih)
    return one._replace(x=a, weight_ih=None, bias_ih=None, gain=norm.gain_hh)
