"""A whole model by the equations, in float64 NumPy: what an export is proved and a calibration made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from grus import reference
from grus.errors import assert_never
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual

__all__ = ["Arithmetic", "Observer", "run"]

Array = NDArray[Any]
Observer = Callable[[str, Array], None]


class Arithmetic(Protocol):
    """How sums are taken. product: x W^T. cell: a layer's arrays to its step, from x [B, I], h [B, H] to the next h."""

    def product(self, x: Array, W: Array) -> Array: ...

    def cell(
        self, W: Array, U: Array, b_i: Array, b_h: Array, reset_after: bool
    ) -> Callable[[Array, Array], Array]: ...


class _Plain:
    """As ``grus.reference`` and the matrix library have them."""

    def product(self, x: Array, W: Array) -> Array:
        return x @ W.T

    def cell(self, W: Array, U: Array, b_i: Array, b_h: Array, reset_after: bool) -> Callable[[Array, Array], Array]:
        return lambda x, h: reference.step(x, h, W, U, b_i, b_h, reset_after=reset_after)


def run(
    blocks: Sequence[Block],
    arrays: Mapping[str, Array],
    x: ArrayLike,
    *,
    dtype: DTypeLike = np.float64,
    observe: Observer | None = None,
    arithmetic: Arithmetic | None = None,
    prefix: str = "",
) -> Array:
    """The chain's output [T, B, O] for x [T, B, I], every stream beginning with a state of zeros.

    ``arrays`` are a float model's, computed with as ``dtype``. ``observe(name, y)`` sees what every block gives, under
    the block's name and a dot, as in ``grus.spec.parameters``. ``arithmetic`` has sums of its own.
    """
    # BLAS kernels compute with what lies behind the ends of rows, too, and may raise the processor's flags for it: of
    # finite arrays "invalid value encountered in matmul" was seen; a NaN in the result is still there to be seen
    with np.errstate(invalid="ignore"):
        return _run(blocks, arrays, np.asarray(x, dtype), observe, arithmetic or _Plain(), prefix)


def _run(
    blocks: Sequence[Block],
    arrays: Mapping[str, Array],
    values: Array,
    observe: Observer | None,
    arithmetic: Arithmetic,
    prefix: str,
) -> Array:
    dtype = values.dtype
    for index, block in enumerate(blocks):
        name = f"{prefix}{index}."
        match block:
            case GRU():
                values = _gru(block, arrays, values, arithmetic, name)
            case Linear():
                sums = arithmetic.product(values, arrays[name + "weight"].astype(dtype))
                values = sums + arrays[name + "bias"].astype(dtype) if block.bias else sums
            case Activation():
                values = _FUNCTIONS[block.function](values)
            case Embedding():
                values = arrays[name + "weight"].astype(dtype)[values[..., 0].astype(np.int64)]
            case Pool():
                values = _pool(block, arrays, values, arithmetic, name)
            case Bypass():
                through, around = values[..., : -block.size], values[..., -block.size :]
                through = _run(block.blocks, arrays, through, observe, arithmetic, name)
                values = np.concatenate([through, around], axis=-1)
            case Residual():
                values = values + _run(block.blocks, arrays, values, observe, arithmetic, name)
            case Mean():
                members = [
                    _run(m, arrays, values, observe, arithmetic, f"{name}{i}.") for i, m in enumerate(block.members)
                ]
                values = sum(members[1:], members[0]) / values.dtype.type(len(members))
            case _:
                assert_never(block)
        if observe is not None:
            observe(name, values)
    return values


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda a: np.where(a <= 0, a.dtype.type(0), a),
    "tanh": np.tanh,
    "sigmoid": reference.sigmoid,
}


def _gru(block: GRU, arrays: Mapping[str, Array], x: Array, arithmetic: Arithmetic, name: str) -> Array:
    zeros = np.zeros(3 * block.hidden_size, x.dtype)
    for layer in range(block.num_layers):
        outputs = []
        for reverse, suffix in enumerate(block.suffixes(layer)):
            W, U = (arrays[f"{name}weight_{kind}{suffix}"].astype(x.dtype) for kind in ("ih", "hh"))
            b_i, b_h = (arrays.get(f"{name}bias_{kind}{suffix}", zeros).astype(x.dtype) for kind in ("ih", "hh"))
            order = slice(None, None, -1 if reverse else 1)
            h, y = (
                np.zeros((x.shape[1], block.hidden_size), x.dtype),
                np.empty((*x.shape[:2], block.hidden_size), x.dtype),
            )
            step = arithmetic.cell(W, U, b_i, b_h, block.reset_after)
            for x_t, y_t in zip(x[order], y[order], strict=True):
                h = step(x_t, h)
                y_t[...] = h
            outputs.append(y)
        x = np.concatenate(outputs, axis=-1)
    return x


def _pool(block: Pool, arrays: Mapping[str, Array], x: Array, arithmetic: Arithmetic, name: str) -> Array:
    """y_t of the steps 0 to t, each from all of them."""
    if block.function == "attention":
        A, b, q = (arrays[name + key].astype(x.dtype) for key in ("weight", "bias", "query"))
        scores = np.tanh(arithmetic.product(x, A) + b) @ q
    y = np.empty_like(x)
    for t in range(len(x)):
        so_far = x[: t + 1]
        match block.function:
            case "max":
                y[t] = so_far.max(axis=0)
            case "mean":
                y[t] = so_far.mean(axis=0)
            case "ends":
                y[t] = np.concatenate([x[t, :, : block.size // 2], x[0, :, block.size // 2 :]], axis=-1)
            case "attention":
                weights = np.exp(scores[: t + 1] - scores[: t + 1].max(axis=0))
                y[t] = (weights[..., None] * so_far).sum(axis=0) / weights.sum(axis=0)[:, None]
    return y
