"""States as values: streams that come, go and change places, and states as bytes in any hands."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from many_streams import shuffled
from test_session import CHAINS, POOLED, TWO_WAY, inputs, model_of

from grus import InputError, Session, quantize
from grus.runtime.state import HEADER, State
from grus.spec import Block

DEEP = model_of(*CHAINS["deep"])
SESSION = Session(DEEP)


@pytest.mark.parametrize("blocks", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("precision", ["float32", "w8a16"])
def test_streams_come_and_go_and_none_notices(blocks: tuple[Block, ...], precision: str) -> None:
    model = model_of(*blocks)
    session = Session(model if precision == "float32" else quantize(model, inputs(blocks, 40)))
    count = shuffled(session, blocks[0].input_size, streams=12, steps=120, seed=len(blocks))
    assert count.joined > 12 and count.left > 1 and count.moved > 1
    assert count.restored > 5 and count.checked == count.joined


@pytest.mark.parametrize("name", ["max", "mean", "attention", "pools-inside"])
def test_streams_that_pool(name: str) -> None:
    count = shuffled(Session(model_of(*POOLED[name])), 4, streams=12, steps=120, seed=1)
    assert count.joined > 12 and count.restored > 5 and count.checked == count.joined


def test_many_streams() -> None:
    count = shuffled(SESSION, 7, streams=300, steps=150, seed=3)
    assert count.most > 200 and count.restored > 20


def state(batch: int = 5) -> State:
    return SESSION.run(inputs(CHAINS["deep"], B=batch))[1]


def test_rows_and_join() -> None:
    whole = state()
    assert whole.batch == 5
    picked = whole.rows([3, 0, 3])
    assert picked == State(tuple(a[[3, 0, 3]] for a in whole.arrays))
    assert State.join([whole.rows([0, 1]), whole.rows([]), whole.rows(np.arange(2, 5))]) == whole
    assert not any(a.flags.writeable for a in (*picked.arrays, *State.join([whole, picked]).arrays))
    empty = Session(model_of(*CHAINS["linear"])).initial_state(3)
    assert (empty.batch, empty.rows([2, 0]), State.join([empty, empty])) == (0, empty, empty)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: state().rows([5]), "streams go from 5 to 5, expected 0 to 4"),
        (lambda: state().rows([-1, 0]), "streams go from -1 to 0, expected 0 to 4"),
        (lambda: state().rows([0.5]), "streams are float64"),
        (lambda: state().rows([True, False, True, True, False]), "streams are bool"),
        (lambda: state().rows(2), r"streams are int64\(\), expected a list"),
        (lambda: State.join([]), "at least one State"),
        (lambda: State.join(state()), "at least one State"),  # type: ignore[arg-type]
        (lambda: State.join([state(), 3]), "at least one State"),  # type: ignore[list-item]
        (lambda: State.join([state(), Session(model_of(*CHAINS["gru"])).initial_state(2)]), "of different models"),
    ],
)
def test_bad_rows(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_bytes_keep_every_bit() -> None:
    strange = [np.full((3, a.shape[1]), 1e-40, np.float32) for a in state().arrays]
    strange[0][0] = np.nan, -np.inf, -0.0, *[np.float32(1 / 3)] * 4
    for each in (state(), state(1), SESSION.initial_state(0), State(tuple(strange))):
        back = SESSION.state_from_bytes(SESSION.state_to_bytes(each))
        assert [a.tobytes() for a in back.arrays] == [a.tobytes() for a in each.arrays]
        assert [a.shape for a in back.arrays] == [a.shape for a in each.arrays]
        assert not any(a.flags.writeable for a in back.arrays)


def test_another_process_goes_on(tmp_path: Path) -> None:
    x = inputs(CHAINS["deep"])
    y, _ = SESSION.run(x)
    DEEP.save(tmp_path / "model.safetensors")
    (tmp_path / "state").write_bytes(SESSION.state_to_bytes(SESSION.run(x[:4])[1]))
    np.save(tmp_path / "x.npy", x[4:])
    code = (
        "import grus, numpy as np\nsession = grus.Session(grus.load('model.safetensors'))\n"
        "state = session.state_from_bytes(open('state', 'rb').read())\n"
        "np.save('y.npy', session.run(np.load('x.npy'), state)[0])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert np.load(tmp_path / "y.npy").tobytes() == y[4:].tobytes()


def test_a_hash_is_of_all_that_a_model_computes_with() -> None:
    gru = CHAINS["gru"]
    assert model_of(*gru).hash == model_of(*gru).hash and len(model_of(*gru).hash) == 64
    other = {n: np.asfortranarray(a) for n, a in model_of(*gru).arrays.items()}
    assert type(DEEP)(model_of(*gru).spec, other).hash == model_of(*gru).hash
    one_bit = {n: a.copy() for n, a in other.items()}
    one_bit["0.bias_hh_l0"][0] = np.nextafter(one_bit["0.bias_hh_l0"][0], np.float32(9))
    before = type(gru[0])(4, 6, reset_after=False)
    hashes = {model_of(*gru).hash, model_of(before).hash, type(DEEP)(model_of(*gru).spec, one_bit).hash}
    assert len(hashes) == 3


def changed(offset: int, kind: str, value: object) -> bytes:
    data = bytearray(SESSION.state_to_bytes(state()))
    struct.pack_into(kind, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a saved state of Grus"),
        (b"GRUSTATE", "not a saved state of Grus"),
        (bytes(200), "not a saved state of Grus"),
        ("text", "data is a str, expected bytes"),
        (changed(8, "<I", 2), "version 2, this Grus reads 1: update Grus"),
        (changed(12, "<Q", 4), "damaged state"),
        (changed(12, "<Q", 2**64 - 1), "damaged state"),
        (changed(12, "<Q", 2**62 + 5), "damaged state"),
        (changed(20, "<Q", 7), "state of the model .*, this one is"),
        (changed(HEADER.size + 40, "<f", 0.25), "damaged state"),
        (SESSION.state_to_bytes(state())[:-1], "damaged state"),
        (SESSION.state_to_bytes(state()) + b"\0", "damaged state"),
        (Session(model_of(*CHAINS["deep"], seed=1)).state_to_bytes(state()), "state of the model .*, this one is"),
    ],
)
def test_bad_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SESSION.state_from_bytes(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_is_noticed(data: st.DataObject) -> None:
    good = SESSION.state_to_bytes(state(1))
    at, byte = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255))
    damaged = good[:at] + bytes([good[at] ^ byte]) + good[at + 1 :]
    with pytest.raises(InputError):
        SESSION.state_from_bytes(damaged)


def test_what_cannot_be_streamed_has_no_state() -> None:
    session = Session(model_of(*TWO_WAY["two-way"]))
    for call in (lambda: session.state_to_bytes(state()), lambda: session.state_from_bytes(b"")):
        with pytest.raises(InputError, match="cannot be streamed"):
            call()
    with pytest.raises(InputError, match="another model"):
        SESSION.state_to_bytes(Session(model_of(*CHAINS["gru"])).initial_state(1))
