"""What the recurrence takes and gives, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "BATCH",
    "DIFFERENTIABLE",
    "OWN",
    "REST",
    "TENSORS",
    "WEIGHTS",
    "Backward",
    "Direction",
    "Extras",
    "Gates",
    "Norms",
    "Weights",
    "directions",
    "joined",
]


class Weights(NamedTuple):
    """One direction: W [3H, I], U [3H, H] and the biases [3H], None for a layer without.

    Without W, x is W x + b_i [T, B, 3H] already.
    """

    weight_ih: Tensor | None
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


class Extras(NamedTuple):
    """What one direction may do beyond the recurrence itself.

    ``skip`` bool [T, B]: the row has no step t; its state stays, and y is zero there. A row's skipped steps are its
    last in time. ``restart`` bool [T, B]: the row begins step t, as the steps are walked, with ``start`` [B, H] (None:
    zeros); without meaning where it skips. ``zone`` [T, B, H] or one number: the part of a unit that stays as it was,
    z' = z + zone (1 − z). ``drop`` [B, H] multiplies h where U does.
    """

    skip: Tensor | None = None
    restart: Tensor | None = None
    start: Tensor | None = None
    zone: Tensor | float = 0.0
    drop: Tensor | None = None


class Norms(NamedTuple):
    """Gains [3H] of a direction with layer normalisation: of W x and of U h, r and z together and n."""

    gain_ih: Tensor
    gain_hh: Tensor


class Gates(NamedTuple):
    """Reset gate, update gate and candidate, each [T, B, H]; zero where a row has no step."""

    r: Tensor
    z: Tensor
    n: Tensor


class Direction(NamedTuple):
    """All that one direction of a layer is given: the arguments of ``grus::layer``, whose order stands here alone.

    First what it can be differentiated by, then masks, then what is no tensor. An option with a tensor is one more
    field here, with its batch in ``BATCH``, its meaning in ``plain`` and its address in ``native``.
    """

    x: Tensor  # [T, B, I]; with a gain W x + b_i [T, B, 3H], without weight_ih and bias_ih
    h0: Tensor | None  # [B, H]
    weight_ih: Tensor | None
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    gain: Tensor | None = None  # [3H]: U h is normalised
    start: Tensor | None = None  # this and the next five as in Extras
    skip: Tensor | None = None
    restart: Tensor | None = None
    zone_mask: Tensor | None = None  # in the place of the number zone
    drop: Tensor | None = None
    zone: float = 0.0
    reset_after: bool = True
    reverse: bool = False  # walks from the last step to the first
    batch_major: bool = False  # y lies in memory as [B, T, H]
    gates: bool = False  # are results
    keep: int = 0  # the last steps, as they are walked, whose gates stay for the backward pass; for ``gates`` all

    @property
    def differentiable(self) -> tuple[Tensor | None, ...]:
        return self[DIFFERENTIABLE]  # type: ignore[return-value]

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        return self[TENSORS]  # type: ignore[return-value]

    @property
    def settings(self) -> tuple[Any, ...]:
        return self[TENSORS.stop :]

    def by(self, *tensors: Any) -> Direction:
        """The same with others in the place of what is differentiable."""
        return Direction(*tensors, *tuple(self)[REST])

    def alone(self, *tensors: Any) -> list[Direction]:
        """A layer of it."""
        return [self.by(*tensors)]

    def turned(self, y: Tensor) -> Tensor:
        """[T, B, ...] as it lies in memory, and back."""
        return y.transpose(0, 1) if self.batch_major else y


_AT = Direction._fields.index
DIFFERENTIABLE, TENSORS, REST = slice(_AT("skip")), slice(_AT("zone")), slice(_AT("skip"), None)
WEIGHTS = slice(_AT("weight_ih"), _AT("start"))  # and the gain
OWN = slice(_AT("weight_ih"), _AT("skip"))  # what is differentiable and no direction shares
# the dimension of the batch of each tensor that has one
BATCH = {"x": 1, "h0": 0, "start": 0, "skip": 1, "restart": 1, "zone_mask": 1, "drop": 0}


def directions(
    x: Tensor,
    h0: Tensor | None,
    weights: Sequence[Weights],
    extras: Sequence[Extras] | None = None,
    *,
    reset_after: bool = True,
    batch_major: bool = False,
    gates: bool = False,
) -> list[Direction]:
    """Those of a layer: h0 is [D, B, H], and the second walks backwards in time."""
    found = []
    for d, (W, U, b_i, b_h) in enumerate(weights):
        skip, restart, start, zone, drop = Extras() if extras is None else extras[d]
        mask, number = (zone, 0.0) if isinstance(zone, Tensor) else (None, float(zone))
        first = None if h0 is None else h0[d]
        masks = None, start, skip, restart, mask, drop
        found.append(Direction(x, first, W, U, b_i, b_h, *masks, number, reset_after, d == 1, batch_major, gates))
    return found


def joined(
    rests: Sequence[Sequence[Any]], x: Tensor, h0: Tensor | None, own: Sequence[Tensor | None]
) -> list[Direction]:
    """The directions of a layer from what they share, x and h0 [D, B, H], and each one's ``OWN`` and ``REST``."""
    count = OWN.stop - OWN.start
    firsts = [None] * len(rests) if h0 is None else h0.unbind()
    return [
        Direction(x, first, *own[count * d : count * (d + 1)], *rest)  # type: ignore[arg-type]
        for d, (first, rest) in enumerate(zip(firsts, rests, strict=True))
    ]


class Backward(NamedTuple):
    """A call of ``grus::layer_backward``; dy and y as y lies in memory."""

    dy: Tensor | None
    dh_n: Tensor | None
    direction: Direction
    y: Tensor
    kept: Tensor
    by_x: bool
    by_weights: bool
    groups: int = 0

    @classmethod
    def of(cls, args: Sequence[Any]) -> Backward:
        dy, dh_n, *tensors, y, kept = args[: TENSORS.stop + 4]
        *settings, by_x, by_weights, groups = args[TENSORS.stop + 4 :]
        direction = Direction._make((*tensors, *settings, kept.shape[0]))
        return cls(dy, dh_n, direction, y, kept, by_x, by_weights, groups)

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        return self.dy, self.dh_n, *self.direction.tensors, self.y, self.kept

    @property
    def settings(self) -> tuple[Any, ...]:
        return *self.direction.settings[:-1], self.by_x, self.by_weights, self.groups

    def args(self) -> tuple[Any, ...]:
        return *self.tensors, *self.settings

    @property
    def batches(self) -> tuple[int | None, ...]:
        """The dimension of the batch of each of the tensors."""
        along = 0 if self.direction.batch_major else 1
        return along, 0, *map(BATCH.get, Direction._fields[TENSORS]), along, 1

    def parts(self) -> list[Backward]:
        """The call of each group by itself."""
        if not (self.groups and self.by_weights):
            return [self]
        pairs = zip(self.tensors, self.batches, strict=True)
        parts = [[t] * self.groups if t is None or d is None else t.chunk(self.groups, d) for t, d in pairs]
        return [Backward.of((*own, *self.settings[:-1], 0)) for own in zip(*parts, strict=True)]

    def joined(self, found: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """The gradients from those of the parts."""
        if not (self.groups and self.by_weights):
            return tuple(found[0])
        whole = []
        for name, own, want in zip(Direction._fields, zip(*found, strict=True), self.wanted, strict=False):
            dim = BATCH.get(name)
            whole.append(own[0] if not want else torch.stack(own) if dim is None else torch.cat(own, dim))
        return tuple(whole)

    @property
    def wanted(self) -> list[bool]:
        """Which gradients, of those by what is differentiable."""
        wanted = [self.by_x, True, *[self.by_weights] * (WEIGHTS.stop - WEIGHTS.start), True]
        return [want and tensor is not None for want, tensor in zip(wanted, self.direction.differentiable, strict=True)]
