"""Files of whole Keras models: what they give is what the Model gives, whichever of Keras' files it was in."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interop.trained import random_model, same
from numpy.typing import NDArray

from grus import InputError, Model, Session
from grus.interop import keras as interop
from grus.interop.files import load_file
from grus.spec import GRU, Pool

Array = NDArray[Any]

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")
layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2
X = np.random.default_rng(0).normal(size=(3, 9, 5)).astype(np.float32)
ENDINGS = (".keras", ".h5", ".weights.h5")


def theirs(model: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(model(X, training=False)))


def ours(model: Model, *, last: bool) -> Array:
    y, _ = Session(model).run(np.ascontiguousarray(X.swapaxes(0, 1)), last=last)
    return y if last else y.swapaxes(0, 1)


def saved(model: Any, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def encoder(form: str, sequences: bool) -> Any:
    lower = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    upper = layers.Bidirectional(layers.GRU(3, return_sequences=sequences))
    x = keras.Input((None, 5))
    if form == "sequential":
        return keras.Sequential([x, lower, layers.Dropout(0.1), upper])
    if form == "inner model":
        inner = keras.Sequential([keras.Input((None, 5)), lower, layers.Dropout(0.1)], name="inner")
        return keras.Model(x, upper(inner(x)))
    return keras.Model(x, upper(layers.Dropout(0.1)(lower(x))))


@pytest.mark.parametrize("form", ["sequential", "functional", "inner model"])
def test_the_last_state_of_each_direction(form: str, tmp_path: Path) -> None:
    model = encoder(form, False)
    right = theirs(model)
    for made in (interop.load(model), *(load_file(saved(model, tmp_path / f"m{e}")) for e in ENDINGS[:2])):
        np.testing.assert_allclose(ours(made, last=True), right, atol=1e-5)
        assert made.spec.blocks[-1] == Pool(6, "ends")
    interop.save_file(interop.load(model), tmp_path / "back.keras")
    np.testing.assert_allclose(theirs(keras.saving.load_model(tmp_path / "back.keras")), right, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(interop.save(made), model.get_weights(), strict=True))


@pytest.mark.parametrize("ending", ENDINGS)
def test_sequences(ending: str, tmp_path: Path) -> None:
    for form in ("sequential", "functional", "inner model"):
        model = encoder(form, True)
        made = load_file(saved(model, tmp_path / f"{form[:3]}{ending}"))
        np.testing.assert_allclose(ours(made, last=False), theirs(model), atol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
def test_layers_are_chosen_by_name(ending: str, tmp_path: Path) -> None:
    ids = keras.Input((None,), dtype="int32")
    low = layers.GRU(6, return_sequences=True, name="low")(layers.Embedding(9, 5)(ids))
    top = layers.Bidirectional(layers.GRU(4), name="top")(layers.Dropout(0.1)(low))
    model = keras.Model(ids, layers.Dense(2)(top))
    path = saved(model, tmp_path / f"m{ending}")
    with pytest.raises(
        InputError, match=r"expected GRU layers alone; choose with layers= from '(low', 'top|top', 'low)'"
    ):
        load_file(path)
    made = load_file(path, layers=["low", "top"])
    assert made.spec.blocks[:2] == (GRU(5, 6), GRU(6, 4, bidirectional=True))
    if ending != ".weights.h5":  # which does not say what is given
        part = keras.Model(model.layers[1].output, top)
        np.testing.assert_allclose(ours(made, last=True), theirs(part), atol=1e-5)
        with pytest.raises(InputError, match="'low' does not take the output of 'top' alone"):
            load_file(path, layers=["top", "low"])
    assert load_file(path, layers="low").spec.blocks == (GRU(5, 6),)
    with pytest.raises(InputError, match="expected names of GRU layers: '"):
        load_file(path, layers=["low", "dense"])


def test_branches_are_no_chain(tmp_path: Path) -> None:
    x = keras.Input((None, 5))
    a, b = (layers.GRU(5, return_sequences=True, name=name)(x) for name in "ab")
    two = saved(keras.Model(x, [a, b]), tmp_path / "two.keras")
    with pytest.raises(InputError, match="'b' does not take the output of 'a' alone"):
        load_file(two)
    assert load_file(two, layers="b").spec.blocks == (GRU(5, 5),)
    c = layers.GRU(5, return_sequences=True, name="c")(a)
    with pytest.raises(InputError, match="the model gives more than the output of 'c'"):
        load_file(saved(keras.Model(x, [a, c]), tmp_path / "more.keras"))
    _, state = layers.GRU(5, return_state=True, name="d")(x)
    e = layers.GRU(5, return_sequences=True, name="e")(x, initial_state=state)
    with pytest.raises(InputError, match="'e' does not take the output of 'd' alone"):
        load_file(saved(keras.Model(x, e), tmp_path / "state.keras"))


def test_a_whole_model_of_keras_2(tmp_path: Path) -> None:
    """Its configuration has time_major, which Keras 3 refuses, and no backward_layer."""
    x = keras.Input((None, 5))
    low = layers.GRU(6, return_sequences=True, name="low")(x)
    model = keras.Model(x, layers.Bidirectional(layers.GRU(4), name="top")(low))
    path = saved(model, tmp_path / "m.h5")

    def gru(name: str, units: int, sequences: bool) -> dict[str, Any]:
        options = {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False, "reset_after": True}
        sizes = {"name": name, "units": units, "return_sequences": sequences, "time_major": False, "use_bias": True}
        return {"class_name": "GRU", "config": options | sizes}

    both = {"name": "top", "merge_mode": "concat", "layer": gru("gru", 4, False)}
    first = {"batch_input_shape": [None, None, 5], "name": "x"}
    members = [
        {"class_name": "InputLayer", "config": first, "name": "x", "inbound_nodes": []},
        {**gru("low", 6, True), "name": "low", "inbound_nodes": [[["x", 0, 0, {}]]]},
        {"class_name": "Bidirectional", "config": both, "name": "top", "inbound_nodes": [[["low", 0, 0, {}]]]},
    ]
    functional = {"name": "m", "layers": members, "input_layers": [["x", 0, 0]], "output_layers": [["top", 0, 0]]}
    right = theirs(model)
    for kind, config in (("Functional", functional), ("Model", functional), ("Sequential", {"layers": members})):
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = json.dumps({"class_name": kind, "config": config})
        np.testing.assert_allclose(ours(load_file(path), last=True), right, atol=1e-5)


def test_weights_alone(tmp_path: Path) -> None:
    x = keras.Input((None, 5))
    bare = keras.Sequential([x, layers.GRU(4, use_bias=False, reset_after=False, return_sequences=True)])
    path = saved(bare, tmp_path / "bare.weights.h5")
    with pytest.raises(
        InputError, match="without a bias the arrays do not say where the reset acts: give reset_after="
    ):
        load_file(path)
    np.testing.assert_allclose(ours(load_file(path, reset_after=False), last=False), theirs(bare), atol=1e-5)
    many = keras.Sequential([x, *(layers.GRU(5, return_sequences=True) for _ in range(12))])
    made = load_file(saved(many, tmp_path / "many.weights.h5"))  # gru, gru_1, gru_10, gru_11, gru_2, …
    np.testing.assert_allclose(ours(made, last=False), theirs(many), atol=1e-5)
    mixed = [layers.GRU(4, return_sequences=True), layers.RNN(layers.GRUCell(4), return_sequences=True)]
    path = saved(keras.Sequential([keras.Input((None, 4)), *mixed]), tmp_path / "mixed.weights.h5")
    with pytest.raises(
        InputError, match="the sizes of its layers leave the order of its layers open: name them in order"
    ):
        load_file(path)


def test_other_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3)
    with pytest.raises(InputError, match="is an HDF5 file, but neither a whole model of Keras nor its weights"):
        load_file(path)
    good = tmp_path / "m.keras"
    interop.save_file(random_model(GRU(3, 4)), good)
    assert same(load_file(good), random_model(GRU(3, 4)))
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(InputError, match="or is damaged"):
        load_file(path)
