"""Files with some bytes changed: a model or a refusal, nothing else, whatever they say of themselves."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interop.trained import random_model

from grus import InputError, Model
from grus.interop import keras, onnx, torch
from grus.spec import GRU

MODEL = random_model(GRU(3, 4, num_layers=2, bidirectional=True))


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One or several bytes replaced, left out or put in, most of them near the beginning, where the sizes stand."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        at = draw.randrange(len(changed) if draw.random() < 0.5 else min(len(changed), 600))
        match draw.randrange(5):
            case 0:
                changed[at] = draw.randrange(256)
            case 1:
                changed[at] ^= 1 << draw.randrange(8)
            case 2:
                del changed[at : at + draw.choice([1, 2, 8, 100])]
            case 3:
                changed[at:at] = draw.randbytes(draw.choice([1, 4, 8]))
            case 4:
                changed[at : at + 8] = draw.choice([bytes(8), b"\xff" * 8, b"\x7f" + b"\xff" * 7])
        changed = changed or bytearray(b"x")
    return bytes(changed)


def rezipped(data: bytes, draw: random.Random) -> bytes:
    """Changed inside, with checksums that are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = draw.choice(["config.json", "model.weights.h5"])
    members[name] = mutated(members[name], draw)
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as file:
        for member, content in members.items():
            file.writestr(member, content)
    return result.getvalue()


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
    [(safetensors_file, mutated), (keras_file, mutated), (keras_file, rezipped), (onnx_file, mutated)],
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
