"""One direction of a layer as registered operators, for what traces, compiles, exports or transforms a model.

``torch.ops.grus.layer`` and its backward pass, ``torch.ops.grus.layer_backward``, run the kernels in float32 on the CPU
and plain PyTorch, a step at a time, in other dtypes and on other devices. Dynamo, AOTAutograd, FakeTensor and
TorchScript's tracer see one node, whose shapes and derivative are known. The transforms of ``torch.func``, closed to
the derivative of such an operator, get the same two functions as :class:`torch.autograd.Function`, with rules for
``torch.vmap``. ``recurrence.layer`` comes here where its own way, quicker in eager code, cannot go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grus.runtime.kernels import Layer
from grus.torch.recurrence import native, plain, vmap
from grus.torch.recurrence.types import (
    DIFFERENTIABLE,
    GIVEN,
    WEIGHTS,
    Backward,
    Extras,
    Given,
    Options,
    Weights,
    split,
)

__all__ = ["layer"]


_HELD: dict[int, list[Layer]] = {}  # by the address of U
_HELD_LAYERS, _HELD_FLOATS = 16, 1 << 20
_AUTOGRAD = torch._C.DispatchKey.AutogradFunctionality
_TENSORS = (
    "Tensor x, Tensor? h0, Tensor? weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh, Tensor? gain, "
    "Tensor? start, Tensor? skip, Tensor? restart, Tensor? zone_mask, Tensor? drop"
)
_SETTINGS = "float zone, bool reset_after, bool reverse, bool batch_major, bool gates"


def layer(
    options: native.Options,
    x: Tensor,
    h0: Tensor | None,
    directions: Sequence[Weights],
    gains: Sequence[Tensor | None],
    extras: Sequence[Extras] | None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """y [T, B, D·H], h_n [D, B, H] and with ``gates`` r, z and n of each direction, by one operator a direction."""
    run: Callable[..., Any] = _Transformed.apply if torch._C._are_functorch_transforms_active() else _forward
    reset_after, batch_major, save_gates, gates = options[:4]
    sequences, last, found = [], [], []
    for d, (weights, gain) in enumerate(zip(directions, gains, strict=True)):
        skip, restart, start, zone, drop = Extras() if extras is None else extras[d]
        number, mask = (0.0, zone) if isinstance(zone, Tensor) else (float(zone), None)
        first = None if h0 is None else h0[d]
        given = Given(x, first, *weights, gain, start, skip, restart, mask, drop)
        keep = x.shape[0] if gates else _steps_kept(given, save_gates)
        y, h_n, kept = run(*given, number, reset_after, options.reverse or d == 1, batch_major, gates, keep)
        sequences.append(y)
        last.append(h_n)
        if gates:
            found += kept.unbind(2)[:3]
    y = sequences[0] if len(sequences) == 1 else torch.cat(sequences, -1)
    return options.time_major(y), torch.stack(last), found


def _steps_kept(given: Given, save_gates: bool | None) -> Any:
    """As many as ``recurrence.layer`` keeps for a backward pass, an integer or one of the sizes of x to come."""
    training = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given[:DIFFERENTIABLE])
    if not training or save_gates is False or given.gain is not None:
        return 0
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return 0
    (steps, batch, features), hidden = given.x.shape, given.weight_hh.shape[1]
    budget = max(native.SAVED_FLOATS, 12 * hidden * (features + hidden))
    return steps if save_gates else torch.sym_min(steps, budget // (4 * hidden * torch.sym_max(batch, 1)))  # type: ignore[no-untyped-call]


@torch.library.custom_op(
    "grus::layer", mutates_args=(), schema=f"({_TENSORS}, {_SETTINGS}, SymInt keep) -> (Tensor, Tensor, Tensor)"
)
def _forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """y as it lies in memory [T, B, H] or [B, T, H], h_n [B, H] and the gates kept [keep, B, 4, H]: r, z, n, U_n h."""
    given, options = split(args)
    return (_forward_by_kernels if _on_kernels(given.x) else _forward_plain)(given, options)


@_forward.register_fake
def _(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    given, options = split(args)
    (steps, batch, _), hidden = given.x.shape, given.weight_hh.shape[1]
    shape = (batch, steps, hidden) if options.batch_major else (steps, batch, hidden)
    new = given.x.new_empty
    return new(shape), new(batch, hidden), new(options.keep, batch, 4, hidden)


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
    if _on_kernels(call.given.x):
        return _backward_by_kernels(call)
    with torch.no_grad(), torch._C._SetExcludeDispatchKeyGuard(_AUTOGRAD, False):  # which is off inside an operator
        found = _plain_gradients(call, _pulled_back_by_autograd)(call.dy, call.dh_n, *call.given[:DIFFERENTIABLE])
    return tuple(one.clone() for one in found)  # none may share memory with another


@_backward.register_fake
def _(*args: Any) -> tuple[Tensor, ...]:
    call = Backward.of(args)
    shapes = [tensor.shape if want else (0,) for tensor, want in zip(call.given, call.wanted, strict=False)]  # type: ignore[union-attr]
    if call.groups and call.by_weights:
        shapes[WEIGHTS] = [(call.groups, *s) if want else s for s, want in zip(shapes, call.wanted, strict=True)][
            WEIGHTS
        ]
    return tuple(call.given.x.new_empty(shape) for shape in shapes)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    given, ctx.options = split(inputs)
    y, _, kept = output
    ctx.save_for_backward(*given, y, kept)
    ctx.set_materialize_grads(False)  # an output the loss does not use has the gradient None
    if not ctx.options.gates:
        ctx.mark_non_differentiable(kept)


def _derivative(
    ctx: Any, backward: Callable[..., Any], dy: Tensor | None, dh_n: Tensor | None, dgates: Tensor | None
) -> tuple[Any, ...]:
    *tensors, y, kept = ctx.saved_tensors
    given, options, needs = Given(*tensors), ctx.options, ctx.needs_input_grad[:DIFFERENTIABLE]
    more: Sequence[Tensor | None] = [None] * DIFFERENTIABLE
    if options.gates and dgates is not None:  # through the gates first, as functions of y among others; then through y
        back = _pulled_back if torch._C._are_functorch_transforms_active() else _pulled_back_by_autograd
        by_y, *more = back(_plain_gates(options, given), (y, *given[:DIFFERENTIABLE]), dgates.unbind(2)[:3])
        dy = by_y if dy is None or by_y is None else dy + by_y
    call = Backward(dy, dh_n, given, y, kept, options, needs[0], any(needs[2:7]))
    found = backward(*call.args())
    both = zip(found, more, needs, strict=True)
    sums = [(a if b is None else a + b) if want else None for a, b, want in both]
    return *sums, *[None] * (len(options) + GIVEN - DIFFERENTIABLE)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    call = Backward.of(inputs)
    ctx.save_for_backward(call.dy, call.dh_n, *call.given, call.y, call.kept)
    ctx.settings = inputs[GIVEN + 4 :]
    ctx.set_materialize_grads(False)


def _second_derivative(ctx: Any, *by: Tensor | None) -> tuple[Any, ...]:
    """From the gradients of all results back to x and the others; y is a function of them and gets none of its own."""
    call = Backward.of((*ctx.saved_tensors, *ctx.settings))
    sources = (call.dy, call.dh_n, *call.given[:DIFFERENTIABLE])
    found = _pulled_back(_plain_gradients(call), sources, by)
    needs = ctx.needs_input_grad
    none = [None] * (len(needs) - len(found))
    return *(a if want else None for a, want in zip(found, needs, strict=False)), *none


def _pulled_back(
    function: Callable[..., Any], sources: Sequence[Tensor | None], by: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients by the ``sources`` from those by the function's results, in their turn differentiable."""
    given = [tensor is not None for tensor in sources]

    def of_tensors(*tensors: Tensor) -> Any:
        rest = iter(tensors)
        return function(*(next(rest) if there else None for there in given))

    results, back = torch.func.vjp(of_tensors, *(tensor for tensor in sources if tensor is not None))  # type: ignore[misc]
    full = tuple(torch.zeros_like(a) if g is None else g for a, g in zip(results, by, strict=True))
    found = iter(back(full))
    return [next(found) if there else None for there in given]


def _pulled_back_by_autograd(
    function: Callable[..., Any], sources: Sequence[Tensor | None], by: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same for AOTAutograd, which fixes the sizes where it meets ``torch.func``."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        own = [
            None if t is None else t.view_as(t) if again and t.requires_grad else t.detach().requires_grad_()
            for t in sources
        ]
        pairs = [(result, g) for result, g in zip(function(*own), by, strict=True) if g is not None]
        outputs, given = [result for result, _ in pairs], [g for _, g in pairs]
        inputs = [tensor for tensor in own if tensor is not None]
        found = iter(torch.autograd.grad(outputs, inputs, given, create_graph=again, materialize_grads=True))
    return [None if tensor is None else next(found) for tensor in own]


_forward.register_autograd(lambda ctx, *by: _derivative(ctx, _backward, *by), setup_context=_save)
_backward.register_autograd(_second_derivative, setup_context=_save_backward)


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


def _plain(options: Options, given: Given) -> Callable[..., tuple[Tensor, Tensor]]:
    """y as it lies in memory and h_n as a function of the differentiable ones."""

    def results(*tensors: Any) -> tuple[Tensor, Tensor]:
        own = Given(*tensors, *given[DIFFERENTIABLE:])
        first, extras = None if own.h0 is None else own.h0[None], [own.extras(options)]
        y, h_n = plain.layer(own.x, first, [own.weights], options.reset_after, extras, [own.gain], options.reverse)
        return options.time_major(y), h_n[0]

    return results


def _plain_gates(options: Options, given: Given) -> Callable[..., tuple[Tensor, ...]]:
    """r, z and n as a function of y as it lies in memory and the differentiable ones."""

    def results(y: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        own = Given(*tensors, *given[DIFFERENTIABLE:])
        more, y = own.extras(options), options.time_major(y)
        return tuple(plain.gates(own.x, own.h0, y, own.weights, options.reset_after, more, options.reverse, own.gain))

    return results


def _plain_gradients(
    call: Backward, pulled_back: Callable[..., list[Tensor | None]] | None = None
) -> Callable[..., tuple[Tensor, ...]]:
    """What ``grus::layer_backward`` gives as a function of dy, dh_n and the differentiable ones."""

    back = _pulled_back if pulled_back is None else pulled_back

    def results(dy: Tensor | None, dh_n: Tensor | None, *tensors: Any) -> tuple[Tensor, ...]:
        given, empty, found = Given(*tensors, *call.given[DIFFERENTIABLE:]), call.y.new_empty(0), []
        for part in call._replace(dy=dy, dh_n=dh_n, given=given).parts():
            function = _plain(part.options, part.given)
            own = back(function, part.given[:DIFFERENTIABLE], (part.dy, part.dh_n))
            found.append([g if want and g is not None else empty for g, want in zip(own, call.wanted, strict=True)])
        return call.joined(found)

    return results


def _forward_plain(given: Given, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    y, h_n = _plain(options, given)(*given[:DIFFERENTIABLE])
    steps, keep = given.x.shape[0], options.keep
    kept = y.new_zeros(keep, *h_n.shape[:1], 4, h_n.shape[-1])
    if kept.numel():
        found = torch.stack(_plain_gates(options, given)(y, *given[:DIFFERENTIABLE]), 2)
        kept[:, :, :3] = found[:keep] if options.reverse else found[steps - keep :]
    return y.clone(memory_format=torch.contiguous_format), h_n.clone(), kept  # of memory of their own


def _for_kernels(given: Given, options: Options) -> tuple[native.Options, list[Tensor | None]]:
    asked = options.zone or any(tensor is not None for tensor in given[DIFFERENTIABLE - 1 :])
    prepared = native.prepare([given.extras(options)]) if asked else None
    own = native.Options(options.reset_after, options.batch_major, extras=prepared, reverse=options.reverse)
    return own, [*given.weights, given.gain]


def _forward_by_kernels(given: Given, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    own, weights = _for_kernels(given, options)
    (steps, batch, _), keep = given.x.shape, options.keep
    layers = native.pack(own, weights) if keep else _held(own, weights)
    room = layers[0].gates(steps, batch, save=keep) if keep and batch else None
    if room is not None and (given.skip is not None or not options.reset_after):
        room.array()[...] = 0.0  # what the kernels leave out is a result here
    first = None if given.h0 is None else given.h0[None]
    y, h_n = native.forward(own, given.x, first, [given.start], layers, [room])
    if room is None:
        return y, h_n[0], native.new((keep, batch, 4, h_n.shape[-1]))
    kept = torch.from_numpy(room.array()).contiguous()
    if given.skip is not None:  # beside rows that have a step the kernels write what they computed
        first_step = 0 if options.reverse else steps - keep
        kept.masked_fill_(given.skip[first_step : first_step + keep, :, None, None], 0.0)
    return y, h_n[0], kept


def _held(own: native.Options, weights: list[Tensor | None]) -> list[Layer]:
    """Packed weights from the last calls while they are the same, as a step would take less time than packing them."""
    U = weights[1]
    assert U is not None
    if U.numel() > _HELD_FLOATS:
        return native.pack(own, weights)
    place = U.data_ptr()
    ready = _HELD.pop(place, [])
    layers = native.packed_weights(weights, own, ready)
    _HELD[place] = ready  # the last used is the last
    for old in list(_HELD)[:-_HELD_LAYERS]:
        _HELD.pop(old, None)
    return layers


def _backward_by_kernels(call: Backward) -> tuple[Tensor, ...]:
    own, weights = _for_kernels(call.given, call.options)
    layers = native.pack(own, weights, training=True)
    return call.joined([_part_by_kernels(part, layers) for part in call.parts()])


def _part_by_kernels(call: Backward, layers: list[Layer]) -> tuple[Tensor, ...]:
    given, options = call.given, call.options
    own, weights = _for_kernels(given, options)
    (steps, batch, _), room = given.x.shape, None
    if call.kept.numel() and given.gain is None:
        room = layers[0].gates(steps, batch, save=options.keep)
        _fill(room.array(), call.kept)
    pass_ = SimpleNamespace(options=own, layers=layers, gates=[room])
    wanted = [call.wanted[i] for i in (0, 1, 7, 2, 3, 4, 5, 6)]
    first, dh_n = None if given.h0 is None else given.h0[None], None if call.dh_n is None else call.dh_n[None]
    seen = native.Given(given.x, first, [given.start], weights)
    dx, dh0, dstart, *by_weights = native.gradients(pass_, wanted, call.dy, dh_n, seen, call.y)
    found = [dx, None if dh0 is None else dh0[0], *by_weights, dstart]
    return tuple(native.new((0,)) if gradient is None else gradient for gradient in found)


def _fill(room: NDArray[np.float32], kept: Tensor) -> None:
    """The room's rows end in lanes that the kernels read and must find finite."""
    hidden, whole = room.shape[-1], room.strides[2] // room.itemsize
    np.lib.stride_tricks.as_strided(room, (*room.shape[:3], whole))[..., hidden:] = 0.0
    room[...] = kept.numpy()
