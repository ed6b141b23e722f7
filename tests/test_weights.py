"""Every convention, by its meaning: its own formula on its own weights gives what Grus gives on the converted ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grus import reference
from grus.errors import InputError
from grus.weights import CONVENTIONS, GRUWeights, from_convention, to_convention

Array = NDArray[Any]
I, H, B, T = 3, 5, 2, 4  # noqa: E741

KEYS = [(name, after) for name, c in CONVENTIONS.items() for after in c.reset_after]


def stored(name: str, rng: np.random.Generator) -> tuple[Array, Array, Array, Array | None]:
    rule = CONVENTIONS[name]
    W, U = rng.normal(size=(3 * H, I)), rng.normal(size=(3 * H, H))
    last = {"two": 3 * H, "candidate": H, "one": 0}[rule.biases]
    bias = rng.normal(size=last) if last else None
    return (W.T, U.T, rng.normal(size=3 * H), bias) if rule.transposed else (W, U, rng.normal(size=3 * H), bias)


def spelled(name: str, reset_after: bool, x: Array, h: Array, W: Array, U: Array, b: Array, c: Array | None) -> Array:
    """One step as the library or paper writes it, gate by gate."""
    sigma: Callable[[Array], Array] = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    if name in ("keras", "keras_reset_before", "flax"):  # x W, not W x
        W, U = W.T, U.T
    order = {"keras": "zrn", "keras_reset_before": "zrn", "onnx": "zrn"}.get(name, "rzn")
    at = {gate: slice(i * H, (i + 1) * H) for i, gate in enumerate(order)}
    if c is None:
        c = np.zeros(3 * H)
    elif name in ("flax", "equinox"):  # hr and hz have no bias
        c = np.concatenate([np.zeros(2 * H), c])
    r, z = (sigma(x @ W[at[g]].T + b[at[g]] + h @ U[at[g]].T + c[at[g]]) for g in "rz")
    inner = r * (h @ U[at["n"]].T + c[at["n"]]) if reset_after else (r * h) @ U[at["n"]].T + c[at["n"]]
    n = np.tanh(x @ W[at["n"]].T + b[at["n"]] + inner)
    return (1 - z) * h + z * n if name == "chung2014" else (1 - z) * n + z * h


def run(weights: GRUWeights, x: Array, h: Array) -> Array:
    arrays = weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh
    return reference.forward(x, h, *arrays, reset_after=weights.reset_after)


@pytest.mark.parametrize(("name", "reset_after"), KEYS)
def test_a_convention_means_its_formula(name: str, reset_after: bool, rng: np.random.Generator) -> None:
    theirs = stored(name, rng)
    x, h0 = rng.normal(size=(T, B, I)), rng.normal(size=(B, H))
    y = run(from_convention(name, *theirs, reset_after=reset_after), x, h0)
    h = h0
    for t in range(T):
        h = spelled(name, reset_after, x[t], h, *theirs)
        assert np.allclose(y[t], h, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "reset_after"), KEYS)
def test_there_and_back_is_exact(name: str, reset_after: bool, rng: np.random.Generator) -> None:
    theirs = stored(name, rng)
    back = to_convention(from_convention(name, *theirs, reset_after=reset_after), name)
    for one, other in zip(theirs, back, strict=True):
        assert (one is None and other is None) or np.array_equal(one, other)  # type: ignore[arg-type]
    assert all(a is None or a.flags.c_contiguous for a in back)


@pytest.mark.parametrize(("name", "reset_after"), KEYS)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1e-3, 1.0, 30.0]))
@settings(max_examples=15, deadline=None)
def test_grus_weights_survive_a_convention(name: str, reset_after: bool, seed: int, scale: float) -> None:
    """Two biases may become one, so the arrays differ; what they compute does not."""
    rng = np.random.default_rng(seed)
    shapes = ((3 * H, I), (3 * H, H), (3 * H,), (3 * H,))
    weights = GRUWeights(*(scale * rng.normal(size=s) for s in shapes), reset_after=reset_after)
    again = from_convention(name, *to_convention(weights, name), reset_after=reset_after)
    x, h0 = rng.normal(size=(T, B, I)), rng.uniform(-1, 1, (B, H))
    assert np.allclose(run(weights, x, h0), run(again, x, h0), rtol=0, atol=1e-9)


def test_weights_given_are_not_changed(rng: np.random.Generator) -> None:
    theirs = stored("chung2014", rng)
    before = [None if a is None else a.copy() for a in theirs]
    weights = from_convention("chung2014", *theirs, reset_after=False)
    for array in (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh):
        array[...] = 0
    for one, other in zip(theirs, before, strict=True):
        assert one is other or np.array_equal(one, other)  # type: ignore[arg-type]


def test_float32_stays_float32(rng: np.random.Generator) -> None:
    theirs = [None if a is None else a.astype(np.float32) for a in stored("keras", rng)]
    weights = from_convention("keras", *theirs, reset_after=True)  # type: ignore[arg-type]
    assert {a.dtype.name for a in (weights.weight_ih, weights.weight_hh, weights.bias_hh)} == {"float32"}


def test_biases_left_out_are_zero(rng: np.random.Generator) -> None:
    W, U = stored("torch", rng)[:2]
    weights = from_convention("torch", W, U, reset_after=True)
    assert not weights.bias_ih.any() and not weights.bias_hh.any()
    assert (weights.input_size, weights.hidden_size) == (I, H)


def test_one_bias_cannot_hold_that_of_the_candidate(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    both = replace(CONVENTIONS["keras_reset_before"], reset_after=(True, False))
    monkeypatch.setitem(CONVENTIONS, "one", both)
    weights = from_convention("torch", *stored("torch", rng), reset_after=True)
    with pytest.raises(InputError, match="'one' has one bias and cannot hold b_hn"):
        to_convention(weights, "one")


W0, U0, B0 = np.zeros((3 * H, I)), np.zeros((3 * H, H)), np.zeros(3 * H)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_convention("lstm", W0, U0, reset_after=True), "convention is 'lstm', expected one of cho2014, "),
        (lambda: from_convention("torch", W0, U0, reset_after=False), "'torch' has no GRU with the reset before"),
        (lambda: from_convention("cho2014", W0, U0, reset_after=True), "'cho2014' has no GRU with the reset after"),
        (lambda: from_convention("torch", W0, U0.T, reset_after=True), r"recurrent_weights has shape \(5, 15\)"),
        (lambda: from_convention("torch", W0, B0, reset_after=True), r"recurrent_weights has shape \(15,\)"),
        (lambda: from_convention("torch", W0[:14], U0, reset_after=True), r"input_weights has shape \(14, 3\)"),
        (lambda: from_convention("torch", W0.T, U0, reset_after=True), r"input_weights has shape \(3, 15\)"),
        (lambda: from_convention("torch", W0, U0, B0[:5], B0, reset_after=True), "input_bias"),
        (lambda: from_convention("torch", W0, U0, B0, B0[:5], reset_after=True), "recurrent_bias"),
        (lambda: from_convention("flax", W0.T, U0.T, B0, B0, reset_after=True), "recurrent_bias"),
        (lambda: from_convention("flax", W0.T, U0.T, B0, U0[:1], reset_after=True), "recurrent_bias"),
        (lambda: from_convention("cho2014", W0, U0, B0, B0, reset_after=False), "has one bias: recurrent_bias was"),
        (lambda: from_convention("torch", [[1.0], [1.0, 2.0]], U0, reset_after=True), "input_weights"),
        (lambda: from_convention("torch", W0, U0.astype(str), reset_after=True), "recurrent_weights is <U"),
        (lambda: GRUWeights(W0, U0.T, B0, B0), r"weight_hh has shape \(5, 15\)"),
        (lambda: GRUWeights(W0, U0[:, :0], B0, B0), "weight_hh has shape"),
        (lambda: GRUWeights(W0[:, :0], U0, B0, B0), r"weight_ih has shape \(15, 0\), expected \(15, input_size\)"),
        (lambda: GRUWeights(W0, U0, B0[:5], B0), r"bias_ih has shape \(5,\), expected \(15,\)"),
        (lambda: GRUWeights(W0, U0, B0, B0[None]), r"bias_hh has shape \(1, 15\), expected \(15,\)"),
        (lambda: GRUWeights(W0.tolist(), U0, B0, B0), "weight_ih is a list, expected a NumPy array"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
