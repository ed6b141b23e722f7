"""Layer normalisation of rows [3H], r and z together and n alone, beside the formula in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_invariance import isas
from tolerance import check_float32

from grus.errors import InputError
from grus.runtime import kernels
from grus.runtime.normalise import normalise, normalise_back


def formula(x: NDArray[Any], gain: NDArray[Any], bias: NDArray[Any], dy: NDArray[Any], dtype: torch.dtype) -> list[Any]:
    """The result, and the gradients by x, gain and bias, by PyTorch."""
    leaves = [torch.from_numpy(array).to(dtype).requires_grad_() for array in (x, gain, bias)]
    hidden = len(gain) // 3
    parts = zip(*(leaf.split([2 * hidden, hidden], -1) for leaf in leaves), strict=True)
    y = torch.cat([torch.nn.functional.layer_norm(a, a.shape[-1:], g, b) for a, g, b in parts], -1)
    gradients = torch.autograd.grad(y, leaves, torch.from_numpy(dy).to(dtype))
    return [y.detach().numpy(), *(gradient.numpy() for gradient in gradients)]


@isas
@pytest.mark.parametrize(("rows", "hidden"), [(1, 2), (3, 7), (50, 16), (40, 33), (200, 128)])
@pytest.mark.parametrize("threads", [1, 2])
def test_beside_the_formula(isa: str, rows: int, hidden: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUS_ISA", isa)
    monkeypatch.setattr(kernels, "get_num_threads", lambda: threads)
    rng = np.random.default_rng([rows, hidden])
    x, dy = (rng.normal(1, 2, (rows, 3 * hidden)).astype(np.float32) for _ in range(2))
    gain, bias = (rng.normal(1, 0.5, 3 * hidden).astype(np.float32) for _ in range(2))
    got = [normalise(x, gain, bias), *normalise_back(x, gain, dy)]
    right, plain = (formula(x, gain, bias, dy, dtype) for dtype in (torch.float64, torch.float32))
    for name, *arrays in zip(("y", "dx", "dgain", "dbias"), got, right, plain, strict=True):
        check_float32(name, *arrays)
    np.testing.assert_array_equal(normalise(x, gain), normalise(x, gain, np.zeros_like(bias)))


def test_no_rows() -> None:
    x, gain = np.zeros((0, 6), np.float32), np.ones(6, np.float32)
    assert normalise(x, gain).shape == (0, 6)
    dx, dgain, dbias = normalise_back(x, gain, x)
    assert dx.shape == (0, 6) and not dgain.any() and not dbias.any()


def test_what_is_refused() -> None:
    x, gain = np.ones((2, 6), np.float32), np.ones(6, np.float32)
    with pytest.raises(InputError, match=r"x has shape \(2, 5\), expected rows of 3 H values"):
        normalise(x[:, :5], gain[:5])
    with pytest.raises(InputError, match=r"gain has shape \(5,\), expected \(6,\)"):
        normalise(x, gain[:5])
    with pytest.raises(InputError, match="bias is float64, expected float32"):
        normalise(x, gain, gain.astype(float))
    with pytest.raises(InputError, match=r"dy has shape \(1, 6\), expected \(2, 6\)"):
        normalise_back(x, gain, x[:1])
