"""What a call of ``grus.runtime.kernels`` takes and gives beside arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grus.runtime import _native

__all__ = ["RESTART", "SKIP", "BackwardCall", "Extras", "ForwardCall", "Gates", "Gradients", "Place"]

Array = NDArray[np.float32]
Place = tuple[int, int, int]  # of [T, B, ...]: an address, strides in time and batch in floats


class Gradients(NamedTuple):
    """Gradients by name: dx [T, B, I] or None, dh0 [B, H], dW [3H, I], dU [3H, H], db_i and db_h [3H] or None."""

    dx: Array | None
    dh0: Array
    dW: Array | None
    dU: Array | None
    db_i: Array | None
    db_h: Array | None


class Gates:
    """Room for the gates of the last steps of a forward pass, for :meth:`Layer.forward` to fill.

    ``Layer.backward`` then need not compute them again. ``first_step`` is the first whose gates are there, as the steps
    are walked: with ``reverse`` step 0 is the last in time.
    """

    def __init__(self, native: _native.Gates) -> None:
        self.native = native

    @property
    def first_step(self) -> int:
        return int(self.native.first_step)

    def array(self) -> Array:
        """[steps, B, 4, H]: r, z, n and (reset after only) u_n = U_n h + b_hn, in the order of time; no copy.

        Where rows end early and not all steps are saved, it is one behind the other what has a step (``csrc/gru.h``).
        """
        return self.native.array()


class Extras(NamedTuple):
    """What :meth:`Layer.forward_at` may do beyond the plain recurrence, by address; 0 where it does not.

    ``marks`` bytes [T, B]: SKIP where the row has no step t (y is zero there, and the state stays; a row's skipped
    steps are its last in time), RESTART where it begins step t, as the steps are walked, with the state of ``restart``
    (address of [B, H] or 0 for zeros, stride in batch). ``zone`` [T, B, H] contiguous, or ``zone_all`` for all: the
    part of a unit that stays as it was, z' = z + zone (1 − z). ``drop`` [B, H] contiguous multiplies h where U does.
    """

    marks: int = 0
    restart: tuple[int, int] = (0, 0)
    zone: int = 0
    zone_all: float = 0.0
    drop: int = 0


SKIP, RESTART = 1, 2  # as in csrc/gru.h


class ForwardCall(NamedTuple):
    """A forward pass on memory the caller has checked, quick to call: nothing is checked here.

    ``h0`` is an address or 0 and a stride in batch, ``h_n`` the address of [B, H] contiguous. Strides count floats,
    features are contiguous, steps and batch are at least 1. ``gates`` is ``Gates.native``.
    """

    steps: int
    batch: int
    x: Place
    h0: tuple[int, int]
    y: Place
    h_n: int
    reverse: bool
    gates: _native.Gates | None = None
    more: Extras | None = None


class BackwardCall(NamedTuple):
    """A backward pass like :class:`ForwardCall`; dh_n, dh0, drestart and dW, dU, db_i, db_h, dgain contiguous.

    dy, dh_n, dx and all of ``by_weights`` may be at address 0: zeros, or not wanted. ``add_dx`` adds to dx; the
    gradient by the state of the restarts is always added.
    """

    steps: int
    batch: int
    x: Place
    h0: tuple[int, int]
    y: Place
    dy: Place
    dh_n: int
    dx: Place
    add_dx: bool
    dh0: int
    by_weights: tuple[int, int, int, int, int]
    reverse: bool
    gates: _native.Gates | None = None
    more: Extras | None = None
    drestart: int = 0
