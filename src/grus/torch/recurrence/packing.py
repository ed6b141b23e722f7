"""Weights for the kernels: as they are given where there are few steps; else packed, and kept from call to call where
nothing changes them. And the budget of the gates that are kept.

Packed weights are compared bit by bit, which costs less than the steps, for no counter sees what is written through
``.data``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grus.runtime.kernels import Layer as Packed
from grus.torch.recurrence.types import WEIGHTS, Direction

__all__ = ["FEW", "Packed", "Ready", "as_given", "few", "holds", "pack", "packed_by_address", "packed_in", "steps_kept"]

_SAVED_FLOATS = 3 << 19  # of gates that a direction keeps for the backward pass, at least: 6 MB
FEW = 4  # steps
_BY_ADDRESS: dict[int, list[Packed]] = {}  # of U; the last used is the last
_MOST, _MOST_FLOATS = 16, 1 << 20


class Ready(list[Packed]):
    """A module's packed weights, of a layer's directions; a copy or a pickle leaves them behind."""

    def __reduce__(self) -> Any:
        return Ready, ()


def few(steps: int) -> bool:
    """Whether so few steps that weights are read as they are given: to pack them, or to compare them with those that
    were packed, would take longer. Measured: docs/performance.md.
    """
    return steps <= FEW


def as_given(directions: Sequence[Direction]) -> list[Packed]:
    """The weights where they are, or a copy of what is not contiguous: for one pass, in either direction."""
    made = []
    for one in directions:
        own = [None if w is None else w.detach().resolve_neg().contiguous() for w in _weights(one)]
        made.append(Packed.given(*_sizes(one), _addresses(own), one.reset_after, own))  # type: ignore[arg-type]
    return made


def pack(directions: Sequence[Direction], *, training: bool = False, keep: bool = False) -> list[Packed]:
    """With ``training`` for the backward pass too; with ``keep`` to be compared later."""
    packed = []
    for one in directions:
        own = [None if w is None else w.detach().resolve_neg().contiguous() for w in _weights(one)]
        at = _addresses(own)
        packed.append(Packed.at(*_sizes(one), at, one.reset_after, training=training, keep=keep))  # type: ignore[arg-type]
    return packed


def packed_in(ready: list[Packed] | None, directions: Sequence[Direction], *, training: bool = False) -> list[Packed]:
    """Those in ``ready`` while they are the same; else new ones, which are left there."""
    weights = [_weights(one) for one in directions]
    if ready is None or not all(w is None or (w.is_contiguous() and not w.is_neg()) for own in weights for w in own):
        return pack(directions, training=training)
    found = list(ready)
    pairs = zip(found, directions, weights, strict=False)
    if len(found) == len(directions) and all(
        packed.training >= training and holds(packed, *_sizes(one), one.reset_after, *_addresses(own))
        for packed, one, own in pairs
    ):
        return found
    found = ready[:] = pack(directions, training=training, keep=True)
    return found


def packed_by_address(one: Direction) -> list[Packed]:
    """The same for a caller without a module: from a call of the last few with this U."""
    if one.weight_hh.numel() > _MOST_FLOATS:
        return pack([one])
    place = one.weight_hh.data_ptr()
    ready = _BY_ADDRESS.pop(place, [])
    packed = packed_in(ready, [one])
    _BY_ADDRESS[place] = ready
    for old in list(_BY_ADDRESS)[:-_MOST]:
        _BY_ADDRESS.pop(old, None)
    return packed


def holds(packed: Packed, input_size: int, hidden_size: int, reset_after: bool, *addresses: int) -> bool:
    """Whether it was made of the weights at these addresses, which are contiguous, in these sizes."""
    made_for = packed.input_size, packed.hidden_size, packed.reset_after
    return made_for == (input_size, hidden_size, reset_after) and packed.holds_at(*addresses)


def steps_kept(one: Direction, save_gates: bool | None) -> Any:
    """Of how many of the last steps the gates are kept for a backward pass, an integer or one of the sizes to come.

    All (``save_gates`` True), none (False), or as many as take no more memory than the weights, their gradient and an
    optimiser's two moments, or 6 MB (None). With layer normalisation none: the kernels need more than the gates.
    """
    if save_gates is False or one.gain is not None:
        return 0
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return 0
    (steps, batch, features), hidden = one.x.shape, one.weight_hh.shape[1]
    if save_gates:
        return steps
    budget = max(_SAVED_FLOATS, 12 * hidden * (features + hidden))
    return torch.sym_min(steps, budget // (4 * hidden * torch.sym_max(batch, 1)))  # type: ignore[no-untyped-call]


def _weights(one: Direction) -> tuple[Tensor | None, ...]:
    return one[WEIGHTS]  # type: ignore[return-value]


def _addresses(weights: Sequence[Tensor | None]) -> tuple[int, ...]:
    return tuple(0 if w is None else w.data_ptr() for w in weights)


def _sizes(one: Direction) -> tuple[int, int]:
    """I and H."""
    U = one.weight_hh
    return U.shape[0] if one.weight_ih is None else one.weight_ih.shape[1], U.shape[1]
