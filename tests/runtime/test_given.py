"""Weights read as they are given, for calls of few steps: every bit is that of packed weights."""

from __future__ import annotations

import numpy as np
import pytest
from implementations import case
from test_invariance import native_isas, reset

from grus.runtime import kernels

# a step alone, rows beyond one tile's, units and features that are no whole panels, sums beyond one block
SIZES = [
    (1, 1, 1, 1),
    (1, 1, 64, 64),
    (2, 3, 7, 17),
    (1, 9, 33, 65),
    (3, 17, 130, 100),
    (1, 40, 16, 48),
    (4, 5, 300, 16),
]


@native_isas
@reset
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_of_packed_weights(
    isa: str, reset_after: bool, size: tuple[int, int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRUS_ISA", isa)
    weights, x, h0, dy = case(*size, reset_after)
    T, B, I, H = size  # noqa: E741
    own = [weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh]
    own = [np.ascontiguousarray(array) for array in own]
    addresses = tuple(array.ctypes.data for array in own)
    given = kernels.Layer.given(I, H, (*addresses, 0), reset_after, own)
    packed = kernels.Layer(weights, isa=isa)
    assert given.isa == isa and given.training
    for reverse in (False, True):
        for save in (None, 1, T):
            rooms = [None if save is None else layer.gates(T, B, save=save) for layer in (packed, given)]
            found = []
            for layer, room in zip((packed, given), rooms, strict=True):
                y, h_n = layer.forward(x, h0, reverse=reverse, threads=threads, gates=room)
                by = layer.backward(x, h0, y, dy, h_n, reverse=reverse, threads=threads, gates=room)
                found.append({"y": y, "h_n": h_n} | by._asdict())
            for name, right in found[0].items():
                assert found[1][name].tobytes() == right.tobytes(), (name, reverse, save)
        y, _ = given.forward(x, None, reverse=reverse, threads=threads)
        assert y.tobytes() == packed.forward(x, None, reverse=reverse, threads=threads)[0].tobytes()


def test_what_is_written_between_calls_is_seen() -> None:
    weights, x, h0, _ = case(1, 2, 5, 17, True)
    own = [np.array(a) for a in (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)]
    given = kernels.Layer.given(5, 17, (*(a.ctypes.data for a in own), 0), True, own)  # type: ignore[arg-type]
    before, _ = given.forward(x, h0)
    own[1][3, 4] += 1.0
    after, _ = given.forward(x, h0)
    assert not np.array_equal(after, before)
    weights.weight_hh[...] = own[1]
    assert after.tobytes() == kernels.Layer(weights).forward(x, h0)[0].tobytes()
