"""One bidirectional or one-way layer of a GRU as a differentiable function of tensors.

float32 on the CPU goes through the kernels. Their backward pass has the gates of the last steps and computes those of
the others once more, so that beyond inputs, weights and output it keeps no more than a fixed amount. Other dtypes and
devices, second derivatives and the transforms of ``torch.func`` are plain PyTorch, a step at a time
(``grus.torch.plain``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus import kernels
from grus.torch import norm, plain
from grus.torch.plain import Extras, Gates, Norms, Weights

__all__ = ["Extras", "Gates", "Norms", "Weights", "layer"]

_NO_DISPATCH = torch._C._disabled_torch_dispatch_impl  # what a tensor has that Python code does not look into
SAVED_FLOATS = 3 << 19  # of gates that a layer and direction keeps for the backward pass, at least: 6 MB


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
    options = _Options(reset_after, batch_major, save_gates, gates is not None, _prepared(extras))
    if norms is None:
        y, h_n, found = _layer(options, x, h0, directions, None, extras, ready)
    else:
        results = []
        for d, (weights, gains) in enumerate(zip(directions, norms, strict=True)):
            seen = x if extras is None else plain.without(x, extras[d].skip)
            a = _normalised_projection(seen, weights, gains.gain_ih)
            own = Weights(None, weights.weight_hh, None, weights.bias_hh)
            start, more = None if h0 is None else h0[d : d + 1], None if extras is None else extras[d : d + 1]
            prepared = None if options.extras is None else options.extras[d : d + 1]
            alone = options._replace(extras=prepared, reverse=d == 1)
            results.append(_layer(alone, a, start, [own], [gains.gain_hh], more, None))
        y, h_n = results[0][:2]
        if len(results) > 1:
            y, h_n = torch.cat([result[0] for result in results], -1), torch.cat([result[1] for result in results])
        found = [gate for result in results for gate in result[2]]
    if gates is not None:
        gates += [Gates(*found[i : i + 3]) for i in range(0, len(found), 3)]
    return y, h_n


def _layer(
    options: _Options,
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
        from grus.torch import operators  # which are made of what is here

        own = {"reset_after": options.reset_after, "batch_major": options.batch_major, "reverse": options.reverse}
        wanted = {"save_gates": options.save_gates, "gates": options.gates}
        return operators.layer(x, h0, directions, gains, extras, **own, **wanted)
    if _needs_plain(x):
        y, h_n = plain.layer(x, h0, directions, options.reset_after, extras, gains, options.reverse)
        return y, h_n, _plain_gates(options, x, h0, y, directions, gains, extras) if options.gates else []
    weights = [tensor for pair in zip(directions, gains, strict=True) for tensor in (*pair[0], pair[1])]
    starts = [None] * len(directions) if extras is None else [more.start for more in extras]
    tensors = [tensor for tensor in (x, h0, *starts, *weights) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        # step by step, as by a GRUCell, the same weights come again before an optimiser's step
        layers = _ready(weights, options, ready, True) if len(x) == 1 else _pack(options, weights, training=True)
        y, h_n, *found = _Layer.apply(options, layers, x, h0, *starts, *weights)  # type: ignore[no-untyped-call]
    else:
        packed = _ready(weights, options, ready)
        rooms = [_room(options, one, *x.shape[:2]) for one in packed] if options.gates else [None] * len(packed)
        y, h_n = _forward(options, x, h0, starts, packed, rooms)
        found = _views(options, x, rooms, h_n) if options.gates else []
    return options.time_major(y), h_n, found


def _normalised_projection(x: Tensor, weights: Weights, gain: Tensor) -> Tensor:
    """W x [T, B, 3H] with layer normalisation, and b_i."""
    W, _, bias, _ = weights
    assert W is not None
    if _needs_operators(x, None, [weights]) or _needs_plain(x):
        return plain.normalised(torch.nn.functional.linear(x, W), gain, bias)
    return norm.project(x, W, gain, bias)


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
    options: _Options,
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


class _Options(NamedTuple):
    reset_after: bool
    batch_major: bool
    save_gates: bool | None = None
    gates: bool = False  # as results
    extras: Sequence[tuple[Extras, Tensor | None]] | None = None  # and their marks uint8 [T, B]
    reverse: bool = False  # the only direction walks backwards in time

    def time_major(self, y: Tensor) -> Tensor:
        """y as it lies in memory, seen as [T, B, D·H]."""
        return y.transpose(0, 1) if self.batch_major else y

    def more(self, direction: int, start: Tensor | None) -> kernels.Extras | None:
        if self.extras is None:
            return None
        (_, _, _, zone, drop), marks = self.extras[direction]
        masks = isinstance(zone, Tensor)
        return kernels.Extras(
            0 if marks is None else marks.data_ptr(),
            (0, 0) if start is None else (start.data_ptr(), start.stride(0)),
            zone.data_ptr() if isinstance(zone, Tensor) else 0,
            0.0 if masks else float(zone),
            0 if drop is None else drop.data_ptr(),
        )

    def plain_extras(self, starts: Sequence[Tensor | None]) -> list[Extras] | None:
        if self.extras is None:
            return None
        return [more._replace(start=start) for (more, _), start in zip(self.extras, starts, strict=True)]


def _prepared(extras: Sequence[Extras] | None) -> list[tuple[Extras, Tensor | None]] | None:
    """The extras as the kernels read them, without the start, which is differentiable."""
    if extras is None:
        return None
    prepared = []
    for more in extras:
        marks = None
        if more.skip is not None:
            marks = more.skip.to(torch.uint8) * kernels.SKIP
        if more.restart is not None:
            restarts = (more.restart if more.skip is None else more.restart & ~more.skip).to(
                torch.uint8
            ) * kernels.RESTART
            marks = restarts if marks is None else marks + restarts
        zone = more.zone.detach().float().contiguous() if isinstance(more.zone, Tensor) else more.zone
        drop = None if more.drop is None else more.drop.detach().float().contiguous()
        own = more._replace(start=None, zone=zone, drop=drop)
        prepared.append((own, None if marks is None else marks.contiguous()))
    return prepared


def _features_contiguous(tensor: Tensor) -> Tensor:
    tensor = tensor.resolve_neg()  # a lazily negated tensor's memory has the other sign
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _pack(
    options: _Options, weights: Sequence[Tensor | None], *, training: bool = False, keep: bool = False
) -> list[kernels.Layer]:
    packed = []
    for index in range(0, len(weights), 5):
        own = [None if w is None else w.detach().resolve_neg().contiguous() for w in weights[index : index + 5]]
        addresses = [0 if w is None else w.data_ptr() for w in own]
        packed.append(
            kernels.Layer.at(*_sizes(own), tuple(addresses), options.reset_after, training=training, keep=keep)  # type: ignore[arg-type]
        )
    return packed


def _sizes(weights: Sequence[Tensor | None]) -> tuple[int, int]:
    """I and H."""
    W, U = weights[:2]
    assert U is not None
    return U.shape[0] if W is None else W.shape[1], U.shape[1]


def _ready(
    weights: Sequence[Tensor | None], options: _Options, ready: list[kernels.Layer] | None, training: bool = False
) -> list[kernels.Layer]:
    """The packed weights: those in ``ready`` while they are the same.

    They are compared bit by bit, which costs less than a step, for no counter sees what is written through ``.data``.
    """
    if ready is None or not all(tensor is None or tensor.is_contiguous() for tensor in weights):
        return _pack(options, weights, training=training)
    found = list(ready)
    same = (
        _same(packed, weights[5 * d : 5 * d + 5], options) and packed.training >= training
        for d, packed in enumerate(found)
    )
    if not (len(found) == len(weights) // 5 and all(same)):
        found = ready[:] = _pack(options, weights, training=training, keep=True)
    return found


def _same(packed: kernels.Layer, weights: Sequence[Tensor | None], options: _Options) -> bool:
    made_for = (packed.input_size, packed.hidden_size, packed.reset_after)
    return made_for == (*_sizes(weights), options.reset_after) and packed.holds_at(
        *(0 if t is None else t.data_ptr() for t in weights)
    )


def _sequence(tensor: Tensor | None, offset: int = 0) -> tuple[int, int, int]:
    """Address, strides in time and batch of [T, B, ...], from column ``offset`` on."""
    if tensor is None:
        return 0, 0, 0
    return tensor.data_ptr() + 4 * offset, tensor.stride(0), tensor.stride(1)


def _first_state(h0: Tensor | None, direction: int) -> tuple[int, int]:
    if h0 is None:
        return 0, 0
    return h0.data_ptr() + 4 * direction * h0.stride(0), h0.stride(1)


def _new(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="cpu")  # whatever the process has for defaults


def _forward(
    options: _Options,
    x: Tensor,
    h0: Tensor | None,
    starts: Sequence[Tensor | None],
    layers: list[kernels.Layer],
    gates: Sequence[kernels.Gates | None],
) -> tuple[Tensor, Tensor]:
    """y as it lies in memory, and h_n [D, B, H]."""
    (steps, batch, _), hidden = x.shape, layers[0].hidden_size
    width = len(layers) * hidden
    shape = (batch, steps, width) if options.batch_major else (steps, batch, width)
    y, h_n = _new(shape), _new((len(layers), batch, hidden))
    if not steps or not batch:
        return y, h_n.zero_() if h0 is None else h_n.copy_(h0)
    x, h0 = _features_contiguous(x), None if h0 is None else _features_contiguous(h0)
    starts = [None if start is None else _features_contiguous(start) for start in starts]
    out = options.time_major(y)
    calls = []
    for d, room in zip(range(len(layers)), gates, strict=False):
        last, back = h_n.data_ptr() + 4 * d * batch * hidden, options.reverse or d == 1
        own, native = _sequence(out, d * hidden), None if room is None else room.native
        more = options.more(d, starts[d])
        calls.append(
            kernels.ForwardCall(steps, batch, _sequence(x), _first_state(h0, d), own, last, back, native, more)
        )
    if len(calls) == 2:
        kernels.forward_both_at(layers[0], calls[0], layers[1], calls[1])
    else:
        layers[0].forward_at(calls[0])
    return y, h_n


def _room(
    options: _Options, layer: kernels.Layer, steps: int, batch: int, normalised: bool = False
) -> kernels.Gates | None:
    """Room for as many steps' gates as are results, or may be kept from the forward to the backward pass."""
    if not steps or not batch:
        return None
    if options.gates or (options.save_gates and not normalised):
        return layer.gates(steps, batch)
    if normalised:
        return None  # the kernels need more than the gates
    weights = 3 * layer.hidden_size * (layer.input_size + layer.hidden_size)
    save = min(steps, max(SAVED_FLOATS, 4 * weights) // (4 * batch * layer.hidden_size))
    return layer.gates(steps, batch, save=save) if save and options.save_gates is None else None


def _views(options: _Options, x: Tensor, rooms: Sequence[kernels.Gates | None], like: Tensor) -> list[Tensor]:
    """r, z and n [T, B, H] of each direction, in the memory of ``rooms``."""
    found: list[Tensor] = []
    for d, room in enumerate(rooms):
        if room is None:
            found += [like.new_zeros(*x.shape[:2], like.shape[-1]) for _ in range(3)]
            continue
        gates = torch.from_numpy(room.array())
        skip = None if options.extras is None else options.extras[d][0].skip
        if skip is not None:
            gates.masked_fill_(skip[:, :, None, None], 0.0)
        found += gates.unbind(2)[:3]
    return found


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        options: _Options,
        layers: list[kernels.Layer],
        x: Tensor,
        h0: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """``tensors``: the starts of the D directions, then their weights."""
        starts, weights = tensors[: len(tensors) // 6], tensors[len(tensors) // 6 :]
        steps, batch = x.shape[:2]
        gates = [_room(options, packed, steps, batch, weights[4] is not None) for packed in layers]
        y, h_n = _forward(options, x, h0, starts, layers, gates)
        results = _views(options, x, gates, h_n) if options.gates else []
        ctx.options, ctx.layers, ctx.gates = options, layers, gates
        ctx.save_for_backward(x, h0, y, *tensors, *results)  # of the results, that nobody has written into them
        ctx.set_materialize_grads(False)  # an output the loss does not use has the gradient None
        return y, h_n, *results

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None, *dgates: Tensor | None) -> Any:
        D = len(ctx.layers)
        x, h0, y, *tensors = ctx.saved_tensors[: 3 + 6 * D]
        given = _Given(x, h0, tensors[:D], tensors[D:])
        wanted = ctx.needs_input_grad[2:]
        by_gates = any(gradient is not None for gradient in dgates)
        if torch.is_grad_enabled():  # the gradients will be differentiated in their turn
            return None, None, *_plain_gradients(ctx.options, wanted, (dy, dh_n, *dgates), given, None)
        more = None
        if by_gates:  # through the gates first, as functions of y among others; then through y
            by_y, *more = _plain_gradients(ctx.options, (True, *wanted), dgates, given, y)
            dy = by_y if dy is None or by_y is None else dy + by_y
        found = _gradients(ctx, wanted, dy, dh_n, given, y)
        if more is not None:
            pairs = zip(found, more, strict=True)
            found = [a if b is None else b if a is None else a + b for a, b in pairs]
        return None, None, *found


class _Given(NamedTuple):
    x: Tensor
    h0: Tensor | None
    starts: Sequence[Tensor | None]
    weights: Sequence[Tensor | None]


def _gradients(
    ctx: Any, wanted: Sequence[bool], dy: Tensor | None, dh_n: Tensor | None, given: _Given, y: Tensor
) -> list[Tensor | None]:
    """By x, h0, the starts and the weights, None where none is wanted."""
    options: _Options = ctx.options
    D, (steps, batch, _), hidden = len(ctx.layers), given.x.shape, ctx.layers[0].hidden_size
    (by_x, by_h0), by_starts, by_weights = wanted[:2], wanted[2 : 2 + D], wanted[2 + D :]
    x, h0 = _features_contiguous(given.x), None if given.h0 is None else _features_contiguous(given.h0)
    dy = None if dy is None else _features_contiguous(options.time_major(dy))
    dh_n = None if dh_n is None else dh_n.resolve_neg().contiguous()
    # NumPy's memory: PyTorch's is aligned, and glibc before 2.38 finds no room for it where as much has just been freed
    dx = torch.from_numpy(np.empty(x.shape, np.float32)) if by_x else None
    dh0 = _new((D, batch, hidden))
    dstarts = [_new((batch, hidden)).zero_() if want else None for want in by_starts]
    gradients: list[Tensor | None] = [dx, dh0 if by_h0 else None, *dstarts]
    empty = not steps or not batch
    if empty:
        _ = dx is not None and dx.zero_()
        _ = dh0.zero_() if dh_n is None else dh0.copy_(dh_n)
    starts = [None if start is None else _features_contiguous(start) for start in given.starts]
    calls, rooms = [], []  # the rooms of what is not wanted must live as long as the calls
    for d, packed in enumerate(ctx.layers):
        normalised = given.weights[5 * d + 4] is not None
        own = _weight_gradients(packed, normalised, empty) if any(by_weights) else [None] * 5
        rooms.append(own)
        at, start, dstart, room = 4 * d * batch * hidden, starts[d], dstarts[d], ctx.gates[d]
        call = kernels.BackwardCall(
            steps,
            batch,
            _sequence(x),
            _first_state(h0, d),
            _sequence(options.time_major(y), d * hidden),
            _sequence(dy, d * hidden),
            0 if dh_n is None else dh_n.data_ptr() + at,
            _sequence(dx),
            d == 1,
            dh0.data_ptr() + at,
            tuple(0 if gradient is None else gradient.data_ptr() for gradient in own),  # type: ignore[arg-type]
            options.reverse or d == 1,
            None if room is None else room.native,
            options.more(d, start),
            0 if dstart is None else dstart.data_ptr(),
        )
        calls.append(call)
        gradients += [g if want else None for g, want in zip(own, by_weights[5 * d : 5 * d + 5], strict=True)]
    if empty:
        return gradients
    if D == 2:
        kernels.backward_both_at(ctx.layers[0], calls[0], ctx.layers[1], calls[1])
    else:
        ctx.layers[0].backward_at(calls[0])
    return gradients


def _weight_gradients(layer: kernels.Layer, normalised: bool, empty: bool) -> list[Tensor | None]:
    """Room for dW, dU, db_i, db_h and that by the gain; zeros where there is nothing to go back through.

    Biases that are not there have a gradient all the same; W and b_i of a projected x have none.
    """
    H = layer.hidden_size
    shapes = [(3 * H, layer.input_size), (3 * H, H), (3 * H,), (3 * H,), (3 * H,)]
    left_out = (0, 2) if normalised else (4,)
    room = [None if index in left_out else _new(shape) for index, shape in enumerate(shapes)]
    for gradient in room:
        _ = empty and gradient is not None and gradient.zero_()
    return room


def _plain_gradients(
    options: _Options,
    wanted: Sequence[bool],
    by_results: Sequence[Tensor | None],
    given: _Given,
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
        pairs = [(a, g) for a, g in zip(results, by_results, strict=False) if g is not None]
        sources = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want and tensor is not None]
        outputs, grads = [a for a, _ in pairs], [g for _, g in pairs]
        gradients = iter(torch.autograd.grad(outputs, sources, grads, create_graph=again, allow_unused=True))
    return [next(gradients) if want else None for want in wanted]
