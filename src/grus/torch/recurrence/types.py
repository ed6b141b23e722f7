"""What the recurrence takes and gives, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "DIFFERENTIABLE",
    "GIVEN",
    "WEIGHTS",
    "Backward",
    "Extras",
    "Gates",
    "Given",
    "Norms",
    "Options",
    "Weights",
    "split",
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
    """What one direction may do beyond the plain recurrence.

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


class Options(NamedTuple):
    """What is no tensor. ``keep``: the last steps, as they are walked, whose gates come back, for ``gates`` all."""

    zone: float
    reset_after: bool
    reverse: bool
    batch_major: bool
    gates: bool
    keep: int

    def time_major(self, y: Tensor) -> Tensor:
        return y.transpose(0, 1) if self.batch_major else y


class Given(NamedTuple):
    """x [T, B, I], h0 [B, H], the weights, gain [3H] of U h and what ``Extras`` has; None where there is none."""

    x: Tensor
    h0: Tensor | None
    weight_ih: Tensor | None
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    gain: Tensor | None
    start: Tensor | None
    skip: Tensor | None
    restart: Tensor | None
    zone: Tensor | None
    drop: Tensor | None

    @property
    def weights(self) -> Weights:
        return Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def extras(self, options: Options) -> Extras:
        zone = options.zone if self.zone is None else self.zone
        return Extras(self.skip, self.restart, self.start, zone, self.drop)


GIVEN, DIFFERENTIABLE = 12, 8  # the fields of Given, and the first of them
WEIGHTS = slice(2, 7)


def split(args: Sequence[Any]) -> tuple[Given, Options]:
    return Given(*args[:GIVEN]), Options(*args[GIVEN:])


class Backward(NamedTuple):
    """A call of ``grus::layer_backward``; dy and y as y lies in memory."""

    dy: Tensor | None
    dh_n: Tensor | None
    given: Given
    y: Tensor
    kept: Tensor
    options: Options
    by_x: bool
    by_weights: bool
    groups: int = 0

    @classmethod
    def of(cls, args: Sequence[Any]) -> Backward:
        dy, dh_n, *tensors, y, kept = args[: GIVEN + 4]
        *settings, by_x, by_weights, groups = args[GIVEN + 4 :]
        options = Options._make((*settings, kept.shape[0]))
        return cls(dy, dh_n, Given(*tensors), y, kept, options, by_x, by_weights, groups)

    def args(self) -> tuple[Any, ...]:
        settings = (*self.options[:-1], self.by_x, self.by_weights, self.groups)
        return self.dy, self.dh_n, *self.given, self.y, self.kept, *settings

    def parts(self) -> list[Backward]:
        """The call of each group by itself."""
        if not (self.groups and self.by_weights):
            return [self]
        along = 0 if self.options.batch_major else 1
        at = (along, 0, 1, 0, *[None] * 5, 0, 1, 1, 1, 0, along, 1)  # where the batch is
        tensors = (self.dy, self.dh_n, *self.given, self.y, self.kept)
        pairs = zip(tensors, at, strict=True)
        parts = [[t] * self.groups if t is None or d is None else t.chunk(self.groups, d) for t, d in pairs]
        rest = (*self.options[:-1], self.by_x, True, 0)
        return [Backward.of((*own, *rest)) for own in zip(*parts, strict=True)]

    def joined(self, found: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """The gradients from those of the parts."""
        if not (self.groups and self.by_weights):
            return tuple(found[0])
        at = (1, 0, *[None] * 5, 0)
        whole = []
        for own, dim, want in zip(zip(*found, strict=True), at, self.wanted, strict=True):
            whole.append(own[0] if not want else torch.stack(own) if dim is None else torch.cat(own, dim))
        return tuple(whole)

    @property
    def wanted(self) -> list[bool]:
        wanted = [self.by_x, True, *[self.by_weights] * 5, True]
        return [want and tensor is not None for want, tensor in zip(wanted, self.given, strict=False)]
