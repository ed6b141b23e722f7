"""Models with int8 weights: the arithmetic, how they are made, how Session runs them, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streamed import run_streamed_and_cut
from test_session import CHAINS, inputs, model_of

import grus
from grus import InputError, Model, Session, Spec, exact, quantized
from grus.calibration import quantize
from grus.spec import GRU, Activation, Block, Linear, Mean, Residual

Array = NDArray[Any]
chains = pytest.mark.parametrize("blocks", CHAINS.values(), ids=CHAINS)
ULP = 2.0**-15  # of a gate, a state, a curve


def small(*blocks: Block, seed: int = 0) -> Model:
    return quantize(model_of(*blocks, seed=seed), inputs(blocks, 40))


def test_the_table_is_tanh() -> None:
    entries = quantized.table()
    assert entries.dtype == np.uint16 and entries.shape == (769,)
    assert np.abs(entries - np.tanh(np.arange(769) / 128) * 65536).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("curve", "right"),
    [(quantized.tanh, np.tanh), (quantized.sigmoid, lambda a: 0.5 + 0.5 * np.tanh(a / 2))],
    ids=["tanh", "sigmoid"],
)
def test_curves_are_right_to_one_unit_and_never_fall(
    curve: Callable[[Array], Array], right: Callable[[Array], Array]
) -> None:
    a = np.concatenate([np.arange(-(14 << 20), 14 << 20, 61), [-(1 << 30), 1 << 30, 0, 1, -1]])
    y = curve(np.sort(a))
    assert np.abs(y * ULP - right(np.sort(a) / 2.0**20)).max() < ULP
    assert (np.diff(y) >= 0).all()
    assert (curve(np.array([0, 1 << 30])) == [0 if curve is quantized.tanh else 16384, 32768]).all()


def test_sigmoid_and_its_mirror_add_up_to_one() -> None:
    a = np.random.default_rng(0).integers(-(1 << 24), 1 << 24, 10_000)
    assert np.abs(quantized.sigmoid(a) + quantized.sigmoid(-a) - 32768).max() <= 1
    assert (quantized.tanh(a) == -quantized.tanh(-a)).all()


def test_inputs_round_to_the_nearest_and_saturate() -> None:
    x = np.array([0.0, 0.49, 0.5, -0.5, 1.5, -1.51, 4e4, -4e4, np.inf, -np.inf, np.nan, 32767.4, 1e-45], np.float32)
    q = quantized.to_integers(x, np.zeros(13, int))
    assert q.tolist() == [0, 0, 1, -1, 2, -2, 32767, -32768, 32767, -32768, 0, 32767, 0]


@chains
@pytest.mark.parametrize("batch", [1, 5])
def test_streaming_cutting_and_batching_change_no_bit(blocks: tuple[Block, ...], batch: int) -> None:
    session, x = Session(small(*blocks)), inputs(blocks, B=batch)
    y, end = run_streamed_and_cut(session, x)
    assert y.dtype == np.float32 and y.shape == (9, batch, blocks[-1].output_size)
    alone, _ = session.run(x[:, -1:])
    assert alone.tobytes() == np.ascontiguousarray(y[:, -1:]).tobytes()
    assert session.run(x, last=True)[0].tobytes() == y[-1].tobytes()
    none, unchanged = session.run(x[:0], end)
    assert none.shape == (0, batch, blocks[-1].output_size) and unchanged == end


@chains
def test_outputs_are_near_the_float_models(blocks: tuple[Block, ...]) -> None:
    """Rounding a weight to 8 bits changes it by at most 1/254 of its row's largest: so the outputs, in the mean."""
    model, x = model_of(*blocks), inputs(blocks, 60)
    right = exact.run(blocks, model.arrays, x)
    y, _ = Session(quantize(model, x)).run(x)
    assert np.sqrt(np.square(y - right).mean()) < np.sqrt(np.square(right).mean()) / 100


def test_a_feature_in_other_units_is_not_lost() -> None:
    """One feature in thousands, one in thousandths, of equal weight: each needs a range of its own."""
    blocks = (Linear(2, 4, bias=False),)
    weight = np.array([[1e-3, 1e3], [1e-3, -1e3], [2e-3, 1e3], [-1e-3, 3e3]], np.float32)
    model = Model(Spec(blocks), {"0.weight": weight})
    x = (np.random.default_rng(0).uniform(-1, 1, (50, 2, 2)) * [1e3, 1e-3]).astype(np.float32)
    y, _ = Session(quantize(model, x)).run(x)
    assert np.abs(y - exact.run(blocks, model.arrays, x)).max() < 0.02


def test_unused_and_constant_features_do_no_harm() -> None:
    model, x = model_of(GRU(4, 6), Linear(6, 2)), inputs((GRU(4, 6),), 30)
    x[..., 2] = 0
    y, _ = Session(quantize(model, x)).run(x)
    assert np.abs(y - exact.run(model.spec.blocks, model.arrays, x)).max() < 0.03
    zeros = Model(model.spec, {name: np.zeros_like(a) for name, a in model.arrays.items()})
    assert (Session(quantize(zeros, x)).run(x)[0] == 0).all()


@chains
def test_a_file_gives_the_model_back(blocks: tuple[Block, ...], tmp_path: Path) -> None:
    model = small(*blocks)
    model.save(tmp_path / "model.safetensors")
    again = grus.load(tmp_path / "model.safetensors")
    assert again.spec == model.spec and again.spec.precision == "w8a16"
    assert {n: (a.dtype, a.tobytes()) for n, a in again.arrays.items()} == {
        n: (a.dtype, a.tobytes()) for n, a in model.arrays.items()
    }
    assert again.num_parameters == model_of(*blocks).num_parameters
    x = inputs(blocks)
    assert Session(again).run(x)[0].tobytes() == Session(model).run(x)[0].tobytes()


def test_a_float_models_spec_does_not_mention_its_precision() -> None:
    assert "precision" not in Spec((GRU(3, 5),)).to_json()
    assert Spec.from_json(Spec((GRU(3, 5),)).to_json()).precision == "float32"
    with pytest.raises(InputError, match="Spec.precision is 'int4', expected 'float32' or 'w8a16'"):
        Spec((GRU(3, 5),), precision="int4")  # type: ignore[arg-type]


def changed(name: str, value: Array) -> Callable[[], Model]:
    def make() -> Model:
        model = small(Linear(4, 6), Residual((Linear(6, 6),)), GRU(6, 5))
        return Model(model.spec, dict(model.arrays) | {name: value})

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (changed("0.weight", np.zeros((6, 4), np.float32)), r"'0.weight' is float32\(6, 4\), expected int8\(6, 4\)"),
        (changed("0.weight.scale", np.full(6, -1, np.float32)), "'0.weight.scale' holds a scale below 0"),
        (changed("0.weight.scale", np.full(6, np.inf, np.float32)), "'0.weight.scale' holds NaN or infinity"),
        (changed("0.exponent", np.array([99], np.int8)), "'0.exponent' holds exponents beyond -32 to 47"),
        (changed("1.exponent", np.array([47], np.int8)), "'1.exponent' is 47, too far from the exponents of what is"),
        (changed("input.exponent", np.zeros(3, np.int8)), r"is int8\(3,\), expected int8\(4,\)"),
        (changed("2.exponent", np.zeros(1, np.int8)), r"not in the spec \['2.exponent'\]"),
    ],
)
def test_arrays_that_could_overflow_are_refused(make: Callable[[], Model], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("blocks", "x", "message"),
    [
        ((GRU(3, 5),), np.zeros((4, 2, 2)), r"x has shape \(4, 2, 2\), expected \(T, B, 3\) with at least one step"),
        ((GRU(3, 5),), np.zeros((0, 2, 3)), r"x has shape \(0, 2, 3\)"),
        ((GRU(3, 5),), np.zeros((4, 3)), r"x has shape \(4, 3\)"),
        ((GRU(3, 5),), np.full((4, 2, 3), np.nan), "x holds NaN or infinity"),
        ((GRU(3, 5),), np.zeros((4, 2, 3)), "x is all zeros"),
        (
            (GRU(3, 5, bidirectional=True),),
            np.ones((4, 2, 3)),
            "has a bidirectional GRU, but a w8a16 model is there to be streamed",
        ),
    ],
)
def test_bad_calibration_is_refused(blocks: tuple[Block, ...], x: Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize(model_of(*blocks), x)


def test_a_quantised_model_is_not_quantised_again() -> None:
    with pytest.raises(InputError, match="model is a str, expected a grus.Model"):
        quantize("model.safetensors", np.ones((4, 2, 3)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the model is w8a16 already"):
        quantize(small(GRU(3, 5)), np.ones((4, 2, 3)))


def test_sums_of_parts_of_very_different_size() -> None:
    """The larger part decides the exponent, and the smaller one may vanish, but nothing is refused or overflows."""
    blocks = (Linear(2, 3), Mean(((Activation(3, "tanh"),), (Linear(3, 3),))), Residual((Activation(3, "sigmoid"),)))
    model = model_of(*blocks)
    arrays = dict(model.arrays) | {"0.weight": model.arrays["0.weight"] * np.float32(1e6)}
    model, x = Model(model.spec, arrays), inputs(blocks, 30)
    y, right = Session(quantize(model, x)).run(x)[0], exact.run(blocks, arrays, x)
    assert np.abs(y - right).max() < np.abs(right).max() / 50
