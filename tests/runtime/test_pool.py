"""Running pooling to the bit and to its limits, and random chains by every implementation of ours but the exports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_invariance import isas
from test_session import model_of
from test_spec import chains
from tolerance import FLOOR, check_float32

from grus import Session, exact
from grus.runtime.pool import Pooling
from grus.spec import Block, Embedding, Pool
from grus.torch.network import from_model

Array = NDArray[Any]
POOLS = {
    "max": Pool(19, "max"),
    "mean": Pool(19, "mean"),
    "ends": Pool(20, "ends"),
    "attention": Pool(19, "attention", 7),
}
pools = pytest.mark.parametrize("block", POOLS.values(), ids=POOLS)


def pooling(block: Pool, isa: str | None = None) -> Pooling:
    return Pooling(block, model_of(block).arrays, "0.", isa)


def draw(*shape: int) -> Array:
    return np.random.default_rng(4).normal(0, 2, shape).astype(np.float32)


@pools
@isas
def test_bits_of_a_sequence_are_its_own(block: Pool, isa: str) -> None:
    pool, x = pooling(block, isa), draw(41, 11, block.size)
    y, end = pool(x, None, False, None)
    for size in (1, 2, 7, 40, 41):
        pieces, state = [], None
        for start in range(0, 41, size):
            part, state = pool(x[start : start + size], state, False, None)
            pieces.append(part)
        assert state is not None
        assert np.concatenate(pieces).tobytes() == y.tobytes() and state.tobytes() == end.tobytes(), size
    for rows in (slice(0, 1), slice(3, 8), slice(10, None)):
        some, state = pool(x[:, rows], None, False, None)
        assert some.tobytes() == y[:, rows].tobytes() and state.tobytes() == end[rows].tobytes()
    flipped = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    for same in (np.asfortranarray(x), flipped, np.repeat(x, 2, axis=2)[:, :, ::2]):
        assert pool(same, None, False, None)[0].tobytes() == y.tobytes()
    last, state = pool(x, None, True, None)
    assert last.tobytes() == y[-1:].tobytes() and state.tobytes() == end.tobytes()


@pools
def test_one_feature_of_one_row(block: Pool) -> None:
    """NumPy adds what lies side by side in pairs: not here."""
    one = Pool(2 if block.function == "ends" else 1, block.function, block.attention_size)
    pool, x = pooling(one), draw(300, 1, one.size)
    y, end = pool(x, None, False, None)
    state = None
    for t in range(300):
        step, state = pool(x[t : t + 1], state, True, None)
        assert step.tobytes() == y[t : t + 1].tobytes()
    assert state is not None and state.tobytes() == end.tobytes()


def test_the_maximum_knows_one_zero() -> None:
    pool = pooling(Pool(2, "max"))
    x = np.array([[[-0.0, 0.0]], [[0.0, -0.0]]], np.float32)
    y, state = pool(x, None, False, None)
    assert not np.signbit(y).any() and not np.signbit(state).any()
    y, _ = pool(-np.ones((1, 1, 2), np.float32), None, False, None)
    assert (y == -1).all()  # a state of zeros is no step with zeros


@pools
def test_infinities_and_nan(block: Pool) -> None:
    pool, x = pooling(block), draw(6, 4, block.size)
    clean = pool(x, None, False, None)[0]
    x[2, 1], x[2, 2], x[2, 3, 0] = np.inf, -np.inf, np.nan
    y, _ = pool(x, None, False, None)
    assert y[:, 0].tobytes() == clean[:, 0].tobytes() and y[:2].tobytes() == clean[:2].tobytes()
    assert np.isnan(y[2 : 3 if block.function == "ends" else None, 3, 0]).all()
    if block.function == "max":
        assert np.isposinf(y[2:, 1]).all() and y[2:, 2].tobytes() == np.maximum.accumulate(x[:, 2] + 0)[2:].tobytes()
    if block.function == "mean":
        assert np.isposinf(y[2:, 1]).all() and np.isneginf(y[2:, 2]).all()


def test_scores_far_apart() -> None:
    """Weights of e^±200 neither overflow nor vanish together."""
    pool = pooling(Pool(1, "attention", 1))
    pool.hidden, pool.query = (lambda x: x), (lambda u: 200 * u)  # type: ignore[assignment]
    x = np.array([[[-9.0]], [[9.0]], [[-9.0]], [[9.0]]], np.float32)
    y, state = pool(x, None, False, None)
    assert np.array_equal(y.ravel(), [-9, 9, 9, 9]) and np.isfinite(state).all()
    y, _ = pool(x[:1], state, False, None)
    assert y.ravel() == 9


def test_weights_are_those_of_softmax() -> None:
    """e^a for a from 0 down to where it vanishes, to a few roundings of its size."""
    a = np.concatenate([[0.0], -np.geomspace(1e-8, 80, 4000)]).astype(np.float32)
    right = np.exp(a.astype(np.float64))
    got = pooling(POOLS["attention"])._exp(a)
    assert got[0] == 1 and (np.abs(got - right) <= FLOOR * right).all()


@pytest.mark.parametrize("function", ["max", "mean"])
def test_a_stream_longer_than_float32_counts(function: Any) -> None:
    pool = pooling(Pool(1, function))
    state = np.array([[3.0, 2.0**24 - 2]], np.float32)
    x = np.zeros((5, 1, 1), np.float32)
    _, whole = pool(x, state, False, None)
    for t in range(5):
        _, state = pool(x[t : t + 1], state, False, None)
    assert state.tobytes() == whole.tobytes() and state[0, 1] == 2**24


@st.composite
def any_chain(draw: st.DrawFn) -> tuple[Block, ...]:
    size = draw(st.integers(1, 9))
    return (Embedding(9, size), *draw(chains(size))) if draw(st.booleans()) else draw(chains(size))


@given(any_chain(), st.integers(0, 12), st.integers(1, 4), st.integers(0, 1 << 20))
@settings(max_examples=60, deadline=None)
def test_random_chains(blocks: tuple[Block, ...], steps: int, batch: int, seed: int) -> None:
    """Session and Network against the equations in float64, by the one rule; whole, with lengths and as streams."""
    model, rng = model_of(*blocks, seed=seed), np.random.default_rng(seed)
    shape = (steps, batch, blocks[0].input_size)
    x = rng.integers(0, 9, shape) if isinstance(blocks[0], Embedding) else rng.uniform(-2, 2, shape)
    x = x.astype(np.float32)
    right = exact.run(blocks, model.arrays, x)
    baseline = exact.run(blocks, model.arrays, x, dtype=np.float32)
    session, network = Session(model), from_model(model).eval()
    check_float32("session", session.run(x)[0], right, baseline)
    tensor = torch.from_numpy(x)
    with torch.no_grad():
        check_float32("network", network(tensor).numpy(), right, baseline)
        if not steps:
            return
        lengths = rng.integers(1, steps + 1, batch)
        lasts = network(tensor, last=True, lengths=torch.from_numpy(lengths)).numpy()
        mine, _ = session.run(x, last=True, lengths=lengths)
        for b, end in enumerate(lengths):
            own, plain = (exact.run(blocks, model.arrays, x[:end, b : b + 1], dtype=d)[-1] for d in ("f8", "f4"))
            check_float32("network's last", lasts[b : b + 1], own, plain)
            check_float32("session's last", mine[b : b + 1], own, plain)
        if network.streams:
            first, state = network.stream(tensor[: steps // 2])
            rest, state = network.stream(tensor[steps // 2 :], state)
            check_float32("network's stream", torch.cat([first, rest]).numpy(), right, baseline)
            shapes = [a.shape for a in session.run(x)[1].arrays]
            assert [tuple(each.shape) for each in state] == shapes
