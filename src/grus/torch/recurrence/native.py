"""A layer's two passes by the kernels: tensors become addresses here. All are float32 on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from grus.runtime import kernels
from grus.torch.recurrence.packing import Packed
from grus.torch.recurrence.types import OWN, Direction

__all__ = ["Masks", "backward", "forward", "masks", "new", "room"]

kernels.limit_threads(torch.get_num_threads)


class Masks(NamedTuple):
    """What a direction has beyond the recurrence, as the kernels read it; the start is differentiable, and apart."""

    marks: Tensor | None = None  # uint8 [T, B]
    zone_mask: Tensor | None = None
    zone: float = 0.0
    drop: Tensor | None = None


def masks(one: Direction) -> Masks | None:
    """None where the direction has nothing of it."""
    if one.skip is one.restart is one.zone_mask is one.drop is None and not one.zone:
        return None
    marks = None
    if one.skip is not None:
        marks = one.skip.to(torch.uint8) * kernels.SKIP
    if one.restart is not None:
        restart = one.restart if one.skip is None else one.restart & ~one.skip
        restarts = restart.to(torch.uint8) * kernels.RESTART
        marks = restarts if marks is None else marks + restarts
    zone, drop = (None if t is None else t.detach().float().contiguous() for t in (one.zone_mask, one.drop))
    return Masks(None if marks is None else marks.contiguous(), zone, one.zone, drop)


def room(packed: Packed, one: Direction) -> kernels.Gates | None:
    """For the gates that stay."""
    steps, batch = one.x.shape[:2]
    return packed.gates(steps, batch, save=one.keep) if one.keep and batch else None


def forward(
    directions: Sequence[Direction],
    more: Sequence[Masks | None],
    packed: Sequence[Packed],
    rooms: Sequence[kernels.Gates | None],
) -> tuple[Tensor, Tensor]:
    """y as it lies in memory, and h_n [D, B, H]; ``rooms`` are filled."""
    given, D, hidden = directions[0], len(directions), packed[0].hidden_size
    steps, batch = given.x.shape[:2]
    y = new((batch, steps, D * hidden) if given.batch_major else (steps, batch, D * hidden))
    h_n = new((D, batch, hidden))
    if not steps or not batch:
        for after, one in zip(h_n, directions, strict=True):
            _ = after.zero_() if one.h0 is None else after.copy_(one.h0)
        return y, h_n
    x, out = _features_contiguous(given.x), given.turned(y)
    firsts = [_rows(one.h0) for one in directions]
    starts = [_rows(one.start) for one in directions]
    calls = [
        kernels.ForwardCall(
            steps=steps,
            batch=batch,
            x=_sequence(x),
            h0=_place(firsts[d]),
            y=_sequence(out, d * hidden),
            h_n=h_n.data_ptr() + 4 * d * batch * hidden,
            reverse=one.reverse,
            gates=_native(rooms[d]),
            more=_extras(more[d], starts[d]),
        )
        for d, one in enumerate(directions)
    ]
    if D == 2:
        kernels.forward_both_at(packed[0], calls[0], packed[1], calls[1])
    else:
        packed[0].forward_at(calls[0])
    return y, h_n


def backward(
    directions: Sequence[Direction],
    more: Sequence[Masks | None],
    packed: Sequence[Packed],
    rooms: Sequence[kernels.Gates | None],
    y: Tensor,
    dy: Tensor | None,
    dh_n: Tensor | None,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients by x, h0 [D, B, H] and what is each direction's own, in that order; None where none is wanted.

    ``rooms`` are those of the forward pass, y and dy as they lie in memory.
    """
    given, D, hidden = directions[0], len(directions), packed[0].hidden_size
    steps, batch = given.x.shape[:2]
    count, empty = OWN.stop - OWN.start, not steps or not batch
    by_own = [wanted[2 + count * d : 2 + count * (d + 1)] for d in range(D)]
    by_weights = any(any(own[:-1]) for own in by_own)
    # NumPy's memory: PyTorch's is aligned, and glibc before 2.38 finds no room for it where as much has just been freed
    dx = torch.from_numpy(np.empty(given.x.shape, np.float32)) if wanted[0] else None
    dh_n = None if dh_n is None else dh_n.resolve_neg().contiguous()
    dh0 = new((D, batch, hidden)) if wanted[1] else None
    if empty:
        _ = dx is not None and dx.zero_()
        _ = dh0 is not None and (dh0.zero_() if dh_n is None else dh0.copy_(dh_n))
    # room for all, though not all may be wanted; it must live as long as the calls
    made = [
        [
            *(_weight_gradients(packed[d], one.gain is not None, empty) if by_weights else [None] * (count - 1)),
            new((batch, hidden)).zero_() if by_own[d][-1] else None,
        ]
        for d, one in enumerate(directions)
    ]
    if not empty:
        x, out = _features_contiguous(given.x), given.turned(y)
        dy = None if dy is None else _features_contiguous(given.turned(dy))
        firsts = [_rows(one.h0) for one in directions]
        starts = [_rows(one.start) for one in directions]
        calls = []
        for d, one in enumerate(directions):
            *by, dstart = (0 if gradient is None else gradient.data_ptr() for gradient in made[d])
            at = 4 * d * batch * hidden
            calls.append(
                kernels.BackwardCall(
                    steps=steps,
                    batch=batch,
                    x=_sequence(x),
                    h0=_place(firsts[d]),
                    y=_sequence(out, d * hidden),
                    dy=_sequence(dy, d * hidden),
                    dh_n=0 if dh_n is None else dh_n.data_ptr() + at,
                    dx=_sequence(dx),
                    add_dx=d == 1,
                    dh0=0 if dh0 is None else dh0.data_ptr() + at,
                    by_weights=tuple(by),  # type: ignore[arg-type]
                    reverse=one.reverse,
                    gates=_native(rooms[d]),
                    more=_extras(more[d], starts[d]),
                    drestart=dstart,
                )
            )
        if D == 2:
            kernels.backward_both_at(packed[0], calls[0], packed[1], calls[1])
        else:
            packed[0].backward_at(calls[0])
    found = [dx, dh0, *(gradient for own in made for gradient in own)]
    return [gradient if want else None for gradient, want in zip(found, wanted, strict=True)]


def new(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="cpu")  # whatever the process has for defaults


def _weight_gradients(packed: Packed, normalised: bool, empty: bool) -> list[Tensor | None]:
    """Room for dW, dU, db_i, db_h and that by the gain; zeros where there is nothing to go back through.

    Biases that are not there have a gradient all the same; W and b_i of a projected x have none.
    """
    H = packed.hidden_size
    shapes = [(3 * H, packed.input_size), (3 * H, H), (3 * H,), (3 * H,), (3 * H,)]
    left_out = (0, 2) if normalised else (4,)
    gradients = [None if index in left_out else new(shape) for index, shape in enumerate(shapes)]
    for gradient in gradients:
        _ = empty and gradient is not None and gradient.zero_()
    return gradients


def _extras(more: Masks | None, start: Tensor | None) -> kernels.Extras | None:
    if more is None:
        return None
    return kernels.Extras(
        marks=_address(more.marks),
        restart=_place(start),
        zone=_address(more.zone_mask),
        zone_all=more.zone,
        drop=_address(more.drop),
    )


def _native(gates: kernels.Gates | None) -> Any:
    return None if gates is None else gates.native


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _place(rows: Tensor | None) -> tuple[int, int]:
    """Address and stride in batch of [B, H]."""
    return (0, 0) if rows is None else (rows.data_ptr(), rows.stride(0))


def _sequence(tensor: Tensor | None, offset: int = 0) -> tuple[int, int, int]:
    """Address, strides in time and batch of [T, B, ...], from column ``offset`` on."""
    if tensor is None:
        return 0, 0, 0
    return tensor.data_ptr() + 4 * offset, tensor.stride(0), tensor.stride(1)


def _rows(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _features_contiguous(tensor)


def _features_contiguous(tensor: Tensor) -> Tensor:
    tensor = tensor.resolve_neg()  # a lazily negated tensor's memory has the other sign
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()
