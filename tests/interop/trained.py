"""Models as training leaves them, nothing zero, and what they compute by the formula, layer for layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tolerance import check_float32

from grus import Model, Session, Spec
from grus.runtime.session import State
from grus.spec import GRU, Block, parameters

Array = NDArray[Any]
T, B = 6, 3

# one layer, several, both directions, without biases, sizes that differ, and sizes that do not tell layers apart
SHAPES = {
    "one": (GRU(3, 5),),
    "square": (GRU(4, 4),),
    "stacked": (GRU(3, 5, num_layers=3),),
    "both directions": (GRU(3, 5, bidirectional=True),),
    "stacked, both directions": (GRU(3, 4, num_layers=2, bidirectional=True),),
    "no bias": (GRU(3, 5, num_layers=2, bias=False),),
    "sizes differ": (GRU(3, 5), GRU(5, 2), GRU(2, 4, bidirectional=True)),
}


def random_model(*blocks: Block, seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.uniform(-0.8, 0.8, shape).astype(np.float32) for name, shape in parameters(blocks).items()}
    return Model(Spec(blocks), arrays)


def inputs(model: Model, seed: int = 1) -> tuple[Array, list[Array]]:
    """x [T, B, I] and an initial state [B, H] for each layer and direction."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (T, B, model.spec.input_size)).astype(np.float32)
    sizes = [b.hidden_size for b in model.spec.blocks for _ in range(b.num_layers * b.directions)]  # type: ignore[union-attr]
    return x, [rng.uniform(-0.9, 0.9, (B, size)).astype(np.float32) for size in sizes]


def spelled(model: Model, x: Array, h0: Sequence[Array] | None, dtype: type) -> Array:
    """Every layer by the equations of docs/spec.md, gate by gate."""
    y, states = x.astype(dtype), iter([] if h0 is None else h0)
    for index, block in enumerate(model.spec.blocks):
        assert isinstance(block, GRU)
        for layer in range(block.num_layers):
            outputs = []
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: block.directions]:
                given = {
                    k: model.arrays.get(f"{index}.{k}{suffix}")
                    for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                }
                W, U, b_i, b_h = (np.zeros(1, dtype) if a is None else a.astype(dtype) for a in given.values())
                h = np.zeros((y.shape[1], block.hidden_size), dtype) if h0 is None else next(states).astype(dtype)
                turned = y[::-1] if suffix.endswith("reverse") else y
                states_after = _direction(turned, h, W, U, b_i, b_h, block.reset_after)
                outputs.append(states_after[::-1] if suffix.endswith("reverse") else states_after)
            y = np.concatenate(outputs, axis=-1)
    return y


def _direction(x: Array, h: Array, W: Array, U: Array, b_i: Array, b_h: Array, reset_after: bool) -> Array:
    y = []
    for x_t in x:
        (i_r, i_z, i_n), (h_r, h_z, h_n) = np.split(x_t @ W.T + b_i, 3, -1), np.split(h @ U.T + b_h, 3, -1)
        r, z = 1 / (1 + np.exp(-(i_r + h_r))), 1 / (1 + np.exp(-(i_z + h_z)))
        if reset_after:
            n = np.tanh(i_n + r * h_n)
        else:
            n = np.tanh(i_n + (r * h) @ np.split(U, 3)[2].T + np.split(np.broadcast_to(b_h, len(U)), 3)[2])
        h = (1 - z) * n + z * h
        y.append(h)
    return np.stack(y)


def check(name: str, theirs: Any, model: Model, x: Array, h0: Sequence[Array] | None = None) -> None:
    """``theirs`` [T, B, F] and what a Session gives are both what the model's equations say, by the one rule."""
    exact, baseline = spelled(model, x, h0, np.float64), spelled(model, x, h0, np.float32)
    check_float32(name, np.asarray(theirs), exact, baseline)
    if h0 is None:
        check_float32("Session", Session(model).run(x)[0], exact, baseline)
    elif not any(b.bidirectional for b in model.spec.blocks):  # type: ignore[union-attr]  # else it takes no state
        check_float32("Session", Session(model).run(x, State(tuple(h0)))[0], exact, baseline)


def same(one: Model, other: Model) -> bool:
    """Equal to the bit."""
    return one.spec == other.spec and all(np.array_equal(one.arrays[n], other.arrays[n]) for n in one.arrays)
