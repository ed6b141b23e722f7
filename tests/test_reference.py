"""The reference against ``torch.nn.GRU`` in float64, against finite differences, and against hand-made numbers."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from implementations import arrays, case, spelled_out, torch_answer, torch_gru
from tolerance import check_float64

import grus.reference
from grus import reference

reset = pytest.mark.parametrize("reset_after", [True, False], ids=["reset-after", "reset-before"])


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (7, 3, 5, 4), (40, 2, 3, 9), (5, 9, 65, 63)])
@reset
def test_values_and_gradients_are_those_of_pytorch(size: tuple[int, int, int, int], reset_after: bool) -> None:
    weights, x, h0, dy = case(*size, reset_after)
    module = torch_gru if reset_after else spelled_out
    y, right = torch_answer(module, torch.float64, weights, x, h0, dy)
    check_float64("y", reference.forward(x, h0, *arrays(weights), reset_after=reset_after), y)
    gradients = reference.backward(x, h0, *arrays(weights), dy, reset_after=reset_after)
    for name, got, expected in zip(gradients._fields, gradients, right, strict=True):
        check_float64(name, got, expected)


@reset
def test_gradients_are_those_of_finite_differences(reset_after: bool, rng: np.random.Generator) -> None:
    weights, x, h0, dy = case(4, 2, 3, 5, reset_after)
    inputs = [a.astype(np.float64) for a in (x, h0, *arrays(weights))]
    gradients = reference.backward(*inputs, dy, reset_after=reset_after)
    for index, (name, gradient) in enumerate(zip(gradients._fields, gradients, strict=True)):
        direction, losses = rng.normal(size=inputs[index].shape), []
        for sign in (1, -1):
            moved = [a + sign * 1e-6 * direction if i == index else a for i, a in enumerate(inputs)]
            losses.append((reference.forward(*moved, reset_after=reset_after) * dy).sum())
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx((gradient * direction).sum(), rel=1e-6), name


@reset
def test_one_unit_by_hand(reset_after: bool) -> None:
    W, U, b_i, b_h = ([0.1], [0.2], [0.3]), ([0.4], [0.5], [0.6]), [0.01, 0.02, 0.03], [0.04, 0.05, 0.06]
    x, h = 2.0, 0.5
    r = 1 / (1 + np.exp(-(0.1 * x + 0.01 + 0.4 * h + 0.04)))
    z = 1 / (1 + np.exp(-(0.2 * x + 0.02 + 0.5 * h + 0.05)))
    inner = r * (0.6 * h + 0.06) if reset_after else 0.6 * (r * h) + 0.06
    expected = (1 - z) * np.tanh(0.3 * x + 0.03 + inner) + z * h
    y = reference.forward([[[x]]], [[h]], W, U, b_i, b_h, reset_after=reset_after)
    assert y.shape == (1, 1, 1) and y[0, 0, 0] == pytest.approx(expected, rel=1e-15)


def test_the_update_gate_keeps_and_renews() -> None:
    """z near 1 keeps h, z near 0 replaces it by n."""
    weights, x, h0, _ = case(1, 2, 3, 5, True)
    W, U, b_i, b_h = (a.astype(np.float64) for a in arrays(weights))
    b_i[5:10] = 60
    assert np.allclose(reference.forward(x, h0, W, U, b_i, b_h), h0, atol=1e-15)
    b_i[5:10] = -60
    n = reference.gates(x[0], h0, W, U, b_i, b_h).n
    assert np.allclose(reference.forward(x, h0, W, U, b_i, b_h)[0], n, atol=1e-15)


def test_sigmoid_holds_at_both_ends() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert reference.sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


@reset
def test_nothing_to_do(reset_after: bool) -> None:
    weights, x, h0, dy = case(3, 2, 3, 5, reset_after)
    for empty_x, empty_h0, empty_dy in ((x[:0], h0, dy[:0]), (x[:, :0], h0[:0], dy[:, :0])):
        y = reference.forward(empty_x, empty_h0, *arrays(weights), reset_after=reset_after)
        assert y.shape == empty_dy.shape
        gradients = reference.backward(empty_x, empty_h0, *arrays(weights), empty_dy, reset_after=reset_after)
        for got, like in zip(gradients, (empty_x, empty_h0, *arrays(weights)), strict=True):
            assert got.shape == like.shape and not got.any()


def test_inputs_are_left_as_they_were() -> None:
    weights, x, h0, dy = case(3, 2, 3, 5, True)
    inputs = [a.astype(np.float64) for a in (x, h0, *arrays(weights), dy)]
    before = [a.copy() for a in inputs]
    reference.forward(*inputs[:-1])
    reference.backward(*inputs)
    assert all(np.array_equal(a, b) for a, b in zip(inputs, before, strict=True))


def test_it_stands_alone() -> None:
    tree = ast.parse(Path(grus.reference.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules == {"__future__", "typing", "numpy", "numpy.typing"}
