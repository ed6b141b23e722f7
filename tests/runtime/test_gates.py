"""Gates that the forward pass saves for the backward pass: their values, and that they change no bit of a gradient."""

from __future__ import annotations

import numpy as np
import pytest
from implementations import case
from test_invariance import native_isas, reset
from tolerance import check_float32

from grus import reference
from grus.errors import InputError
from grus.runtime import kernels

SIZES = [(7, 5, 3, 17), (6, 1, 9, 33), (9, 40, 1, 65), (1, 3, 2, 1)]


@native_isas
@reset
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threads", [1, 2])
def test_saved_gates_change_no_bit(isa: str, reset_after: bool, size: tuple[int, int, int, int], threads: int) -> None:
    weights, x, h0, dy = case(*size, reset_after)
    (T, B), layer = size[:2], kernels.Layer(weights, isa=isa)
    for reverse in (False, True):
        y, _ = layer.forward(x, h0, reverse=reverse, threads=threads)
        expected = layer.backward(x, h0, y, dy, reverse=reverse, threads=threads)
        for save in {1, (T + 1) // 2, T}:
            gates = layer.gates(T, B, save=save)
            gates.array()[...] = np.nan
            assert gates.first_step == T - save
            again, _ = layer.forward(x, h0, reverse=reverse, threads=threads, gates=gates)
            assert again.tobytes() == y.tobytes()
            for _ in range(2):  # a backward pass leaves them as they were
                got = layer.backward(x, h0, y, dy, reverse=reverse, threads=threads, gates=gates)
                for name, one, other in zip(got._fields, got, expected, strict=True):
                    assert one.tobytes() == other.tobytes(), name


@native_isas
@reset
@pytest.mark.parametrize("size", SIZES)
def test_gates_are_those_of_the_reference(isa: str, reset_after: bool, size: tuple[int, int, int, int]) -> None:
    weights, x, h0, _ = case(*size, reset_after)
    (T, B), layer = size[:2], kernels.Layer(weights, isa=isa)
    gates = layer.gates(T, B)
    y, _ = layer.forward(x, h0, gates=gates)
    before = np.concatenate([h0[None], y[:-1]])
    arrays = (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)
    for t in range(T):
        given = (x[t], before[t], *arrays)
        plain = reference.gates(*given, reset_after=reset_after)  # the same formula in float32
        exact = reference.gates(*(array.astype(np.float64) for array in given), reset_after=reset_after)
        for index, name in enumerate(exact._fields[: 4 if reset_after else 3]):
            check_float32(f"{name} at {t}", gates.array()[t, :, index], exact[index], plain[index])


def test_what_is_refused() -> None:
    weights, x, h0, dy = case(4, 3, 2, 5, True)
    layer = kernels.Layer(weights)
    y, _ = layer.forward(x, h0)
    for save in (0, 5):
        with pytest.raises(InputError, match=f"save is {save} .* from 1 to 4"):
            layer.gates(4, 3, save=save)
    for other in (layer.gates(5, 3), layer.gates(4, 2)):
        with pytest.raises(InputError, match="gates are of"):
            layer.forward(x, h0, gates=other)
        with pytest.raises(InputError, match="gates are of"):
            layer.backward(x, h0, y, dy, gates=other)
    wider = kernels.Layer(case(4, 3, 2, 6, True).weights)
    with pytest.raises(ValueError, match="other sizes"):
        layer.forward(x, h0, gates=wider.gates(4, 3))


def test_gates_of_another_instruction_set_are_refused() -> None:
    weights, x, h0, _ = case(4, 3, 2, 20, True)
    layers = {isa: kernels.Layer(weights, isa=isa) for isa in kernels.isas()}
    padded = {isa: layer.gates(4, 3).array().strides for isa, layer in layers.items()}
    for isa, layer in layers.items():
        for other, room in layers.items():
            if padded[isa] != padded[other]:
                with pytest.raises(ValueError, match="other sizes"):
                    layer.forward(x, h0, gates=room.gates(4, 3))
