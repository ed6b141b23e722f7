"""The gated recurrent unit as the papers write it, in float64 NumPy: forward and backward.

Everything else in Grus is tested against this file, so it is written to be read, not to be fast. It stands alone.

    r = σ(W_r x + b_ir + U_r h + b_hr)                       reset gate
    z = σ(W_z x + b_iz + U_z h + b_hz)                       update gate
    n = tanh(W_n x + b_in + r ⊙ (U_n h + b_hn))              candidate, reset after the product
    n = tanh(W_n x + b_in + U_n (r ⊙ h) + b_hn)              candidate, reset before the product
    h' = (1 − z) ⊙ n + z ⊙ h                                 z keeps

Sources: Cho et al. 2014 (arXiv:1406.1078, eq. 5 to 8) for reset before; Chung et al. 2014 (arXiv:1412.3555) for the
name; reset after as in cuDNN and ``torch.nn.GRU``. The gates are stacked in the order r, z, n.

Shapes: x [T, B, I]; h, h0 [B, H]; y [T, B, H]; W [3H, I]; U [3H, H]; b_i, b_h [3H].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Gates(NamedTuple):
    """What one step computes on its way: each [B, H].

    ``u_n`` is U_n h + b_hn where the reset comes after the product; the backward pass needs it for dr.
    """

    r: Array
    z: Array
    n: Array
    u_n: Array


class Gradients(NamedTuple):
    """Gradients of a loss by the name of what they belong to, each of that array's shape."""

    dx: Array
    dh0: Array
    dW: Array
    dU: Array
    db_i: Array
    db_h: Array


def sigmoid(a: Array) -> Array:
    # tanh does not overflow, and σ(a) = (1 + tanh(a/2)) / 2
    return 0.5 * (1.0 + np.tanh(0.5 * a))


def gates(x: Array, h: Array, W: Array, U: Array, b_i: Array, b_h: Array, *, reset_after: bool = True) -> Gates:
    """The gates of one step: x [B, I], h [B, H]."""
    W_r, W_z, W_n = np.split(W, 3)
    U_r, U_z, U_n = np.split(U, 3)
    b_ir, b_iz, b_in = np.split(b_i, 3)
    b_hr, b_hz, b_hn = np.split(b_h, 3)
    r = sigmoid(x @ W_r.T + b_ir + h @ U_r.T + b_hr)
    z = sigmoid(x @ W_z.T + b_iz + h @ U_z.T + b_hz)
    if reset_after:
        u_n = h @ U_n.T + b_hn
        n = np.tanh(x @ W_n.T + b_in + r * u_n)
    else:
        u_n = (r * h) @ U_n.T + b_hn
        n = np.tanh(x @ W_n.T + b_in + u_n)
    return Gates(r, z, n, u_n)


def step(x: Array, h: Array, W: Array, U: Array, b_i: Array, b_h: Array, *, reset_after: bool = True) -> Array:
    """One step: x [B, I] and h [B, H] to the next h [B, H]."""
    _, z, n, _ = gates(x, h, W, U, b_i, b_h, reset_after=reset_after)
    return (1.0 - z) * n + z * h


def forward(
    x: ArrayLike, h0: ArrayLike, W: ArrayLike, U: ArrayLike, b_i: ArrayLike, b_h: ArrayLike, *, reset_after: bool = True
) -> Array:
    """A sequence: x [T, B, I] and h0 [B, H] to the state after every step, y [T, B, H]."""
    x, h, W, U, b_i, b_h = (np.asarray(a, np.float64) for a in (x, h0, W, U, b_i, b_h))
    y = np.empty((len(x), *h.shape))
    for t in range(len(x)):
        h = y[t] = step(x[t], h, W, U, b_i, b_h, reset_after=reset_after)
    return y


def backward(
    x: ArrayLike,
    h0: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b_i: ArrayLike,
    b_h: ArrayLike,
    dy: ArrayLike,
    *,
    reset_after: bool = True,
) -> Gradients:
    """Backpropagation through time: dy [T, B, H] is the gradient of the loss by every output y.

    A gradient by the last state is added to dy[-1] by the caller. ``forward`` is run again inside.
    """
    x, h0, W, U, b_i, b_h, dy = (np.asarray(a, np.float64) for a in (x, h0, W, U, b_i, b_h, dy))
    y = forward(x, h0, W, U, b_i, b_h, reset_after=reset_after)
    U_rz, U_n = U[: 2 * h0.shape[1]], U[2 * h0.shape[1] :]
    dx = np.zeros_like(x)
    dW, dU, db_i, db_h = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b_i), np.zeros_like(b_h)
    dh = np.zeros_like(h0)
    for t in reversed(range(len(x))):
        h = y[t - 1] if t else h0
        r, z, n, u_n = gates(x[t], h, W, U, b_i, b_h, reset_after=reset_after)
        dh = dh + dy[t]
        dn = dh * (1.0 - z) * (1.0 - n * n)  # by the argument of tanh
        dz = dh * (h - n) * z * (1.0 - z)  # by the argument of σ
        if reset_after:
            dr = dn * u_n * r * (1.0 - r)
            du_n = dn * r
            dh = dh * z + np.hstack([dr, dz]) @ U_rz + du_n @ U_n
            dU += np.hstack([dr, dz, du_n]).T @ h
        else:
            drh = dn @ U_n  # by the product r ⊙ h
            dr = drh * h * r * (1.0 - r)
            du_n = dn
            dh = dh * z + np.hstack([dr, dz]) @ U_rz + drh * r
            dU += np.vstack([np.hstack([dr, dz]).T @ h, dn.T @ (r * h)])
        d_i, d_h = np.hstack([dr, dz, dn]), np.hstack([dr, dz, du_n])
        dx[t] = d_i @ W
        dW += d_i.T @ x[t]
        db_i += d_i.sum(0)
        db_h += d_h.sum(0)
    return Gradients(dx, dh, dW, dU, db_i, db_h)
