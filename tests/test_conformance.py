"""Every implementation on the same inputs: values, gradients, hard inputs (promises 1 and 3 of the design)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from implementations import IMPLEMENTATIONS, Implementation, arrays, baseline, case, exact
from numpy.typing import NDArray
from tolerance import check_float32, check_float64

from grus.reference import Gradients
from grus.weights import GRUWeights

SIZES = [  # T, B, I, H
    (5, 3, 1, 1),
    (6, 5, 7, 17),
    (6, 9, 17, 7),
    (4, 6, 63, 65),
    (4, 17, 65, 63),
    (30, 4, 16, 16),
    (9, 33, 64, 64),
    (5, 3, 128, 130),
    (40, 2, 1, 64),
    (3, 1, 130, 1),
    (2, 3, 512, 512),
    (1, 1, 64, 256),
    (0, 3, 7, 17),
    (4, 0, 7, 17),
    (0, 0, 1, 1),
]


def each(condition: Any = lambda i: True) -> pytest.MarkDecorator:
    """Every implementation, with each reset position it has."""
    pairs = [
        pytest.param(i, after, id=f"{i.name}-reset-{'after' if after else 'before'}", marks=i.marks)
        for i in IMPLEMENTATIONS
        if condition(i)
        for after in i.reset_positions
    ]
    return pytest.mark.parametrize(("implementation", "reset_after"), pairs)


sizes = pytest.mark.parametrize("size", SIZES, ids=lambda s: "T{}-B{}-I{}-H{}".format(*s))
has_backward = each(lambda i: i.backward is not None)
is_float32 = each(lambda i: i.dtype == np.float32)


def check(implementation: Implementation, name: str, got: Any, right: Any, torch_float32: Any) -> None:
    assert got.dtype == implementation.dtype, f"{name} is {got.dtype}"
    if implementation.dtype == np.float64:
        check_float64(name, got, right)
    else:
        check_float32(name, got, right, torch_float32)


@each()
@sizes
def test_values(implementation: Implementation, size: tuple[int, int, int, int], reset_after: bool) -> None:
    problem = (*size, reset_after)
    weights, x, h0, _ = case(*problem)
    check(implementation, "y", implementation.forward(weights, x, h0), exact(problem).y, baseline(problem).y)


@has_backward
@sizes
def test_gradients(implementation: Implementation, size: tuple[int, int, int, int], reset_after: bool) -> None:
    problem = (*size, reset_after)
    assert implementation.backward is not None
    gradients = implementation.backward(*case(*problem))
    for name in Gradients._fields:
        right, torch_float32 = getattr(exact(problem).gradients, name), getattr(baseline(problem).gradients, name)
        check(implementation, name, getattr(gradients, name), right, torch_float32)


@each()
def test_no_initial_state_is_zeros(implementation: Implementation, reset_after: bool) -> None:
    weights, x, h0, _ = case(6, 5, 7, 17, reset_after)
    none, zeros = implementation.forward(weights, x, None), implementation.forward(weights, x, np.zeros_like(h0))
    assert none.tobytes() == zeros.tobytes()


@each()
@pytest.mark.parametrize("where", ["x", "h0"])
@pytest.mark.parametrize("hidden", [7, 65])
def test_nan_stays_in_its_row(implementation: Implementation, reset_after: bool, where: str, hidden: int) -> None:
    weights, x, h0, _ = case(6, 9, 17, hidden, reset_after)
    clean = implementation.forward(weights, x, h0)
    step, row = (2, 4) if where == "x" else (0, 4)
    x, h0 = x.copy(), h0.copy()
    if where == "x":
        x[step, row, 3] = np.nan
    else:
        h0[row, 3] = np.nan
    y = implementation.forward(weights, x, h0)
    assert np.isnan(y[step:, row]).all(), "NaN in must be NaN out, from its own time on"
    y[step:, row] = clean[step:, row]
    same = y.tobytes() == clean.tobytes()
    # in float64 and in PyTorch a matrix product is free to sum in another order
    assert same if is_ours(implementation) else np.allclose(y, clean, rtol=1e-5, atol=1e-6)


def is_ours(implementation: Implementation) -> bool:
    return implementation.dtype == np.float32 and not implementation.name.startswith("torch")


def with_infinities(weights: GRUWeights, x: NDArray[Any], h0: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    x, h0 = x.copy(), h0.copy()
    x[1, 0, 0], x[1, 1, 0] = np.inf, -np.inf
    x[2, 2, :2] = np.inf, -np.inf  # the sum of both is NaN where the weights have one sign
    h0[3, 0] = np.inf
    return x, h0


@each()
@pytest.mark.parametrize("hidden", [7, 65])
def test_infinities(implementation: Implementation, reset_after: bool, hidden: int) -> None:
    weights, x, h0, _ = case(6, 9, 17, hidden, reset_after)
    x, h0 = with_infinities(weights, x, h0)
    with np.errstate(invalid="ignore"):
        right, y = IMPLEMENTATIONS[0].forward(weights, x, h0), implementation.forward(weights, x, h0)
    assert np.isfinite(right[:, :2]).all() and np.isnan(right[2:, 2]).any()
    assert (np.isnan(y) == np.isnan(right)).all()
    assert (np.isinf(y) == np.isinf(right)).all()
    finite = np.isfinite(right)
    assert np.allclose(y[finite], right[finite], rtol=0, atol=1e-5)


@has_backward
def test_nan_gradient_stays_in_its_row(implementation: Implementation, reset_after: bool) -> None:
    weights, x, h0, dy = case(6, 9, 17, 7, reset_after)
    dy = dy.copy()
    dy[3, 4, 2] = np.nan
    assert implementation.backward is not None
    dx, dh0 = implementation.backward(weights, x, h0, dy)[:2]
    rows = np.arange(9) != 4
    assert np.isnan(dh0[4]).all() and np.isfinite(dh0[rows]).all()
    assert np.isnan(dx[:4, 4]).all() and np.isfinite(dx[4:]).all() and np.isfinite(dx[:, rows]).all()


@is_float32
def test_denormal_values(implementation: Implementation, reset_after: bool) -> None:
    weights, x, h0, _ = case(6, 5, 7, 17, reset_after)
    tiny = np.float32(1e-40)
    y = implementation.forward(weights, x * tiny, h0 * tiny)
    right = implementation.forward(weights, np.zeros_like(x), np.zeros_like(h0))
    assert np.allclose(y, right, rtol=0, atol=1e-7)


@each()
def test_every_weight_counts(implementation: Implementation, reset_after: bool) -> None:
    weights, x, h0, _ = case(6, 5, 7, 17, reset_after)
    y = implementation.forward(weights, x, h0)
    for index, array in enumerate(arrays(weights)):
        for gate in range(3):
            changed = [a.copy() for a in arrays(weights)]
            rows = slice(gate * 17, (gate + 1) * 17)
            changed[index][rows] = array[rows] + np.float32(0.1)
            other = implementation.forward(GRUWeights(*changed, reset_after=reset_after), x, h0)
            assert np.abs(other - y).max() > 1e-3
