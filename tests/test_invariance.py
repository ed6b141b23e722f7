"""Promise 2: the bits of a sequence's output depend on the sequence alone. And promise 4: on every instruction set."""

from __future__ import annotations

import emulated
import numpy as np
import pytest
import torch
from implementations import ISAS, NATIVE_ISAS, as_model, case, grus_gru, lacking

from grus.runtime import kernels
from grus.runtime.session import Session


def each(*names: str) -> pytest.MarkDecorator:
    able = [pytest.param(isa, marks=[pytest.mark.skip(reason=lacking(isa))] if lacking(isa) else []) for isa in names]
    return pytest.mark.parametrize("isa", able, indirect=True)


isas, native_isas = each(*ISAS), each(*NATIVE_ISAS)  # what an emulator takes for time or a mode says nothing
reset = pytest.mark.parametrize("reset_after", [True, False], ids=["reset-after", "reset-before"])
sizes = pytest.mark.parametrize(("inputs", "hidden"), [(5, 19), (1, 1), (64, 64), (33, 130)])


@isas
@reset
@sizes
def test_batch(isa: str, reset_after: bool, inputs: int, hidden: int) -> None:
    most = 20 if isa in emulated.ISAS else 70
    weights, x, h0, _ = case(4, most, inputs, hidden, reset_after)
    layer = kernels.Layer(weights, isa=isa)
    y, h_n = layer.forward(x, h0)
    for batch in range(1, most + 1):
        for rows in (slice(0, batch), slice(most - batch, most)):
            some, some_h_n = layer.forward(x[:, rows], h0[rows])
            assert some.tobytes() == y[:, rows].tobytes() and some_h_n.tobytes() == h_n[rows].tobytes(), batch


@isas
@reset
def test_one_row_of_a_batch(isa: str, reset_after: bool) -> None:
    """The path for B = 1 is another than that for full tiles: over many steps not a bit may part them."""
    weights, x, h0, _ = case(60 if isa in emulated.ISAS else 200, 24, 64, 64, reset_after)
    layer = kernels.Layer(weights, isa=isa)
    y, _ = layer.forward(x, h0)
    for row in range(0, 24, 5):
        alone, _ = layer.forward(x[:, row : row + 1], h0[row : row + 1])
        assert alone.tobytes() == y[:, row : row + 1].tobytes()


@isas
@reset
@sizes
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_chunks(isa: str, reset_after: bool, inputs: int, hidden: int, reverse: bool) -> None:
    weights, x, h0, _ = case(41, 3, inputs, hidden, reset_after)
    layer = kernels.Layer(weights, isa=isa)
    whole, last = layer.forward(x, h0, reverse=reverse)
    for size in (1, 2, 3, 7, 16, 40, 41):
        pieces, h = [], h0
        starts = list(range(0, 41, size))
        for start in reversed(starts) if reverse else starts:
            y, h = layer.forward(x[start : start + size], h, reverse=reverse)
            pieces.append(y)
        cut = np.concatenate(pieces[::-1] if reverse else pieces)
        assert cut.tobytes() == whole.tobytes() and h.tobytes() == last.tobytes(), size


@isas
@reset
@sizes
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 33])
def test_threads(isa: str, reset_after: bool, inputs: int, hidden: int, batch: int) -> None:
    weights, x, h0, _ = case(9, batch, inputs, hidden, reset_after)
    layer = kernels.Layer(weights, isa=isa)
    one, last = layer.forward(x, h0, threads=1)
    for threads in (2, 3):
        y, h_n = layer.forward(x, h0, threads=threads)
        assert y.tobytes() == one.tobytes() and h_n.tobytes() == last.tobytes(), threads


@isas
@reset
@sizes
@pytest.mark.parametrize("batch", [1, 3, 33])
def test_stream(isa: str, reset_after: bool, inputs: int, hidden: int, batch: int) -> None:
    weights, x, h0, _ = case(9, batch, inputs, hidden, reset_after)
    layer = kernels.Layer(weights, isa=isa)
    whole, _ = layer.forward(x, h0)
    h = h0
    for t in range(9):
        h = layer.step(x[t], h)
        assert h.tobytes() == whole[t].tobytes(), t


@isas
@reset
def test_reverse_is_forward_on_flipped_time(isa: str, reset_after: bool) -> None:
    weights, x, h0, dy = case(11, 5, 7, 19, reset_after)
    layer = kernels.Layer(weights, isa=isa)
    y, h_n = layer.forward(x, h0, reverse=True)
    flipped, flipped_h_n = layer.forward(np.ascontiguousarray(x[::-1]), h0)
    assert y.tobytes() == flipped[::-1].tobytes() and h_n.tobytes() == flipped_h_n.tobytes()
    back = layer.backward(x, h0, y, dy, h_n, reverse=True)
    there = layer.backward(np.ascontiguousarray(x[::-1]), h0, flipped, np.ascontiguousarray(dy[::-1]), h_n)
    assert back.dx is not None and there.dx is not None
    assert np.allclose(back.dx, there.dx[::-1], rtol=0, atol=1e-5)
    for one, other in zip(back[1:], there[1:], strict=True):
        assert one is not None and other is not None
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4)


@isas
def test_layout_of_memory(isa: str) -> None:
    """Strides, alignment and what lies around an array are no part of the sequence."""
    weights, x, h0, _ = case(6, 5, 7, 19, True)
    layer = kernels.Layer(weights, isa=isa)
    y = layer.forward(x, h0)[0]
    batch_major = np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)
    columns = np.full((6, 5, 20), np.nan, np.float32)
    columns[:, :, 9:16] = x
    flipped = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    features = np.asfortranarray(x)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.float32, offset=1).reshape(x.shape)
    for name, same in {
        "batch major": batch_major,
        "columns": columns[:, :, 9:16],
        "flipped": flipped,
        "Fortran": features,
        "unaligned": unaligned,
    }.items():
        assert layer.forward(same, h0)[0].tobytes() == y.tobytes(), name
    one = kernels.Layer(case(6, 5, 1, 19, True).weights, isa=isa)
    spread = np.repeat(x[:, :, :1], 3, axis=2)[:, :, ::3]
    assert one.forward(spread, h0)[0].tobytes() == one.forward(x[:, :, :1].copy(), h0)[0].tobytes()


@isas
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 19), (64, 64), (130, 3)])
def test_dense(isa: str, inputs: int, outputs: int, rng: np.random.Generator) -> None:
    dense = kernels.Dense(
        rng.normal(size=(outputs, inputs)).astype(np.float32), rng.normal(size=outputs).astype(np.float32), isa=isa
    )
    x = rng.normal(size=(70, inputs)).astype(np.float32)
    y = dense(x, threads=1)
    for rows in range(1, 71):
        assert dense(x[:rows]).tobytes() == y[:rows].tobytes(), rows
    assert dense(x, threads=3).tobytes() == y.tobytes()
    assert dense(x.reshape(7, 10, inputs)).tobytes() == y.tobytes()
    assert dense(x[::-1])[::-1].tobytes() == y.tobytes()


@isas
@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_activation(isa: str, function: str, rng: np.random.Generator) -> None:
    x = rng.normal(0, 4, 4096).astype(np.float32)
    y = kernels.activate(x, function, isa=isa)  # type: ignore[arg-type]
    for length in range(1, 70):
        for start in (0, 1, 5, 64):
            part = slice(start, start + length)
            assert kernels.activate(x[part], function, isa=isa).tobytes() == y[part].tobytes()  # type: ignore[arg-type]
    assert kernels.activate(x[::-3], function, isa=isa).tobytes() == y[::-3].tobytes()  # type: ignore[arg-type]


@reset
def test_layer_and_session_agree_to_the_bit(reset_after: bool) -> None:
    weights, x, h0, _ = case(9, 5, 7, 19, reset_after)
    y, _ = kernels.Layer(weights).forward(x, h0)
    session = Session(as_model(weights))
    state = type(session.initial_state(5))((h0,))
    assert session.run(x, state)[0].tobytes() == y.tobytes()
    tensors = [torch.from_numpy(a) for a in (x, h0)]
    names = (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)
    with torch.no_grad():
        layer = grus_gru(*tensors, *map(torch.from_numpy, names), reset_after=reset_after)
    assert layer.numpy().tobytes() == y.tobytes()
