"""What the modules share: float32 without a change of value, layers in a chain, and no framework at import."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from interop.trained import SHAPES, inputs, random_model, same

from grus import InputError
from grus.calibration import quantize
from grus.interop.layers import Layer, float32, layers_of, model_of
from grus.spec import GRU


@pytest.mark.parametrize("blocks", SHAPES.values(), ids=SHAPES)
def test_there_and_back(blocks: tuple[GRU, ...]) -> None:
    model = random_model(*blocks)
    assert same(model_of(layers_of(model)), model)


def test_neighbours_that_are_alike_become_one_block() -> None:
    alike = random_model(GRU(3, 4), GRU(4, 4, num_layers=2), GRU(4, 4, bias=False), GRU(4, 4, reset_after=False))
    blocks = (GRU(3, 4, num_layers=3), GRU(4, 4, bias=False), GRU(4, 4, reset_after=False))
    assert model_of(layers_of(alike)).spec.blocks == blocks


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_exact_values_pass(dtype: Any) -> None:
    values = np.array([0.5, -3.0, 1e4, np.inf, np.nan], np.float16)
    got = float32("w", values.astype(dtype))
    assert got.dtype == np.float32 and np.array_equal(got, values.astype(np.float32), equal_nan=True)


def test_tensors_pass() -> None:
    tensor = torch.tensor([0.5, 3.0], requires_grad=True)
    for given in (tensor, tensor.double(), tensor.half(), tensor.bfloat16(), tensor.detach()[::1]):
        assert float32("w", given).tolist() == [0.5, 3.0]
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    assert float32("w", jnp.array([0.5, 3.0], jnp.bfloat16)).tolist() == [0.5, 3.0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.1], "w is float64 and float32 would round it"),
        ([1e39], "w is float64 and float32 would round it"),
        ([1e-50], "w is float64 and float32 would round it"),
        ([1], "w is int64, expected floating-point numbers"),
        ([1j], "w is complex128, expected"),
        (["a"], "w is <U1, expected"),
        (None, "w is object, expected"),
        ([[1.0], [1.0, 2.0]], "w is not an array"),
    ],
)
def test_what_is_no_float32(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        float32("w", value)


def test_directions_have_to_be_alike() -> None:
    one, other = (layers_of(random_model(GRU(size, 4)))[0].directions[0] for size in (3, 4))
    with pytest.raises(InputError, match="the directions differ"):
        Layer((one, other))


def test_no_framework_is_imported() -> None:
    code = "import json, sys; import grus.interop; print(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    heavy = {"torch", "keras", "tensorflow", "jax", "flax", "onnx", "google", "h5py", "safetensors", "ml_dtypes"}
    assert not heavy & set(json.loads(done.stdout))


def test_a_quantised_model_is_refused() -> None:
    model = random_model(GRU(3, 4))
    with pytest.raises(InputError, match=r"the model is quantised \(w8a16\): convert the float32 model"):
        layers_of(quantize(model, inputs(model)[0]))
