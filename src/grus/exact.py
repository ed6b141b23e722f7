"""A whole model by the equations, in float64 NumPy: what an export is proved and a calibration made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from grus import reference
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual

__all__ = ["Observer", "run"]

Array = NDArray[Any]
Observer = Callable[[str, Array], None]


def run(
    blocks: Sequence[Block],
    arrays: Mapping[str, Array],
    x: ArrayLike,
    *,
    dtype: DTypeLike = np.float64,
    observe: Observer | None = None,
    prefix: str = "",
) -> Array:
    """The chain's output [T, B, O] for x [T, B, I], every stream beginning with a state of zeros.

    ``arrays`` are a float model's, computed with as ``dtype``. ``observe(name, y)`` sees what every Linear, Residual
    and Mean block gives, under the block's name and a dot, as in ``grus.spec.parameters``.
    """
    values = np.asarray(x, dtype)
    for index, block in enumerate(blocks):
        name = f"{prefix}{index}."
        inner: dict[str, Any] = {"dtype": dtype, "observe": observe}
        match block:
            case GRU():
                values = _gru(block, arrays, values, name)
            case Linear():
                product = values @ arrays[name + "weight"].T.astype(dtype)
                values = product + arrays[name + "bias"].astype(dtype) if block.bias else product
            case Activation():
                values = _FUNCTIONS[block.function](values)
            case Embedding():
                values = arrays[name + "weight"].astype(dtype)[values[..., 0].astype(np.int64)]
            case Pool():
                values = _pool(block, arrays, values, name)
            case Bypass():
                through, around = values[..., : -block.size], values[..., -block.size :]
                through = run(block.blocks, arrays, through, prefix=name, **inner)
                values = np.concatenate([through, around], axis=-1)
            case Residual():
                values = values + run(block.blocks, arrays, values, prefix=name, **inner)
            case Mean():
                members = [run(m, arrays, values, prefix=f"{name}{i}.", **inner) for i, m in enumerate(block.members)]
                values = sum(members[1:], members[0]) / values.dtype.type(len(members))
        if observe is not None and isinstance(block, (Linear, Residual, Mean)):
            observe(name, values)
    return values


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda a: np.where(a <= 0, a.dtype.type(0), a),
    "tanh": np.tanh,
    "sigmoid": reference.sigmoid,
}


def _gru(block: GRU, arrays: Mapping[str, Array], x: Array, name: str) -> Array:
    zeros = np.zeros(3 * block.hidden_size, x.dtype)
    for layer in range(block.num_layers):
        outputs = []
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: block.directions]:
            W, U = (arrays[f"{name}weight_{kind}{suffix}"].astype(x.dtype) for kind in ("ih", "hh"))
            b_i, b_h = (arrays.get(f"{name}bias_{kind}{suffix}", zeros).astype(x.dtype) for kind in ("ih", "hh"))
            order = slice(None, None, -1 if suffix.endswith("_reverse") else 1)
            h, y = (
                np.zeros((x.shape[1], block.hidden_size), x.dtype),
                np.empty((*x.shape[:2], block.hidden_size), x.dtype),
            )
            for x_t, y_t in zip(x[order], y[order], strict=True):
                h = reference.step(x_t, h, W, U, b_i, b_h, reset_after=block.reset_after)
                y_t[...] = h
            outputs.append(y)
        x = np.concatenate(outputs, axis=-1)
    return x


def _pool(block: Pool, arrays: Mapping[str, Array], x: Array, name: str) -> Array:
    """y_t of the steps 0 to t, each from all of them."""
    if block.function == "attention":
        A, b, q = (arrays[name + key].astype(x.dtype) for key in ("weight", "bias", "query"))
        scores = np.tanh(x @ A.T + b) @ q
    y = np.empty_like(x)
    for t in range(len(x)):
        so_far = x[: t + 1]
        match block.function:
            case "max":
                y[t] = so_far.max(axis=0)
            case "mean":
                y[t] = so_far.mean(axis=0)
            case "attention":
                weights = np.exp(scores[: t + 1] - scores[: t + 1].max(axis=0))
                y[t] = (weights[..., None] * so_far).sum(axis=0) / weights.sum(axis=0)[:, None]
    return y
