"""One bidirectional or one-way layer of a GRU as a differentiable function of tensors.

float32 on the CPU goes through the kernels. Their backward pass has the gates of the last steps and computes those of
the others once more, so that beyond inputs, weights and output it keeps no more than a fixed amount. Other dtypes and
devices, second derivatives and forward-mode derivatives are plain PyTorch, a step at a time (``plain``).
Compilers, exporters, tracers and the other transforms of ``torch.func`` meet ``operators``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.runtime import kernels
from grus.torch.recurrence import native, operators, plain, projection
from grus.torch.recurrence.types import Extras, Gates, Norms, Weights

__all__ = ["layer"]

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
    ready: list[kernels.Layer] | None = None,
) -> tuple[Tensor, Tensor]:
    """x [T, B, I] and h0 [D, B, H] (None: zeros) to y [T, B, D·H] and h_n [D, B, H], D directions.

    The second direction walks backwards in time. ``batch_major`` lays y out in memory as [B, T, D·H]. ``extras`` are
    those of each direction, and so are ``norms``, which ask for layer normalisation. ``gates``, a list, is given the
    gates of each direction. ``ready`` is a list to find packed weights in, and to leave them in, from one inference to
    the next. ``save_gates`` keeps the gates of all steps for the backward pass (True), of none (False), or of as many
    of the last as take no more memory than the weights, their gradient and an optimiser's two moments, or 6 MB (None).
    """
    options = native.Options(reset_after, batch_major, save_gates, gates is not None)
    if norms is None:
        y, h_n, found = _layer(options, x, h0, directions, None, extras, ready)
    else:
        results = []
        for d, (weights, gains) in enumerate(zip(directions, norms, strict=True)):
            seen = x if extras is None else plain.without(x, extras[d].skip)
            a = _normalised_projection(seen, weights, gains.gain_ih)
            own = Weights(None, weights.weight_hh, None, weights.bias_hh)
            start, more = None if h0 is None else h0[d : d + 1], None if extras is None else extras[d : d + 1]
            alone = options._replace(reverse=d == 1)
            results.append(_layer(alone, a, start, [own], [gains.gain_hh], more, None))
        y, h_n = results[0][:2]
        if len(results) > 1:
            y, h_n = torch.cat([result[0] for result in results], -1), torch.cat([result[1] for result in results])
        found = [gate for result in results for gate in result[2]]
    if gates is not None:
        gates += [Gates(*found[i : i + 3]) for i in range(0, len(found), 3)]
    return y, h_n


def _layer(
    options: native.Options,
    x: Tensor,
    h0: Tensor | None,
    directions: Sequence[Weights],
    gains: Sequence[Tensor | None] | None,
    extras: Sequence[Extras] | None,
    ready: list[kernels.Layer] | None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """y, h_n and the gates, r, z and n of each direction, where the options ask for them."""
    gains = [None] * len(directions) if gains is None else gains
    if _needs_operators(x, h0, directions):
        return operators.layer(options, x, h0, directions, gains, extras)
    if _needs_plain(x):
        y, h_n = plain.layer(x, h0, directions, options.reset_after, extras, gains, options.reverse)
        return y, h_n, _plain_gates(options, x, h0, y, directions, gains, extras) if options.gates else []
    options = options._replace(extras=native.prepare(extras))
    weights = [tensor for pair in zip(directions, gains, strict=True) for tensor in (*pair[0], pair[1])]
    starts = [None] * len(directions) if extras is None else [more.start for more in extras]
    tensors = [tensor for tensor in (x, h0, *starts, *weights) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        # step by step, as by a GRUCell, the same weights come again before an optimiser's step
        layers = (
            native.packed_weights(weights, options, ready, True)
            if len(x) == 1
            else native.pack(options, weights, training=True)
        )
        y, h_n, *found = _Layer.apply(options, layers, x, h0, *starts, *weights)  # type: ignore[no-untyped-call]
    else:
        packed = native.packed_weights(weights, options, ready)
        rooms = (
            [native.room_for_gates(options, one, *x.shape[:2]) for one in packed]
            if options.gates
            else [None] * len(packed)
        )
        y, h_n = native.forward(options, x, h0, starts, packed, rooms)
        found = native.gate_views(options, x, rooms, h_n) if options.gates else []
    return options.time_major(y), h_n, found


def _normalised_projection(x: Tensor, weights: Weights, gain: Tensor) -> Tensor:
    """W x [T, B, 3H] with layer normalisation, and b_i."""
    W, _, bias, _ = weights
    assert W is not None
    if _needs_operators(x, None, [weights]) or _needs_plain(x):
        return plain.normalised(torch.nn.functional.linear(x, W), gain, bias)
    return projection.project(x, W, gain, bias)


def _needs_operators(x: Tensor, h0: Tensor | None, directions: Sequence[Weights]) -> bool:
    """Whether addresses are not for us: a compiler, tracer, dispatch mode or transform looks on, or a subclass does."""
    if forward_ad._current_level >= 0:
        return False
    if torch.compiler.is_compiling():
        return not torch._C._are_functorch_transforms_active()  # Dynamo knows none of our rules for them
    if torch._C._is_tracing() or torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return True
    seen = (x, directions[0].weight_hh) if h0 is None else (x, directions[0].weight_hh, h0)
    return any(type(tensor).__torch_dispatch__ is not _NO_DISPATCH for tensor in seen)


def _needs_plain(x: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return True
    return x.dtype != torch.float32 or x.device.type != "cpu" or forward_ad._current_level >= 0


def _plain_gates(
    options: native.Options,
    x: Tensor,
    h0: Tensor | None,
    y: Tensor,
    directions: Sequence[Weights],
    gains: Sequence[Tensor | None],
    extras: Sequence[Extras] | None,
) -> list[Tensor]:
    hidden = directions[0].weight_hh.shape[1]
    found: list[Tensor] = []
    for d, weights in enumerate(directions):
        own, more = y[..., d * hidden : (d + 1) * hidden], Extras() if extras is None else extras[d]
        first, back = None if h0 is None else h0[d], options.reverse or d == 1
        found += plain.gates(x, first, own, weights, options.reset_after, more, back, gains[d])
    return found


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        options: native.Options,
        layers: list[kernels.Layer],
        x: Tensor,
        h0: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """``tensors``: the starts of the D directions, then their weights."""
        starts, weights = tensors[: len(tensors) // 6], tensors[len(tensors) // 6 :]
        steps, batch = x.shape[:2]
        gates = [native.room_for_gates(options, packed, steps, batch, weights[4] is not None) for packed in layers]
        y, h_n = native.forward(options, x, h0, starts, layers, gates)
        results = native.gate_views(options, x, gates, h_n) if options.gates else []
        ctx.options, ctx.layers, ctx.gates = options, layers, gates
        ctx.save_for_backward(x, h0, y, *tensors, *results)  # of the results, that nobody has written into them
        ctx.set_materialize_grads(False)  # an output the loss does not use has the gradient None
        return y, h_n, *results

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None, *dgates: Tensor | None) -> Any:
        D = len(ctx.layers)
        x, h0, y, *tensors = ctx.saved_tensors[: 3 + 6 * D]
        given = native.Given(x, h0, tensors[:D], tensors[D:])
        wanted = ctx.needs_input_grad[2:]
        by_gates = any(gradient is not None for gradient in dgates)
        if native.apart(dy, dh_n, *dgates):
            return None, None, *_plain_gradients(ctx.options, wanted, (dy, dh_n, *dgates), given, None)
        more = None
        if by_gates:  # through the gates first, as functions of y among others; then through y
            by_y, *more = _plain_gradients(ctx.options, (True, *wanted), dgates, given, y)
            dy = by_y if dy is None or by_y is None else dy + by_y
        found = native.gradients(ctx, wanted, dy, dh_n, given, y)
        if more is not None:
            pairs = zip(found, more, strict=True)
            found = [a if b is None else b if a is None else a + b for a, b in pairs]
        return None, None, *found


def _plain_gradients(
    options: native.Options,
    wanted: Sequence[bool],
    by_results: Sequence[Tensor | None],
    given: native.Given,
    y: Tensor | None,
) -> list[Tensor | None]:
    """What the kernels give, through plain PyTorch.

    Without ``y`` that is the gradients by x, h0, the starts and the weights from those by y, h_n and the gates, in
    their turn differentiable. With it, from those by the gates alone, taken as functions of y too: by y first.
    """
    D = len(given.starts)

    def split(tensors: Sequence[Any]) -> tuple[list[Weights], list[Tensor | None]]:
        return [Weights(*tensors[5 * d : 5 * d + 4]) for d in range(D)], [tensors[5 * d + 4] for d in range(D)]

    with torch.enable_grad():
        if again := y is None:
            inputs = [given.x, given.h0, *given.starts, *given.weights]
            directions, gains = split(given.weights)
            extras = options.plain_extras(given.starts)
            y, h_n = plain.layer(given.x, given.h0, directions, options.reset_after, extras, gains, options.reverse)
            results = [options.time_major(y), h_n]
            if any(gradient is not None for gradient in by_results[2:]):
                results += _plain_gates(options, given.x, given.h0, y, directions, gains, extras)
        else:
            inputs = [
                None if tensor is None else tensor.detach().requires_grad_()
                for tensor in (y, given.x, given.h0, *given.starts, *given.weights)
            ]
            y, x, h0, *rest = inputs
            assert y is not None and x is not None
            directions, gains = split(rest[D:])
            extras = options.plain_extras(rest[:D])
            results = _plain_gates(options, x, h0, options.time_major(y), directions, gains, extras)
        # where T = 0 a result may depend on nothing
        pairs = [(a, g) for a, g in zip(results, by_results, strict=False) if g is not None and a.requires_grad]
        if not pairs:
            return [None] * len(wanted)
        sources = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want and tensor is not None]
        outputs, grads = [a for a, _ in pairs], [g for _, g in pairs]
        gradients = iter(torch.autograd.grad(outputs, sources, grads, create_graph=again, allow_unused=True))
    return [next(gradients) if want else None for want in wanted]
