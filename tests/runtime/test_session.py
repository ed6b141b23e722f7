"""Session: every block against a plain float64 interpreter, streams as values, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streamed import run_streamed_and_cut
from test_invariance import isas

from grus import Model, Spec, reference
from grus.errors import InputError
from grus.runtime.session import Session, State
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual, parameters

Array = NDArray[Any]


def model_of(*blocks: Block, seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    shapes = parameters(blocks)
    return Model(Spec(blocks), {n: rng.uniform(-0.7, 0.7, s).astype(np.float32) for n, s in shapes.items()})


def interpret(blocks: Sequence[Block], arrays: Mapping[str, Array], x: Array, prefix: str = "") -> Array:
    """The spec's meaning in float64 NumPy, as plainly as it can be said."""
    for index, block in enumerate(blocks):
        name = f"{prefix}{index}."
        match block:
            case GRU():
                for layer in range(block.num_layers):
                    outputs = []
                    for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: block.directions]:
                        order = slice(None, None, -1 if suffix.endswith("reverse") else 1)
                        W, U = arrays[f"{name}weight_ih{suffix}"], arrays[f"{name}weight_hh{suffix}"]
                        zeros = np.zeros(len(W))
                        biases = (arrays.get(f"{name}{bias}{suffix}", zeros) for bias in ("bias_ih", "bias_hh"))
                        h0 = np.zeros((x.shape[1], block.hidden_size))
                        y = reference.forward(x[order], h0, W, U, *biases, reset_after=block.reset_after)
                        outputs.append(y[order])
                    x = np.concatenate(outputs, -1)
            case Linear():
                x = x @ arrays[name + "weight"].T.astype(np.float64) + arrays.get(name + "bias", 0.0)
            case Activation():
                functions = {"relu": lambda a: np.maximum(a, 0), "tanh": np.tanh, "sigmoid": reference.sigmoid}
                x = functions[block.function](x)
            case Embedding():
                x = arrays[name + "weight"].astype(np.float64)[x[..., 0].astype(int)]
            case Pool():
                x = np.stack([pooled(block, arrays, x[: t + 1], name) for t in range(len(x))])
            case Bypass():
                inner = interpret(block.blocks, arrays, x[..., : -block.size], name)
                x = np.concatenate([inner, x[..., -block.size :]], -1)
            case Residual():
                x = x + interpret(block.blocks, arrays, x, name)
            case Mean():
                members = [interpret(m, arrays, x, f"{name}{i}.") for i, m in enumerate(block.members)]
                x = np.mean(members, axis=0)
    return x


def pooled(block: Pool, arrays: Mapping[str, Array], x: Array, name: str) -> Array:
    if block.function == "ends":
        return np.concatenate(np.split(x[-1], 2, axis=-1)[:1] + np.split(x[0], 2, axis=-1)[1:], axis=-1)
    if block.function != "attention":
        return x.max(axis=0) if block.function == "max" else x.mean(axis=0)
    A, b, q = (arrays[name + key].astype(np.float64) for key in ("weight", "bias", "query"))
    weights = np.exp(np.tanh(x @ A.T + b) @ q)[..., None]
    return (weights * x).sum(axis=0) / weights.sum(axis=0)


DEEP = (
    Bypass(2, (GRU(5, 7, 2), Linear(7, 6), Residual((Activation(6, "tanh"), GRU(6, 6, reset_after=False))))),
    Mean(((Linear(8, 3, bias=False),), (GRU(8, 9), Linear(9, 3)), (GRU(8, 3, 2, bias=False),))),
    Activation(3, "sigmoid"),
)
CHAINS = {
    "gru": (GRU(4, 6),),
    "gru-layers-before": (GRU(4, 6, 3, reset_after=False),),
    "gru-no-bias": (GRU(4, 6, 2, bias=False),),
    "linear": (Linear(4, 6), Activation(6, "relu"), Linear(6, 2, bias=False)),
    "relu": (Activation(4, "relu"),),
    "bypass": (Bypass(1, (GRU(3, 5),)), Linear(6, 2)),
    "residual": (Linear(4, 5), Residual((GRU(5, 5), Activation(5, "tanh"))), Residual((Activation(5, "relu"),))),
    "mean": (Mean(((GRU(4, 5),), (GRU(4, 5, 2),), (Linear(4, 5),))), Activation(5, "sigmoid")),
    "deep": DEEP,
}
TWO_WAY = {
    "two-way": (GRU(4, 6, 2, bidirectional=True),),
    "two-way-inside": (Residual((GRU(4, 2, bidirectional=True, reset_after=False),)), GRU(4, 3), Linear(3, 2)),
}
POOLED = {
    "embedding": (Embedding(7, 4), Linear(4, 2)),
    "text": (Embedding(7, 4), GRU(4, 5, 2), Pool(5, "attention", 3), Linear(5, 2)),
    "max": (GRU(4, 6), Pool(6, "max"), Linear(6, 2)),
    "mean": (Pool(4, "mean"), GRU(4, 3)),
    "ends": (Pool(4, "ends"), GRU(4, 3)),
    "attention": (Linear(4, 6), Pool(6, "attention", 5)),
    "pools-inside": (
        Bypass(1, (GRU(3, 4), Residual((Pool(4, "max"),)))),
        Mean(((Pool(5, "mean"),), (Linear(5, 5), Pool(5, "attention", 1)))),
    ),
}
chains = pytest.mark.parametrize("blocks", (CHAINS | POOLED).values(), ids=CHAINS | POOLED)


TWO_WAY_POOLED = {
    f"two-way-{function}": (GRU(4, 3, bidirectional=True), Pool(6, function, size), Linear(6, 2))
    for function, size in (("max", 0), ("mean", 0), ("ends", 0), ("attention", 4))
}
EVERY = CHAINS | TWO_WAY | POOLED | TWO_WAY_POOLED


def inputs(blocks: Sequence[Block], T: int = 9, B: int = 5) -> Array:
    if isinstance(blocks[0], Embedding):
        return np.random.default_rng(1).integers(0, blocks[0].size, (T, B, 1)).astype(np.float32)
    return np.random.default_rng(1).uniform(-2, 2, (T, B, blocks[0].input_size)).astype(np.float32)


@pytest.mark.parametrize("blocks", EVERY.values(), ids=EVERY)
@isas
def test_every_block_means_what_the_spec_says(blocks: tuple[Block, ...], isa: str) -> None:
    model, x = model_of(*blocks), inputs(blocks)
    y, _ = Session(model, isa=isa).run(x)
    assert y.dtype == np.float32 and y.shape == (9, 5, blocks[-1].output_size)
    assert np.abs(y - interpret(blocks, model.arrays, x.astype(np.float64))).max() < 1e-5


@chains
@pytest.mark.parametrize("batch", [1, 5, 33])
def test_streaming_cutting_and_batching_change_no_bit(blocks: tuple[Block, ...], batch: int) -> None:
    session, x = Session(model_of(*blocks)), inputs(blocks, B=batch)
    y, _ = run_streamed_and_cut(session, x)
    for row in range(0, batch, 4):
        alone, _ = session.run(x[:, row : row + 1])
        assert alone.tobytes() == y[:, row : row + 1].tobytes()


@pytest.mark.parametrize("blocks", EVERY.values(), ids=EVERY)
def test_the_last_output_alone_has_the_same_bits(blocks: tuple[Block, ...]) -> None:
    session, x = Session(model_of(*blocks)), inputs(blocks)
    (y, end), (last, same_end) = session.run(x), session.run(x, last=True)
    assert last.shape == y[-1].shape and last.tobytes() == y[-1].tobytes() and same_end == end


def test_any_real_numbers_and_layouts() -> None:
    session, x = Session(model_of(*DEEP)), inputs(DEEP)
    y, _ = session.run(x)
    for same in (x.astype(np.float64), x.tolist(), np.asfortranarray(x), x.astype(">f4")):
        assert session.run(same)[0].tobytes() == y.tobytes()
    whole = np.round(x)
    assert session.run(whole.astype(np.int16))[0].tobytes() == session.run(whole)[0].tobytes()


def test_nothing_to_do() -> None:
    session, x = Session(model_of(*DEEP)), inputs(DEEP)
    y, state = session.run(x[:0])
    assert y.shape == (0, 5, 3) and state == session.initial_state(5)
    _, middle = session.run(x[:2])
    y, state = session.run(x[:0], middle)
    assert y.shape == (0, 5, 3) and state == middle
    y, state = session.run(x[:, :0])
    assert y.shape == (9, 0, 3) and state == session.initial_state(0)
    y, state = session.step(x[0, :0])
    assert y.shape == (0, 3) and state == session.initial_state(0)


def test_a_state_is_one_array_for_each_layer_and_direction() -> None:
    blocks = CHAINS["mean"]
    session = Session(model_of(*blocks))
    assert [a.shape for a in session.initial_state(3).arrays] == [(3, 5)] * 3
    two_way = TWO_WAY["two-way"]
    model = model_of(*two_way)
    _, end = Session(model).run(inputs(two_way))
    assert [a.shape for a in end.arrays] == [(5, 6)] * 4
    y, state = Session(model_of(*CHAINS["gru"])).run(inputs(CHAINS["gru"]))
    assert np.array_equal(state.arrays[0], y[-1])
    state = Session(model_of(*POOLED["text"])).initial_state(3)
    assert [a.shape for a in state.arrays] == [(3, 5), (3, 5), (3, 7)]
    sizes = [a.shape[1] for a in Session(model_of(*POOLED["pools-inside"])).initial_state(1).arrays]
    assert sizes == [4, 5, 6, 7]


def test_a_state_is_a_value() -> None:
    session, x = Session(model_of(*CHAINS["gru"])), inputs(CHAINS["gru"])
    _, state = session.run(x[:3])
    before = [a.copy() for a in state.arrays]
    y, after = session.step(x[3], state)
    again, after_again = session.step(x[3], state)
    assert y.tobytes() == again.tobytes() and after == after_again and after != state
    y[...] = 9  # the caller's own
    whole, last = session.run(x, state)
    whole[...] = 9
    assert after == after_again and session.run(x, state)[1] == last
    assert all(map(np.array_equal, state.arrays, before))
    for array in (*state.arrays, *after.arrays, *last.arrays, *session.initial_state(2).arrays):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(AttributeError):
        state.arrays = ()  # type: ignore[misc]


def test_a_state_is_copied_and_pickled_as_a_value() -> None:
    session, x = Session(model_of(*DEEP)), inputs(DEEP)
    _, state = session.run(x)
    for twin in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert twin == state and not any(a.flags.writeable for a in twin.arrays)
    assert state != session.initial_state(5) and state != session.initial_state(4) and state != "state"
    own = np.zeros((2, 3), np.float32)
    made = State((own,))
    own[...] = 1
    assert not made.arrays[0].any()


def test_streams_may_leave_and_join() -> None:
    session, x = Session(model_of(*DEEP)), inputs(DEEP)
    y, _ = session.run(x)
    _, state = session.run(x[:4])
    chosen = [3, 0]
    later, _ = session.run(x[4:, chosen], State(tuple(a[chosen] for a in state.arrays)))
    assert later.tobytes() == y[4:, chosen].tobytes()


def test_threads_may_share_a_session() -> None:
    session = Session(model_of(*DEEP))
    xs = [inputs(DEEP, T=20, B=b) for b in (1, 2, 3, 8, 17, 1, 5, 9)]
    right = [session.run(x)[0].tobytes() for x in xs]

    def stream(x: Array) -> bytes:
        state, y = session.initial_state(x.shape[1]), []
        for x_t in x:
            y_t, state = session.step(x_t, state)
            y.append(y_t)
        return np.stack(y).tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stream, xs)) == right
        assert list(pool.map(lambda x: session.run(x)[0].tobytes(), xs)) == right


@pytest.mark.parametrize("function", ["relu", "tanh", "sigmoid"])
def test_activations_are_elementwise_to_the_bit(function: Any) -> None:
    x = np.random.default_rng(2).normal(0, 4, (40, 9, 33)).astype(np.float32)
    x[0, 0, :5] = np.nan, np.inf, -np.inf, 0.0, -0.0
    wide, _ = Session(model_of(Activation(33, function))).run(x)
    one = Session(model_of(Activation(1, function)))
    for t, b in ((0, 0), (3, 8), (39, 1)):
        single = np.concatenate([one.step(x[t, b, i : i + 1][None])[0][0] for i in range(33)])
        assert single.tobytes() == wide[t, b].tobytes()
    assert np.isnan(wide[0, 0, 0]) and not np.isnan(wide).sum() > 1
    assert np.array_equal(wide[0, 0, 1:3], {"relu": [np.inf, 0], "tanh": [1, -1], "sigmoid": [1, 0]}[function])


@pytest.mark.parametrize("blocks", [DEEP, *(POOLED[n] for n in ("max", "mean", "ends", "attention", "pools-inside"))])
def test_nan_stays_in_its_stream(blocks: tuple[Block, ...]) -> None:
    session, x = Session(model_of(*blocks)), inputs(blocks)
    clean, _ = session.run(x)
    x[3, 2, 0] = np.nan
    y, _ = session.run(x)
    assert np.isnan(y[3:, 2]).all()
    y[3:, 2] = clean[3:, 2]
    assert y.tobytes() == clean.tobytes()


GRU_SESSION, DEEP_SESSION = Session(model_of(*CHAINS["gru"])), Session(model_of(*DEEP))
TWO_WAY_SESSION = Session(model_of(*TWO_WAY["two-way-inside"]))
EMBEDDING_SESSION = Session(model_of(*POOLED["embedding"]))
X = np.zeros((3, 2, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Session("model.safetensors"), "model is a str, expected a grus.Model"),  # type: ignore[arg-type]
        (lambda: Session(model_of(*DEEP), isa="quantum"), "isa is 'quantum'"),
        (lambda: GRU_SESSION.run(X[0]), r"x has shape \(2, 4\), expected \(T, B, 4\)"),
        (lambda: GRU_SESSION.run(X[:, :, :3]), r"x has shape \(3, 2, 3\), expected \(T, B, 4\)"),
        (lambda: GRU_SESSION.step(X), r"x has shape \(3, 2, 4\), expected \(B, 4\)"),
        (lambda: GRU_SESSION.step(X[0, 0]), r"x has shape \(4,\), expected \(B, 4\)"),
        (lambda: GRU_SESSION.step(1.0), r"x has shape \(\), expected \(B, 4\)"),
        (lambda: GRU_SESSION.run(X.astype(complex)), "x has dtype complex128, expected real numbers"),
        (lambda: GRU_SESSION.run(np.array([["a"]])), "x has dtype <U1, expected real numbers"),
        (lambda: GRU_SESSION.run([[1.0], [1.0, 2.0]]), "x is not an array"),  # type: ignore[list-item]
        (lambda: GRU_SESSION.run(X[:0], last=True), r"x has shape \(0, 2, 4\): with last=True expected at least one"),
        (lambda: GRU_SESSION.initial_state(-1), "batch is -1, expected an integer of at least 0"),
        (lambda: GRU_SESSION.initial_state(2.0), "batch is 2.0"),  # type: ignore[arg-type]
        (lambda: GRU_SESSION.step(X[0], GRU_SESSION.initial_state(3)), "state is for a batch of 3, but x has a batch"),
        (lambda: GRU_SESSION.run(X, GRU_SESSION.initial_state(1)), "state is for a batch of 1, but x has a batch of 2"),
        (lambda: GRU_SESSION.run(X, DEEP_SESSION.initial_state(2)), r"another model: sizes .*, expected \(6,\)"),
        (lambda: GRU_SESSION.run(X, State(())), r"another model: sizes \(\), expected \(6,\)"),
        (lambda: GRU_SESSION.step(X[0], np.zeros((2, 6))), "state is a ndarray, expected a State"),  # type: ignore[arg-type]
        (lambda: State((np.zeros((2, 3)), np.zeros((3, 3)))), r"\[\(2, 3\), \(3, 3\)\], expected \(B, H\) with one B"),
        (lambda: State((np.zeros(3),)), "state arrays have shapes"),  # type: ignore[arg-type]
        (lambda: EMBEDDING_SESSION.run(np.full((2, 1, 1), 7)), "x has the id 7, expected integers from 0 to 6"),
        (lambda: EMBEDDING_SESSION.step([[-1.0]]), "x has the id -1, expected integers from 0 to 6"),
        (lambda: EMBEDDING_SESSION.run([[[2.5]]]), "x has the id 2.5"),
        (lambda: EMBEDDING_SESSION.run([[[np.nan]]]), "x has the id nan"),
        (lambda: EMBEDDING_SESSION.run([[[np.inf]]]), "x has the id inf"),
        (lambda: TWO_WAY_SESSION.initial_state(2), "bidirectional GRU, which reads the whole sequence"),
        (lambda: TWO_WAY_SESSION.step(X[0]), "cannot be streamed"),
        (lambda: TWO_WAY_SESSION.run(X, TWO_WAY_SESSION.run(X)[1]), "cannot be streamed"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_a_session_is_copied_and_pickled(copied: Callable[[Session], Session]) -> None:
    session = Session(model_of(GRU(3, 4), Linear(4, 2)), isa="generic")
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    y, state = session.run(x)
    again = copied(session)
    np.testing.assert_array_equal(again.run(x)[0], y)
    kept = again.state_from_bytes(session.state_to_bytes(state))
    np.testing.assert_array_equal(again.step(x[0], kept)[0], session.step(x[0], state)[0])
    assert again._made_of[1] == "generic"
