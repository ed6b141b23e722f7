"""The passes of the kernels on float32 tensors: what is packed, kept and given back. Autograd is in ``ops``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from grus.runtime import kernels
from grus.torch.recurrence.types import Extras

__all__ = [
    "SAVED_FLOATS",
    "Given",
    "Options",
    "apart",
    "forward",
    "gate_views",
    "gradients",
    "new",
    "pack",
    "packed_weights",
    "prepare",
    "room_for_gates",
]

SAVED_FLOATS = 3 << 19  # of gates that a layer and direction keeps for the backward pass, at least: 6 MB


class Options(NamedTuple):
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
        return kernels.Extras(
            0 if marks is None else marks.data_ptr(),
            (0, 0) if start is None else (start.data_ptr(), start.stride(0)),
            zone.data_ptr() if isinstance(zone, Tensor) else 0,
            0.0 if isinstance(zone, Tensor) else zone,
            0 if drop is None else drop.data_ptr(),
        )

    def plain_extras(self, starts: Sequence[Tensor | None]) -> list[Extras] | None:
        if self.extras is None:
            return None
        return [more._replace(start=start) for (more, _), start in zip(self.extras, starts, strict=True)]


def prepare(extras: Sequence[Extras] | None) -> list[tuple[Extras, Tensor | None]] | None:
    """The extras as the kernels read them, without the start, which is differentiable."""
    if extras is None:
        return None
    prepared = []
    for more in extras:
        marks = None
        if more.skip is not None:
            marks = more.skip.to(torch.uint8) * kernels.SKIP
        if more.restart is not None:
            restart = more.restart if more.skip is None else more.restart & ~more.skip
            restarts = restart.to(torch.uint8) * kernels.RESTART
            marks = restarts if marks is None else marks + restarts
        zone = more.zone.detach().float().contiguous() if isinstance(more.zone, Tensor) else more.zone
        drop = None if more.drop is None else more.drop.detach().float().contiguous()
        own = more._replace(start=None, zone=zone, drop=drop)
        prepared.append((own, None if marks is None else marks.contiguous()))
    return prepared


def apart(*by_results: Tensor | None) -> bool:
    """Whether a backward pass goes through plain PyTorch: its gradients are differentiated in turn, or batched."""
    batched, legacy = torch._C._functorch.is_batchedtensor, torch._C._functorch.is_legacy_batchedtensor
    return torch.is_grad_enabled() or any(g is not None and (batched(g) or legacy(g)) for g in by_results)


def _features_contiguous(tensor: Tensor) -> Tensor:
    tensor = tensor.resolve_neg()  # a lazily negated tensor's memory has the other sign
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def pack(
    options: Options, weights: Sequence[Tensor | None], *, training: bool = False, keep: bool = False
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


def packed_weights(
    weights: Sequence[Tensor | None], options: Options, ready: list[kernels.Layer] | None, training: bool = False
) -> list[kernels.Layer]:
    """The packed weights: those in ``ready`` while they are the same.

    They are compared bit by bit, which costs less than a step, for no counter sees what is written through ``.data``.
    """
    if ready is None or not all(w is None or (w.is_contiguous() and not w.is_neg()) for w in weights):
        return pack(options, weights, training=training)
    found = list(ready)
    same = (
        _same(packed, weights[5 * d : 5 * d + 5], options) and packed.training >= training
        for d, packed in enumerate(found)
    )
    if not (len(found) == len(weights) // 5 and all(same)):
        found = ready[:] = pack(options, weights, training=training, keep=True)
    return found


def _same(packed: kernels.Layer, weights: Sequence[Tensor | None], options: Options) -> bool:
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


def new(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="cpu")  # whatever the process has for defaults


def forward(
    options: Options,
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
    y, h_n = new(shape), new((len(layers), batch, hidden))
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


def room_for_gates(
    options: Options, layer: kernels.Layer, steps: int, batch: int, normalised: bool = False
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


def gate_views(options: Options, x: Tensor, rooms: Sequence[kernels.Gates | None], like: Tensor) -> list[Tensor]:
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


class Given(NamedTuple):
    x: Tensor
    h0: Tensor | None
    starts: Sequence[Tensor | None]
    weights: Sequence[Tensor | None]


def gradients(
    ctx: Any, wanted: Sequence[bool], dy: Tensor | None, dh_n: Tensor | None, given: Given, y: Tensor
) -> list[Tensor | None]:
    """By x, h0, the starts and the weights, None where none is wanted."""
    options: Options = ctx.options
    D, (steps, batch, _), hidden = len(ctx.layers), given.x.shape, ctx.layers[0].hidden_size
    (by_x, by_h0), by_starts, by_weights = wanted[:2], wanted[2 : 2 + D], wanted[2 + D :]
    x, h0 = _features_contiguous(given.x), None if given.h0 is None else _features_contiguous(given.h0)
    dy = None if dy is None else _features_contiguous(options.time_major(dy))
    dh_n = None if dh_n is None else dh_n.resolve_neg().contiguous()
    # NumPy's memory: PyTorch's is aligned, and glibc before 2.38 finds no room for it where as much has just been freed
    dx = torch.from_numpy(np.empty(x.shape, np.float32)) if by_x else None
    dh0 = new((D, batch, hidden))
    dstarts = [new((batch, hidden)).zero_() if want else None for want in by_starts]
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
    room = [None if index in left_out else new(shape) for index, shape in enumerate(shapes)]
    for gradient in room:
        _ = empty and gradient is not None and gradient.zero_()
    return room
