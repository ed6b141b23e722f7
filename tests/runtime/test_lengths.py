"""Session: rows that end early, and text: each row's bits are those it has alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from test_invariance import native_isas
from test_session import CHAINS, EVERY, POOLED, TWO_WAY, inputs, model_of

from grus import Model, Session, Spec, quantize
from grus.errors import InputError
from grus.runtime.state import State
from grus.spec import GRU, Block, Characters, Classify, Embedding, Forecast, Language, Linear, Pool, Words, parameters

LENGTHS = np.array([9, 1, 4, 0, 4])


def check(session: Session, blocks: tuple[Block, ...]) -> None:
    x = inputs(blocks)
    for b, end in enumerate(LENGTHS):
        x[end:, b] = np.nan
    y, after = session.run(x, lengths=LENGTHS)
    for b, end in enumerate(LENGTHS):
        alone, state = session.run(x[:end, b : b + 1])
        assert alone.tobytes() == y[:end, b : b + 1].tobytes() and not y[end:, b].any()
        assert [a[b : b + 1].tobytes() for a in after.arrays] == [a.tobytes() for a in state.arrays]
    some = [0, 1, 2, 4]
    last, states = session.run(x[:, some], last=True, lengths=LENGTHS[some])
    assert states == State(tuple(a[some] for a in after.arrays))
    for row, b in zip(last, some, strict=True):
        assert row.tobytes() == y[LENGTHS[b] - 1, b].tobytes()


@pytest.mark.parametrize("blocks", EVERY.values(), ids=EVERY)
def test_a_row_ends_where_it_ends(blocks: tuple[Block, ...]) -> None:
    check(Session(model_of(*blocks)), blocks)


@native_isas
@pytest.mark.parametrize("name", ["text", "two-way"])
def test_on_every_instruction_set(name: str, isa: str) -> None:
    check(Session(model_of(*EVERY[name]), isa=isa), EVERY[name])


@pytest.mark.parametrize("name", ["deep", "linear"])
def test_quantised(name: str) -> None:
    model = quantize(model_of(*CHAINS[name]), inputs(CHAINS[name], 40))
    check(Session(model), CHAINS[name])


@pytest.mark.parametrize("blocks", (CHAINS | POOLED).values(), ids=CHAINS | POOLED)
def test_rows_go_on_from_a_state(blocks: tuple[Block, ...]) -> None:
    session, x = Session(model_of(*blocks)), inputs(blocks)
    _, middle = session.run(x[:3])
    y, after = session.run(x[3:], middle, lengths=np.maximum(LENGTHS - 3, 0))
    whole, end = session.run(x, lengths=np.maximum(LENGTHS, 3))
    assert y.tobytes() == whole[3:].tobytes() and after == end


def test_lengths_that_are_all_of_it() -> None:
    session, x = Session(model_of(*TWO_WAY["two-way"])), inputs(TWO_WAY["two-way"])
    assert session.run(x, lengths=[9] * 5)[0].tobytes() == session.run(x)[0].tobytes()
    y, state = session.run(x[:0], lengths=[0] * 5)
    assert y.shape == (0, 5, 12) and [a.shape for a in state.arrays] == [(5, 6)] * 4
    assert session.run(x[:, :0], lengths=np.zeros(0, int))[0].shape == (9, 0, 12)
    y, _ = session.run(x, lengths=[0] * 5)
    assert y.shape == (9, 5, 12) and not y.any()


WORDS = Words(("good", "bad", "film"))
TEXTS = ["A good film", "bad", "good good BAD film!"]


def model(task: Classify | Language | Forecast | None, *blocks: Block) -> Model:
    rng = np.random.default_rng(0)
    arrays = {n: rng.uniform(-1, 1, s).astype(np.float32) for n, s in parameters(blocks).items()}
    return Model(Spec(blocks, task), arrays)


CLASSIFIER = (Embedding(4, 3), GRU(3, 4, bidirectional=True), Pool(8, "attention", 2), Linear(8, 2))


def test_texts() -> None:
    session = Session(model(Classify(WORDS, ("no", "yes")), *CLASSIFIER))
    y, _ = session.run(TEXTS)
    ids = [[0, 1, 3], [2], [1, 1, 2, 3, 0]]
    for b, row in enumerate(ids):
        alone, _ = session.run(np.array(row, np.float32)[:, None, None])
        assert y[: len(row), b : b + 1].tobytes() == alone.tobytes() and not y[len(row) :, b].any()
        last, _ = session.run(TEXTS[b], last=True)
        assert last.tobytes() == alone[-1].tobytes() == session.run(TEXTS, last=True)[0][b : b + 1].tobytes()
    for some in (
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        pd.Series(TEXTS),
        pd.Series(TEXTS, dtype="string"),
    ):
        assert session.run(some)[0].tobytes() == y.tobytes()
    assert session.run(["", "bad"])[0].shape == (1, 2, 2)


def test_a_text_is_read_up_to_the_longest() -> None:
    session = Session(model(Classify(WORDS, ("no", "yes"), longest=2), *CLASSIFIER))
    assert session.run("bad good film", last=True)[0].tobytes() == session.run("bad good", last=True)[0].tobytes()


def test_a_language_model_reads_id_0_before_a_text() -> None:
    session = Session(model(Language(Characters(("a", "b"))), Embedding(3, 4), GRU(4, 5), Linear(5, 3)))
    y, state = session.run("abba")
    assert y.shape == (5, 1, 3)
    right, end = session.run(np.array([0, 1, 2, 2, 1], np.float32)[:, None, None])
    assert y.tobytes() == right.tobytes() and state == end
    _, middle = session.run("ab")
    rest, end = session.run("ba", middle)
    assert rest.tobytes() == y[3:].tobytes() and state == end
    assert session.run("")[0].tobytes() == y[:1].tobytes()


SESSION = Session(model_of(GRU(4, 6)))
TEXT = Session(model(Classify(WORDS, ("no", "yes")), *CLASSIFIER))
X = np.zeros((3, 2, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SESSION.run(X, lengths=[3]), r"lengths is int64\(1,\), expected integers \(2,\)"),
        (lambda: SESSION.run(X, lengths=3), r"lengths is int64\(\), expected integers \(2,\)"),
        (lambda: SESSION.run(X, lengths=[1.0, 2.0]), r"lengths is float64\(2,\)"),
        (lambda: SESSION.run(X, lengths=[4, 1]), "lengths are from 1 to 4, expected from 0 to 3, the steps of x"),
        (lambda: SESSION.run(X, lengths=[-1, 1]), "lengths are from -1 to 1"),
        (lambda: SESSION.run(X, lengths=[0, 3], last=True), "lengths 0 at least: with last=True expected at least one"),
        (lambda: SESSION.run("text"), "x is text, but the model's task is NoneType, which takes numbers"),
        (lambda: SESSION.run(["text"]), "x is text, but the model's task is NoneType"),
        (lambda: TEXT.run(["a", "b"], lengths=[1, 1]), "lengths goes with numbers"),
        (lambda: TEXT.run("", last=True), "with last=True expected at least one step"),
        (lambda: TEXT.run(["bad", ""], last=True), "with last=True expected at least one step"),
        (lambda: TEXT.run(["bad", 3]), "x has dtype <U|x is not an array"),  # type: ignore[list-item]
        (lambda: TEXT.run(np.array([["bad"]])), "x has dtype <U3, expected real numbers"),
        (lambda: SESSION.run(np.array(["text"])), "x is text, but the model's task is NoneType"),
        (lambda: TEXT.step("bad"), "x has dtype <U3, expected real numbers"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
