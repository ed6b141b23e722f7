"""Files with some bytes changed: a model or a refusal, nothing else, whatever they say of themselves."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interop.trained import random_model
from mutations import mutated, with_member

from grus import InputError, Model
from grus.interop import keras, onnx, torch
from grus.spec import GRU

MODEL = random_model(GRU(3, 4, num_layers=2, bidirectional=True))


def damaged(data: bytes, draw: random.Random) -> bytes:
    return mutated(data, draw, kinds=5)


def rezipped(data: bytes, draw: random.Random) -> bytes:
    return with_member(data, draw, lambda _, member: damaged(member, draw))


def safetensors_file(path: Path) -> Callable[[Path], Model]:
    torch.save_file(MODEL, path)
    return torch.load_file


def keras_file(path: Path) -> Callable[[Path], Model]:
    pytest.importorskip("h5py", reason="h5py is not installed")
    keras.save_file(MODEL, path)
    return keras.load_file


def onnx_file(path: Path) -> Callable[[Path], Model]:
    pytest.importorskip("onnx", reason="onnx is not installed")
    from interop.test_onnx import file_of

    path.write_bytes(file_of(onnx.save(MODEL)).SerializeToString())
    return onnx.load_file


@pytest.mark.parametrize(
    ("write", "mutate"),
    [(safetensors_file, damaged), (keras_file, damaged), (keras_file, rezipped), (onnx_file, damaged)],
)
def test_a_damaged_file_is_a_model_or_refused(write: Any, mutate: Any, tmp_path: Path) -> None:
    good, path, refused = tmp_path / "good", tmp_path / "damaged", 0
    load = write(good)
    assert load(good).num_parameters == MODEL.num_parameters
    data, draw = good.read_bytes(), random.Random(0)
    for _ in range(500):
        path.write_bytes(mutate(data, draw))
        try:
            assert isinstance(load(path), Model)
        except InputError:
            refused += 1
    assert refused > 250
