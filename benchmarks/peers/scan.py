"""JAX: the input projection as one product, then ``lax.scan``, compiled whole; as many threads as CPUs it may use."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Problem
from benchmarks.gate import Arrays
from benchmarks.peers import Contestant

Weights = dict[str, Any]


def prepare(problem: Problem, threads: int) -> dict[str, Contestant]:
    jax.config.update("jax_platforms", "cpu")
    case = problem.case
    suffixes = [[suffix for suffix, _ in directions] for directions in problem.layers]
    forward = partial(_forward, suffixes, not case.reset_before)
    x = jnp.asarray(problem.x)
    h0 = jnp.zeros((case.B, case.H)) if problem.h0 is None else jnp.asarray(problem.h0)
    weights = {name: jnp.asarray(array) for name, array in problem.weights.items()}
    if case.mode != "train":
        compiled = jax.jit(forward).lower(weights, x, h0).compile()
        return {"jax": Contestant(partial(_ready, compiled, weights, x, h0), lambda y: {"y": np.asarray(y)})}

    def train(weights: Weights, x: Any, dy: Any) -> Any:
        y, pull = jax.vjp(lambda weights, x: forward(weights, x, h0), weights, x)
        return y, *pull(dy)

    dy = jnp.asarray(problem.dy)
    compiled = jax.jit(train).lower(weights, x, dy).compile()
    return {"jax": Contestant(partial(_ready, compiled, weights, x, dy), _gradients)}


def _ready(compiled: Any, *arguments: Any) -> Any:
    return jax.block_until_ready(compiled(*arguments))


def _gradients(result: Any) -> Arrays:
    y, weights, dx = result
    return {"y": np.asarray(y), "dx": np.asarray(dx), **{name: np.asarray(g) for name, g in weights.items()}}


def _forward(suffixes: list[list[str]], reset_after: bool, weights: Weights, x: Any, h0: Any) -> Any:
    for directions in suffixes:
        x = jnp.concatenate([_direction(suffix, reset_after, weights, x, h0) for suffix in directions], -1)
    return x


def _direction(suffix: str, reset_after: bool, weights: Weights, x: Any, h0: Any) -> Any:
    W, U, b_i, b_h = (weights[name + suffix] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    H = U.shape[1]
    U_rz, U_n, b_rz, b_n = U[: 2 * H].T, U[2 * H :].T, b_h[: 2 * H], b_h[2 * H :]

    def step(h: Any, a: Any) -> tuple[Any, Any]:
        if reset_after:
            u_r, u_z, u_n = jnp.split(h @ U.T + b_h, 3, -1)
            a_r, a_z, a_n = jnp.split(a, 3, -1)
            n = jnp.tanh(a_n + jax.nn.sigmoid(a_r + u_r) * u_n)
            z = jax.nn.sigmoid(a_z + u_z)
        else:
            r, z = jnp.split(jax.nn.sigmoid(a[:, : 2 * H] + h @ U_rz + b_rz), 2, -1)
            n = jnp.tanh(a[:, 2 * H :] + (r * h) @ U_n + b_n)
        h = (1 - z) * n + z * h
        return h, h

    return jax.lax.scan(step, h0, x @ W.T + b_i, reverse=suffix.endswith("reverse"))[1]
