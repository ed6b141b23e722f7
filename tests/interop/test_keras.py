"""To and from Keras 3, which runs here on PyTorch: the numbers, the arrays, and what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interop.trained import SHAPES, check, inputs, random_model, same
from numpy.typing import NDArray

from grus import InputError, installed
from grus.interop import keras as interop
from grus.spec import GRU, Linear

Array = NDArray[Any]

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2

SHAPES_OF_BOTH = {
    f"{name}, reset {'after' if after else 'before'}": (blocks, after)
    for name, blocks in SHAPES.items()
    for after in (True, False)
}


def with_reset(blocks: tuple[GRU, ...], reset_after: bool) -> tuple[GRU, ...]:
    return tuple(GRU(b.input_size, b.hidden_size, b.num_layers, b.bias, b.bidirectional, reset_after) for b in blocks)


def stack(blocks: tuple[GRU, ...]) -> Any:
    """A Sequential of these layers."""
    made = [layers.Input((None, blocks[0].input_size))]
    for block in blocks:
        for _ in range(block.num_layers):
            layer = layers.GRU(
                block.hidden_size, return_sequences=True, use_bias=block.bias, reset_after=block.reset_after
            )
            made.append(layers.Bidirectional(layer) if block.bidirectional else layer)
    return keras.Sequential(made)


def run(model: Any, x: Array, h0: list[Array] | None = None) -> Array:
    """x and y are [T, B, F]; Keras has the batch first."""
    y, states = np.ascontiguousarray(x.swapaxes(0, 1)), iter(h0 or [])
    for layer in model.layers:
        count = 2 if isinstance(layer, layers.Bidirectional) else 1
        y = layer(y, initial_state=None if h0 is None else [next(states) for _ in range(count)])
    return np.asarray(keras.ops.convert_to_numpy(y)).swapaxes(0, 1)


def randomised(layer: Any) -> Any:
    rng = np.random.default_rng(0)
    layer.set_weights([rng.uniform(-0.8, 0.8, w.shape).astype(np.float32) for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize(("blocks", "reset_after"), SHAPES_OF_BOTH.values(), ids=SHAPES_OF_BOTH)
def test_a_model_becomes_their_layers(blocks: tuple[GRU, ...], reset_after: bool) -> None:
    model = random_model(*with_reset(blocks, reset_after))
    theirs = stack(model.spec.blocks)  # type: ignore[arg-type]
    theirs.set_weights(interop.save(model))
    x, h0 = inputs(model)
    check("Keras", run(theirs, x, h0), model, x, h0)
    check("Keras", run(theirs, x), model, x)
    again = interop.load(theirs)
    if reset_after:
        assert same(again, model)
    else:  # with the reset before the product, Keras has one bias
        assert again.spec == model.spec
        assert all(np.array_equal(a, b) for a, b in zip(interop.save(again), interop.save(model), strict=True))


@pytest.mark.parametrize(("blocks", "reset_after"), SHAPES_OF_BOTH.values(), ids=SHAPES_OF_BOTH)
def test_their_layers_become_a_model(blocks: tuple[GRU, ...], reset_after: bool) -> None:
    theirs = randomised(stack(with_reset(blocks, reset_after)))
    model = interop.load(theirs)
    assert model.spec.blocks == with_reset(blocks, reset_after)
    x, h0 = inputs(model)
    check("Keras", run(theirs, x, h0), model, x, h0)
    back = interop.save(model)
    assert all(np.array_equal(a, b) for a, b in zip(back, theirs.get_weights(), strict=True))


def test_arrays_alone_say_how_they_were_made_where_they_can() -> None:
    for blocks in (
        (GRU(3, 5),),
        (GRU(3, 5, num_layers=2),),
        (GRU(3, 5, 2, bidirectional=True),),
        (GRU(4, 4, reset_after=False),),
    ):
        model = interop.load(randomised(stack(blocks)))
        assert same(interop.load(interop.save(model)), model)

    two = interop.save(random_model(GRU(4, 4, num_layers=2)))
    with pytest.raises(InputError, match="fit layers one above the other and two directions: give bidirectional="):
        interop.load(two)
    assert interop.load(two, bidirectional=False).spec.blocks == (GRU(4, 4, num_layers=2),)
    assert interop.load(two, bidirectional=True).spec.blocks == (GRU(4, 4, bidirectional=True),)

    bare = interop.save(random_model(GRU(3, 5, bias=False)))
    with pytest.raises(InputError, match="without a bias the arrays do not say where the reset acts"):
        interop.load(bare)
    for after in (True, False):
        assert interop.load(bare, reset_after=after).spec.blocks == (GRU(3, 5, bias=False, reset_after=after),)


def test_layers_and_cells_of_other_make() -> None:
    cells = [layers.GRUCell(4, reset_after=False), layers.GRUCell(3)]
    backward = layers.GRU(5, return_sequences=True, go_backwards=True)
    both = layers.Bidirectional(layers.GRU(5, return_sequences=True), backward_layer=backward)
    made = [layers.RNN(cells, return_sequences=True), layers.Dropout(0.5), both]
    theirs = randomised(keras.Sequential([layers.Input((None, 2)), *made]))
    model = interop.load(theirs)
    assert model.spec.blocks == (GRU(2, 4, reset_after=False), GRU(4, 3), GRU(3, 5, bidirectional=True))
    x, _ = inputs(model)
    y = keras.ops.convert_to_numpy(theirs(np.ascontiguousarray(x.swapaxes(0, 1)), training=False))
    check("Keras", np.asarray(y).swapaxes(0, 1), model, x)
    assert same(interop.load(theirs.layers), model)
    assert interop.load(cells).spec.blocks == (GRU(2, 4, reset_after=False), GRU(4, 3))


def built(layer: Any) -> Any:
    keras.Sequential([layers.Input((None, 3)), layer])
    return layer


def gru(**options: Any) -> Any:
    return layers.GRU(4, return_sequences=True, **options)


A, R, B2 = np.zeros((3, 12), np.float32), np.zeros((4, 12), np.float32), np.zeros((2, 12), np.float32)
TWO = np.zeros((2, 6), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interop.load(built(gru(activation="relu"))), "activation is 'relu', expected 'tanh'"),
        (lambda: interop.load(built(gru(recurrent_activation="hard_sigmoid"))), "recurrent_activation is 'hard_sigm"),
        (lambda: interop.load(built(gru(go_backwards=True))), "go_backwards is True, expected False"),
        (lambda: interop.load(built(layers.Bidirectional(gru(), merge_mode="sum"))), "merge_mode is 'sum', expected"),
        (
            lambda: interop.load(
                built(layers.Bidirectional(gru(go_backwards=True), backward_layer=gru(go_backwards=False)))
            ),
            "go_backwards is True",
        ),
        (
            lambda: interop.load(
                built(layers.Bidirectional(layers.RNN([layers.GRUCell(4), layers.GRUCell(4)], return_sequences=True)))
            ),
            "has several cells a direction",
        ),
        (lambda: interop.load(built(layers.LSTM(4))), r"lstm\w* is a LSTM, expected GRU layers alone"),
        (
            lambda: interop.load(keras.Sequential([layers.Input((None, 3)), gru(), layers.Dense(2)])),
            "dense.* is a Dense",
        ),
        (lambda: interop.load(gru()), r"has arrays of shapes \[\], which is no GRU: is the layer built\?"),
        (lambda: interop.load(built(gru()), reset_after=True), "are read from the Keras layers: expected None"),
        (lambda: interop.load([built(gru()), A]), "the list holds a ndarray beside Keras layers"),
        (lambda: interop.load("model.keras"), r"source is a str, expected get_weights\(\)"),
        (lambda: interop.load([]), "arrays have shapes"),
        (lambda: interop.load([A]), "arrays have shapes"),
        (lambda: interop.load([A, A]), "arrays have shapes"),
        (lambda: interop.load([A, R, B2[:1]]), "arrays have shapes"),
        (lambda: interop.load([R, R, B2, R, R]), "arrays have shapes"),
        (lambda: interop.load([TWO, TWO, TWO, TWO, TWO, TWO]), "fit layers with and without biases"),
        (
            lambda: interop.load([A, R, B2], reset_after=False),
            "reset_after is False, but a bias of shape .2, 12. is that",
        ),
        (lambda: interop.load([A, R, B2], bidirectional=True), "weights of 1 GRUs, expected two for each"),
        (
            lambda: interop.load([A, R, B2, A, R, B2], bidirectional=False),
            "takes 3 features, but the one before it gives 4",
        ),
        (lambda: interop.load([A, R, B2, R, R, B2], bidirectional=True), "the directions differ"),
        (lambda: interop.load([A.astype(int), R, B2]), "array 0 is int64, expected floating-point numbers"),
        (lambda: interop.load([A, R, B2 + np.float64(0.1)]), "array 2 is float64 and float32 would round it"),
        (lambda: interop.save(random_model(GRU(3, 4), Linear(4, 1))), "the model has Linear beside GRU"),
    ],
)
def test_what_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("blocks", SHAPES.values(), ids=SHAPES)
def test_a_file(blocks: tuple[GRU, ...], reset_after: bool, tmp_path: Path) -> None:
    ours, theirs, again = (tmp_path / f"{name}.keras" for name in ("ours", "theirs", "again"))
    model = random_model(*with_reset(blocks, reset_after))
    interop.save_file(model, ours)
    interop.save_file(model, again)
    assert ours.read_bytes() == again.read_bytes()
    loaded = keras.saving.load_model(ours)
    x, _ = inputs(model)
    check("Keras", run(loaded, x), model, x)
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), interop.save(model), strict=True))
    loaded.save(theirs)
    assert same(interop.load_file(theirs), interop.load_file(ours))
    assert same(interop.load_file(theirs), interop.load(loaded))


def test_a_file_of_other_make(tmp_path: Path) -> None:
    cells = [layers.GRUCell(4, reset_after=False), layers.GRUCell(4)]
    both = layers.Bidirectional(layers.GRU(5, return_sequences=True))
    inner = keras.Sequential([both, layers.Dropout(0.1), layers.GRU(2, return_sequences=True)])
    rnn = layers.RNN(cells, return_sequences=True)
    twice = [layers.GRU(4, return_sequences=True, use_bias=False), layers.GRU(4, return_sequences=True)]
    theirs = randomised(keras.Sequential([layers.Input((None, 3)), rnn, *twice, inner]))
    theirs.save(tmp_path / "theirs.keras")
    model = interop.load_file(tmp_path / "theirs.keras")
    assert same(model, interop.load(theirs))
    x, _ = inputs(model)
    y = keras.ops.convert_to_numpy(theirs(np.ascontiguousarray(x.swapaxes(0, 1)), training=False))
    check("Keras", np.asarray(y).swapaxes(0, 1), model, x)


def archive(path: Path, **changes: bytes | None) -> bytes:
    """A good file with some of its members replaced or left out."""
    interop.save_file(random_model(GRU(3, 4)), path)
    names = {"config": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members |= {names[key]: content for key, content in changes.items()}  # type: ignore[dict-item]
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            if content is not None:
                file.writestr(name, content)
    return data.getvalue()


def hdf5(fill: Callable[[Any, Any], object]) -> bytes:
    """Arrays of a file in which ``fill(h5py, group of the cell's arrays)`` has put what it likes."""
    import h5py

    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        fill(h5py, file.create_group("layers/gru/cell/vars"))
    return data.getvalue()


def huge(h5py: Any, group: Any) -> None:
    group.create_dataset("0", shape=(3, 12 << 30), dtype="f4", chunks=(1, 1024))


def elsewhere(h5py: Any, group: Any) -> None:
    group["0"] = h5py.ExternalLink("/etc/passwd", "/")


def outside(h5py: Any, group: Any) -> None:
    group.create_dataset("0", shape=(3, 12), dtype="f4", external=[("/etc/passwd", 0, 144)])


def test_files_that_are_refused(tmp_path: Path) -> None:
    path, good = tmp_path / "gru.keras", tmp_path / "good.keras"
    with pytest.raises(FileNotFoundError):
        interop.load_file(path)
    whole = archive(good)
    lstm = b'{"class_name": "LSTM", "config": {"name": "a"}}'
    deep = b'{"class_name": "Sequential", "config": {"layers": [' * 5000 + b"]}}" * 5000
    cases = {
        whole[:-30]: "is not a .keras file, or is damaged",
        b"": "is not a .keras file",
        b"\x80\x04pickle": "is not a .keras file",
        archive(good, config=None): "is not a .keras file, or is damaged",
        archive(good, config=b"{"): "is not a .keras file, or is damaged",
        archive(good, config=b"[]"): "is not a .keras file, or is damaged",
        archive(good, config=deep): "is not a .keras file, or is damaged",
        archive(
            good, config=b" " * (1 << 25)
        ): "config.json in it says that it has 33,554,432 bytes, which is too many",
        archive(good, config=lstm): "a is a LSTM, expected GRU layers alone",
        archive(good, weights=b"\x89HDF"): "is not a .keras file, or is damaged",
        archive(good, weights=bytes(1 << 25)): "model.weights.h5 in it says that it has 33,554,432 bytes, which is too",
        archive(good, weights=hdf5(lambda *_: None)): "/layers/gru/cell/vars/0 in it is missing or a link",
        archive(good, weights=hdf5(huge)): "/layers/gru/cell/vars/0 in it has 154,618,822,656 bytes, but holds 0",
        archive(good, weights=hdf5(elsewhere)): "/layers/gru/cell/vars/0 in it is missing or a link",
        archive(good, weights=hdf5(outside)): "/layers/gru/cell/vars/0 in it has its numbers in another file",
    }
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"gru.keras': .*{message}"):
            interop.load_file(path)


def test_without_the_package() -> None:
    code = """
import sys
sys.modules["h5py"] = None
from grus.interop import keras
try:
    keras.load_file(sys.executable)
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.endswith(f": a .keras file needs the package h5py: {installed.command('keras')}\n")
