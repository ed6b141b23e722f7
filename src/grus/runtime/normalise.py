"""Layer normalisation of a GRU's projected inputs, and the way back; the recurrent side is in the kernels' steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.runtime import _native, kernels

__all__ = ["normalise", "normalise_back"]

Array = NDArray[np.float32]


def normalise(x: Array, gain: Array, bias: Array | None = None) -> Array:
    """Layer normalisation of rows [N, 3H] as a GRU's (Ba et al. 2016, arXiv:1607.06450): gain x̂ + bias.

    x̂ has mean 0 and variance 1 (1e-5 is added to it): of r and z together and of n alone. gain and bias [3H].
    """
    x, gain, bias = _rows_of_gates(x, gain, bias)
    y = np.empty(x.shape, np.float32)
    if x.size:
        _native.normalise(x, gain, bias, y, kernels.default_isa(), kernels.get_num_threads())
    return y


def normalise_back(x: Array, gain: Array, dy: Array) -> tuple[Array, Array, Array]:
    """The gradients by x [N, 3H], by gain and by bias [3H] of :func:`normalise`, from that by its result."""
    x, gain, _ = _rows_of_gates(x, gain, None)
    dy = np.ascontiguousarray(kernels.checked("dy", dy, x.shape))
    dx, by_rest = np.empty(x.shape, np.float32), np.zeros((2, len(gain)), np.float32)
    if x.size:
        _native.normalise_back(x, gain, dy, dx, by_rest, kernels.default_isa(), kernels.get_num_threads())
    return dx, by_rest[0], by_rest[1]


def _rows_of_gates(x: Array, gain: Array, bias: Array | None) -> tuple[Array, Array, Array | None]:
    x = np.ascontiguousarray(kernels.checked("x", x, ("N", "3H")))
    if x.shape[1] % 3:
        raise InputError(f"x has shape {x.shape}, expected rows of 3 H values")
    gain = np.ascontiguousarray(kernels.checked("gain", gain, (x.shape[1],)))
    return x, gain, None if bias is None else np.ascontiguousarray(kernels.checked("bias", bias, (x.shape[1],)))
