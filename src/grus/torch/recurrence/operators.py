"""One direction of a layer as registered operators, for what traces, compiles, exports or transforms a model.

``torch.ops.grus.layer`` and its backward pass, ``torch.ops.grus.layer_backward``, run the kernels in float32 on the CPU
and plain PyTorch, a step at a time, in other dtypes and on other devices. Dynamo, AOTAutograd, FakeTensor and
TorchScript's tracer see one node, whose shapes and derivative are known. The transforms of ``torch.func``, closed to
the derivative of such an operator, get the same two functions as :class:`torch.autograd.Function`, with rules for
``torch.vmap``. ``recurrence.layer`` comes here where its own way, quicker in eager code, cannot go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from grus.torch.recurrence import native, packing, pullback, vmap
from grus.torch.recurrence.types import DIFFERENTIABLE, TENSORS, WEIGHTS, Backward, Direction

__all__ = ["layer"]

_AUTOGRAD = torch._C.DispatchKey.AutogradFunctionality
_KINDS = {Tensor: "Tensor", Tensor | None: "Tensor?", float: "float", bool: "bool", int: "SymInt"}
_FIELDS = [f"{_KINDS[kind]} {name}" for name, kind in get_type_hints(Direction).items()]
_TENSORS, _SETTINGS, _KEEP = ", ".join(_FIELDS[TENSORS]), ", ".join(_FIELDS[TENSORS.stop : -1]), _FIELDS[-1]


def layer(directions: Sequence[Direction]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """y [T, B, D·H], h_n [D, B, H] and with ``gates`` r, z and n of each direction, by one operator a direction."""
    run: Callable[..., Any] = _Transformed.apply if torch._C._are_functorch_transforms_active() else _forward
    sequences, last, found = [], [], []
    for one in directions:
        y, h_n, kept = run(*one)
        sequences.append(y)
        last.append(h_n)
        if one.gates:
            found += kept.unbind(2)[:3]
    y = sequences[0] if len(sequences) == 1 else torch.cat(sequences, -1)
    return directions[0].turned(y), torch.stack(last), found


@torch.library.custom_op(
    "grus::layer", mutates_args=(), schema=f"({_TENSORS}, {_SETTINGS}, {_KEEP}) -> (Tensor, Tensor, Tensor)"
)
def _forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """y as it lies in memory [T, B, H] or [B, T, H], h_n [B, H] and the gates kept [keep, B, 4, H]: r, z, n, U_n h."""
    one = Direction(*args)
    return (_forward_by_kernels if _on_kernels(one.x) else _forward_plain)(one)


@_forward.register_fake
def _(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    one = Direction(*args)
    (steps, batch, _), hidden = one.x.shape, one.weight_hh.shape[1]
    shape = (batch, steps, hidden) if one.batch_major else (steps, batch, hidden)
    new = one.x.new_empty
    return new(shape), new(batch, hidden), new(one.keep, batch, 4, hidden)


@torch.library.custom_op(
    "grus::layer_backward",
    mutates_args=(),
    schema=f"(Tensor? dy, Tensor? dh_n, {_TENSORS}, Tensor y, Tensor kept, {_SETTINGS}, bool by_x, bool by_weights, "
    "int groups) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _backward(*args: Any) -> tuple[Tensor, ...]:
    """The gradients by x, h0, weights, gain and start, with no elements where there is none or it is not wanted.

    Those by the weights are sums over the batch; with ``groups`` [groups, ...], over each part of it by itself.
    """
    call = Backward.of(args)
    if _on_kernels(call.direction.x):
        return _backward_by_kernels(call)
    with torch.no_grad(), torch._C._SetExcludeDispatchKeyGuard(_AUTOGRAD, False):  # which is off inside an operator
        function = pullback.of_backward(call, pullback.by_autograd)
        found = function(call.dy, call.dh_n, *call.direction.differentiable)
    return tuple(one.clone() for one in found)  # none may share memory with another


@_backward.register_fake
def _(*args: Any) -> tuple[Tensor, ...]:
    call = Backward.of(args)
    pairs = zip(call.direction.differentiable, call.wanted, strict=True)
    shapes = [tensor.shape if want else (0,) for tensor, want in pairs]  # type: ignore[union-attr]
    if call.groups and call.by_weights:
        own = zip(shapes[WEIGHTS], call.wanted[WEIGHTS], strict=True)
        shapes[WEIGHTS] = [(call.groups, *shape) if want else shape for shape, want in own]
    return tuple(call.direction.x.new_empty(shape) for shape in shapes)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    one, (y, _, kept) = Direction(*inputs), output
    ctx.settings = one.settings
    ctx.save_for_backward(*one.tensors, y, kept)
    ctx.set_materialize_grads(False)  # an output the loss does not use has the gradient None
    if not one.gates:
        ctx.mark_non_differentiable(kept)


def _derivative(
    ctx: Any, backward: Callable[..., Any], dy: Tensor | None, dh_n: Tensor | None, dgates: Tensor | None
) -> tuple[Any, ...]:
    *tensors, y, kept = ctx.saved_tensors
    one, needs = Direction(*tensors, *ctx.settings), ctx.needs_input_grad[DIFFERENTIABLE]
    more: Sequence[Tensor | None] = [None] * len(needs)
    if one.gates and dgates is not None:  # through the gates first, as functions of y among others; then through y
        back = pullback.by_vjp if torch._C._are_functorch_transforms_active() else pullback.by_autograd
        by_y, *more = back(pullback.gates(one.alone), (y, *one.differentiable), dgates.unbind(2)[:3])
        dy = by_y if dy is None or by_y is None else dy + by_y
    found = backward(*Backward(dy, dh_n, one, y, kept, needs[0], any(needs[WEIGHTS])).args())
    both = zip(found, more, needs, strict=True)
    sums = [(a if b is None else a + b) if want else None for a, b, want in both]
    return *sums, *[None] * (len(one) - len(sums))


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    call = Backward.of(inputs)
    ctx.save_for_backward(*call.tensors)
    ctx.settings = call.settings
    ctx.set_materialize_grads(False)


def _second_derivative(ctx: Any, *by: Tensor | None) -> tuple[Any, ...]:
    """From the gradients of all results back to x and the others; y is a function of them and gets none of its own."""
    call = Backward.of((*ctx.saved_tensors, *ctx.settings))
    sources = (call.dy, call.dh_n, *call.direction.differentiable)
    found = pullback.by_vjp(pullback.of_backward(call, pullback.by_vjp), sources, by)
    needs = ctx.needs_input_grad
    none = [None] * (len(needs) - len(found))
    return *(a if want else None for a, want in zip(found, needs, strict=False)), *none


_forward.register_autograd(lambda ctx, *by: _derivative(ctx, _backward, *by), setup_context=_save)
_backward.register_autograd(_second_derivative, setup_context=_save_backward)


@register_flop_formula(torch.ops.grus.layer)
def _flops(*args: Any, **_: Any) -> int:
    """As PyTorch counts: two for each multiplication of a product. Of tensors the shapes are given."""
    one: Any = Direction(*args)
    steps, batch, _features = one.x
    return steps * batch * (_flops_a_row(one.weight_ih) + _flops_a_row(one.weight_hh))  # type: ignore[no-any-return]


@register_flop_formula(torch.ops.grus.layer_backward)
def _backward_flops(dy: Any, dh_n: Any, *args: Any, **_: Any) -> int:
    *given, by_x, by_weights, _groups = args
    one: Any = Direction._make((*given[: TENSORS.stop], *given[TENSORS.stop + 2 :], 0))
    steps, batch, _features = one.x
    back = steps if one.h0 is not None else max(steps - 1, 0)  # to the state before each step, where it is somebody's
    W, U = _flops_a_row(one.weight_ih), _flops_a_row(one.weight_hh)
    return batch * (steps * (by_x * W + by_weights * (W + U)) + back * U)  # type: ignore[no-any-return]


def _flops_a_row(shape: Any) -> int:
    return 0 if shape is None else 2 * math.prod(shape)


class _Transformed(torch.autograd.Function):
    """``grus::layer`` for the transforms of ``torch.func``."""

    forward = staticmethod(_forward.__call__)
    setup_context = staticmethod(_save)

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        return _derivative(ctx, _TransformedBackward.apply, *by)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *args: Any) -> Any:
        return vmap.forward(_Transformed.apply, info.batch_size, in_dims, args)


class _TransformedBackward(torch.autograd.Function):
    """``grus::layer_backward`` for the transforms of ``torch.func``."""

    forward = staticmethod(_backward.__call__)
    setup_context = staticmethod(_save_backward)
    backward = staticmethod(_second_derivative)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *args: Any) -> Any:
        return vmap.backward(_TransformedBackward.apply, info.batch_size, in_dims, args)


def _on_kernels(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu"


def _forward_plain(one: Direction) -> tuple[Tensor, Tensor, Tensor]:
    y, h_n = pullback.results(one.alone)(*one.differentiable)
    steps, keep = one.x.shape[0], one.keep
    kept = y.new_zeros(keep, h_n.shape[1], 4, h_n.shape[-1])
    if kept.numel():
        found = torch.stack([*pullback.gates(one.alone)(y, *one.differentiable)], 2)
        kept[:, :, :3] = found[:keep] if one.reverse else found[steps - keep :]
    return y.clone(memory_format=torch.contiguous_format), h_n[0].clone(), kept  # of memory of their own


def _forward_by_kernels(one: Direction) -> tuple[Tensor, Tensor, Tensor]:
    (steps, batch, _), keep = one.x.shape, one.keep
    if packing.few(steps):
        packed = packing.as_given([one])
    else:
        packed = packing.pack([one]) if keep else packing.packed_by_address(one)
    room = native.room(packed[0], one)
    if room is not None and (one.skip is not None or not one.reset_after):
        room.array()[...] = 0.0  # what the kernels leave out is a result here
    y, h_n = native.forward([one], [native.masks(one)], packed, [room])
    if room is None:
        return y, h_n[0], native.new((keep, batch, 4, h_n.shape[-1]))
    kept = torch.from_numpy(room.array()).contiguous()
    if one.skip is not None:  # beside rows that have a step the kernels write what they computed
        first_step = 0 if one.reverse else steps - keep
        kept.masked_fill_(one.skip[first_step : first_step + keep, :, None, None], 0.0)
    return y, h_n[0], kept


def _backward_by_kernels(call: Backward) -> tuple[Tensor, ...]:
    one = [call.direction]
    packed = packing.as_given(one) if packing.few(len(one[0].x)) else packing.pack(one, training=True)
    return call.joined([_part_by_kernels(part, packed) for part in call.parts()])


def _part_by_kernels(call: Backward, packed: list[packing.Packed]) -> tuple[Tensor, ...]:
    one, room = call.direction, None
    if call.kept.numel() and one.gain is None:
        room = native.room(packed[0], one)
        assert room is not None
        _fill(room.array(), call.kept)
    dh_n = None if call.dh_n is None else call.dh_n[None]
    made = native.backward([one], [native.masks(one)], packed, [room], call.y, call.dy, dh_n, call.wanted)
    dx, dh0, *own = made
    found = [dx, None if dh0 is None else dh0[0], *own]
    return tuple(native.new((0,)) if gradient is None else gradient for gradient in found)


def _fill(room: NDArray[np.float32], kept: Tensor) -> None:
    """The room's rows end in lanes that the kernels read and must find finite."""
    hidden, whole = room.shape[-1], room.strides[2] // room.itemsize
    np.lib.stride_tricks.as_strided(room, (*room.shape[:3], whole))[..., hidden:] = 0.0
    room[...] = kept.numpy()
