"""The model file: whole or not at all, and nothing but a model is ever read from one."""

from __future__ import annotations

import json
import os
import pickle
import stat
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray

import grus
from grus import InputError, Model, Spec, files, load
from grus.spec import GRU, Bypass, Classify, Embedding, Forecast, Linear, Mean, Pool, Words, parameters

BLOCKS = (Bypass(1, (GRU(3, 5, 2, bidirectional=True), Linear(10, 2))), Mean(((Linear(3, 2),), (GRU(3, 2),))))
SPEC = Spec(BLOCKS, Forecast(18, 36, (0.1, 0.5, 0.9), "MS", 12))


def arrays(spec: Spec = SPEC) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in parameters(spec.blocks).items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "m.safetensors"
    Model(SPEC, arrays()).save(file)
    return file


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: object, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def refuse(path: Path, message: str | None = None) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(repr(str(path))), "the message names the file"
    assert "\n" not in str(caught.value) and time.perf_counter() - start < 5


@pytest.mark.parametrize("task", [None, SPEC.task])
def test_round_trip(tmp_path: Path, task: Forecast | None) -> None:
    spec, values = Spec(BLOCKS, task), arrays()
    for target in (tmp_path / "a.safetensors", str(tmp_path / "b.safetensors")):
        model = Model(spec, values)
        model.save(target)
        again = load(target)
        assert again.spec == spec and list(again.arrays) == list(values)
        for name, array in values.items():
            assert again.arrays[name].tobytes() == array.tobytes() and again.arrays[name].dtype == np.float32
        assert again.num_parameters == sum(a.size for a in values.values())
        assert f"{again.num_parameters:,} parameters" in repr(again)


@pytest.mark.alone
def test_a_text_model_round_trip(tmp_path: Path) -> None:
    words = tuple(f'wörd {i}, "{i}"' for i in range(20_000))
    blocks = (Embedding(20_001, 2), GRU(2, 3), Pool(3, "attention", 4), Linear(3, 2))
    spec = Spec(blocks, Classify(Words(words), ("no", "yes")))
    model = Model(spec, arrays(spec))
    model.save(tmp_path / "text.safetensors")
    start = time.process_time()
    again = load(tmp_path / "text.safetensors")
    assert time.process_time() - start < 1
    assert again.spec == spec and again.hash == model.hash


def test_the_same_model_makes_the_same_file(tmp_path: Path, path: Path) -> None:
    load(path).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_arrays_of_any_layout_are_stored_by_value(tmp_path: Path) -> None:
    values = {name: np.asfortranarray(a) for name, a in arrays().items()}
    Model(SPEC, values).save(tmp_path / "m.safetensors")
    for name, array in load(tmp_path / "m.safetensors").arrays.items():
        assert np.array_equal(array, values[name])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model file '.*nothing.safetensors'"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(FileNotFoundError):
        load(tmp_path)


def test_cut_short_anywhere(path: Path) -> None:
    data = path.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    for length in {0, 1, 7, 8, 9, 100, header - 1, header, header + 1, len(data) // 2, len(data) - 4, len(data) - 1}:
        path.write_bytes(data[:length])
        refuse(path, "is not a model file, or is damaged")
    path.write_bytes(data + b"\0")
    refuse(path, "is not a model file, or is damaged")


def test_bytes_of_any_kind(path: Path, rng: np.random.Generator) -> None:
    for size in (1, 8, 9, 64, 1000, 100_000):
        path.write_bytes(rng.bytes(size))
        refuse(path)
    for content in (b"unique_id,ds,y\na,2020-01-01,1\n", b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        refuse(path)


def test_damaged_bytes_are_refused_or_harmless(path: Path, rng: np.random.Generator) -> None:
    """A flipped byte in the header may not crash, hang or load as something that is not a model."""
    data = path.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    for position in rng.integers(0, header, 300):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert isinstance(load(path), Model)
        except InputError as error:
            assert str(error).startswith(repr(str(path)))


def test_nothing_is_unpickled(path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(path.parent / "exploded"),)

    path.write_bytes(pickle.dumps(Bomb()))
    refuse(path)
    torch.save({"0.weight": torch.zeros(2), "bomb": Bomb()}, path)
    refuse(path)
    np.save(path.with_suffix(".npy"), np.array([Bomb()]), allow_pickle=True)
    refuse(path.with_suffix(".npy"))
    assert not (path.parent / "exploded").exists()


def test_a_foreign_safetensors_file(path: Path) -> None:
    safetensors.numpy.save_file({"weight": np.zeros(3, np.float32)}, path)
    refuse(path, "is a .safetensors file, but holds no model of Grus")
    safetensors.numpy.save_file({"weight": np.zeros(3, np.float32)}, path, metadata={"format": "pt"})
    refuse(path, "holds no model of Grus")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"grus.spec": SPEC.to_json()}, "has format None, this Grus reads '1'"),
        ({"grus.spec": SPEC.to_json(), "grus.format": "2"}, "has format '2', this Grus reads '1': update Grus"),
        ({"grus.spec": "", "grus.format": "1"}, "the spec is not JSON"),
        ({"grus.spec": "[]", "grus.format": "1"}, "the spec is a tuple"),
        ({"grus.spec": SPEC.to_json()[:-2], "grus.format": "1"}, "the spec is not JSON"),
        ({"grus.spec": Spec((Linear(3, 2),)).to_json(), "grus.format": "1"}, "missing .*, not in the spec"),
    ],
)
def test_wrong_metadata(path: Path, metadata: dict[str, str], message: str) -> None:
    safetensors.numpy.save_file(arrays(), path, metadata=metadata)
    refuse(path, message)


def test_a_header_that_lies(path: Path) -> None:
    header, body = parts(path.read_bytes())
    name = "1.0.0.weight"

    def changed(**fields: object) -> None:
        path.write_bytes(joined(header | {name: header[name] | fields}, body))
        refuse(path)

    begin, end = header[name]["data_offsets"]
    changed(shape=[2, 300])
    changed(shape=[-2, -3])
    changed(shape=[2**40, 2**40])
    changed(data_offsets=[begin, end + 10 * 2**30], shape=[2**30, 10])
    changed(data_offsets=[end, begin])
    changed(data_offsets=[0, end - begin])
    changed(data_offsets=[-4, 20])
    changed(dtype="F16")
    changed(dtype="BF16", shape=[4, 3])
    changed(dtype="I32")
    changed(dtype="F8_E4M3", shape=[2, 12])
    changed(dtype="PICKLE")
    path.write_bytes(struct.pack("<Q", 10 * 2**30) + path.read_bytes()[8:])
    refuse(path)
    path.write_bytes(struct.pack("<Q", 2**64 - 1) + path.read_bytes()[8:])
    refuse(path)
    path.write_bytes(joined([1, 2], b""))
    refuse(path)
    path.write_bytes(joined({}, b""))
    refuse(path, "holds no model of Grus")


def test_a_spec_that_lies(path: Path) -> None:
    values = arrays()
    for blocks in (
        (GRU(3, 5, 256),),
        (Embedding(2**24, 2**24), Pool(2**24, "attention", 2**24)),
        (Linear(2**24, 2**24),),
        (GRU(2**24, 2**24, 256, bidirectional=True),),
        (Mean(((Linear(3, 2),),) * 1000),),
    ):
        spec = Spec(blocks).to_json()
        safetensors.numpy.save_file(values, path, metadata={"grus.spec": spec, "grus.format": "1"})
        refuse(path, "missing")


def test_numbers_that_are_none(path: Path) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        values = arrays()
        values["1.0.0.weight"][1, 2] = bad
        metadata = {"grus.spec": SPEC.to_json(), "grus.format": "1"}
        safetensors.numpy.save_file(values, path, metadata=metadata)
        refuse(path, "array '1.0.0.weight' holds NaN or infinity")
        with pytest.raises(InputError, match="array '1.0.0.weight' holds NaN or infinity"):
            Model(SPEC, values)


def test_a_name_that_is_part_of_the_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's name is there even where it is a word of the message."""
    monkeypatch.chdir(path.parent)
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, "model")
    with pytest.raises(InputError, match="^'model' is a .safetensors file"):
        load("model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("1.0.0.weight"), r"missing \['1.0.0.weight'\]"),
        (lambda a: a.update(extra=a["1.0.0.bias"]), r"not in the spec \['extra'\]"),
        (
            lambda a: a.update({"1.0.0.bias": a["1.0.0.bias"][:1]}),
            r"'1.0.0.bias' is float32\(1,\), expected float32\(2,",
        ),
        (lambda a: a.update({"1.0.0.weight": a["1.0.0.weight"].T}), r"'1.0.0.weight' is float32\(3, 2\)"),
        (lambda a: a.update({"1.0.0.bias": a["1.0.0.bias"].astype(float)}), "'1.0.0.bias' is float64"),
        (lambda a: a.update({"1.0.0.bias": a["1.0.0.bias"].astype(">f4")}), "'1.0.0.bias' is >f4"),
        (lambda a: a.update({"1.0.0.bias": [0.0, 0.0]}), "'1.0.0.bias' is a list, expected a NumPy array"),
    ],
)
def test_arrays_that_do_not_fit(change: Any, message: str) -> None:
    values = arrays()
    change(values)
    with pytest.raises(InputError, match=message):
        Model(SPEC, values)


def test_a_model_is_not_changed_by_its_makers_mapping() -> None:
    values = arrays()
    model = Model(SPEC, values)
    values.clear()
    assert list(model.arrays) == list(parameters(BLOCKS))
    with pytest.raises(TypeError):
        model.arrays["0.1.bias"] = np.zeros(2, np.float32)  # type: ignore[index]


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    if fails == "write":
        real = os.fdopen

        def broken(*args: Any, **options: Any) -> Any:
            file = real(*args, **options)
            return type(
                "Broken", (), {"__enter__": lambda s: s, "__exit__": lambda s, *e: file.close(), "write": fail}
            )()

        monkeypatch.setattr(files.os, "fdopen", broken)
    else:
        monkeypatch.setattr(files.os, fails, fail)
    with pytest.raises(OSError, match="No space left"):
        load(path).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_save_follows_the_umask_and_leaves_nothing_else(tmp_path: Path) -> None:
    target, old = tmp_path / "m.safetensors", os.umask(0o027)
    try:
        Model(SPEC, arrays()).save(target)
    finally:
        os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    Model(SPEC, arrays()).save(target)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Model(SPEC, arrays()).save(tmp_path / "nowhere" / "m.safetensors")
    with pytest.raises(OSError, match="directory"):
        Model(SPEC, arrays()).save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_it_is_the_public_name() -> None:
    assert grus.load is load and grus.Model is Model
