"""grus stream: each line answered before the next is sent, in constant memory, and states that go on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_session import CHAINS, POOLED, inputs, model_of

from grus import Session
from grus.cli import main
from grus.spec import GRU

BLOCKS = CHAINS["deep"]
MODEL = model_of(*BLOCKS)
X = inputs(BLOCKS, 12, 1)
Y = Session(MODEL).run(X)[0][:, 0]


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | str], None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRUS_DEBUG", raising=False)
    MODEL.save("model")

    def put(text: bytes | str) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return put


Feed = Callable[[Any], None]


def text(x: NDArray[np.float32], between: str) -> str:
    return "".join(between.join(map(str, row)) + "\n" for row in x)


@pytest.mark.parametrize("between", [",", " ", ", ", "\t"])
def test_numbers_come_back_to_the_bit(feed: Feed, capsys: pytest.CaptureFixture[str], between: str) -> None:
    feed("\n" + text(X[:, 0], between))
    assert main(["stream", "model"]) == 0
    printed = capsys.readouterr().out
    y = np.array([line.split("," if "," in between else None) for line in printed.splitlines()], np.float32)
    assert y.tobytes() == Y.tobytes()


def test_json(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    x = X[:, 0].tolist()
    x[5][0] = float("nan")
    feed("\r\n".join(map(json.dumps, x)))  # no line end after the last
    assert main(["stream", "model"]) == 0
    captured = capsys.readouterr()
    y = np.array([json.loads(line) for line in captured.out.splitlines()], np.float32)
    assert y[:5].tobytes() == Y[:5].tobytes() and np.isnan(y[5:]).all()
    assert captured.err == "grus: since standard input, line 6 the state holds NaN, and so do answers from it on\n"


def test_a_model_of_text_takes_ids(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of(*POOLED["text"])
    model.save("text")
    feed("3\n0\n6.0\n[1]\n7\n2\n")
    assert main(["stream", "text"]) == 2
    captured = capsys.readouterr()
    y = [line.strip("[]").replace(",", " ").split() for line in captured.out.splitlines()]
    right = Session(model).run(np.array([3, 0, 6, 1]).reshape(4, 1, 1))[0][:, 0]
    assert np.array(y, np.float32).tobytes() == right.tobytes()
    message = "grus: error: standard input, line 5: x has the id 7, expected integers from 0 to 6\n"
    assert captured.err == message


def test_each_step_is_answered_at_once(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "model")
    command = [sys.executable, "-m", "grus", "stream", str(tmp_path / "model")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None and process.stdout is not None
        for x, right in zip(X[:, 0], Y, strict=True):  # the answer is waited for before the next step is sent
            process.stdin.write(text(x[None], ",").encode())
            y = np.array(process.stdout.readline().decode().split(","), np.float32)
            assert y.tobytes() == right.tobytes()
        process.stdin.close()
        assert process.wait(60) == 0


def test_memory_does_not_grow(tmp_path: Path) -> None:
    model_of(GRU(4, 6)).save(tmp_path / "model")
    code = """
import io, resource, sys
from grus.cli import main
class Steps(io.RawIOBase):
    left = 40_000
    def readable(self): return True
    def readinto(self, room):
        self.left -= 1
        if self.left == 20_000: self.middle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        line = b"1,2,3,4\\n" if self.left > 0 else b""
        room[:len(line)] = line
        return len(line)
steps = Steps()
sys.stdin = io.TextIOWrapper(io.BufferedReader(steps, 64))
out, sys.stdout = sys.stdout, open("/dev/null", "w")
main(["stream", "model"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - steps.middle, steps.left, file=out)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    grown, left = map(int, done.stdout.split())
    assert left <= 0 and grown < 1024, done.stderr  # KiB


def test_a_state_goes_on(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    for part in (X[:5, 0], X[5:5, 0], X[5:, 0]):
        feed(text(part, " "))
        assert main(["stream", "model", "--state", "s"]) == 0
    y = np.array([line.split() for line in capsys.readouterr().out.splitlines()], np.float32)
    assert y.tobytes() == Y.tobytes()
    session = Session(MODEL)
    assert session.state_from_bytes(Path("s").read_bytes()) == session.run(X)[1]


def test_a_bad_line_ends_the_stream_and_loses_nothing(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    feed(text(X[:5, 0], ",") + "1,2,three,4,5,6,7\n")
    assert main(["stream", "model", "--state", "s"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "grus: error: standard input, line 6 has 'three', expected a number\n"
    assert len(captured.out.splitlines()) == 5
    feed(text(X[5:, 0], ","))
    assert main(["stream", "model", "--state", "s"]) == 0
    y = np.array([line.split(",") for line in capsys.readouterr().out.splitlines()], np.float32)
    assert y.tobytes() == Y[5:].tobytes()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("1 2 3", "line 1 has 3 numbers, the model takes 7"),
        ("\n\n[1, 2]", "line 3 has 2 numbers, the model takes 7"),
        ("[1, true, 3]", "is JSON, but not a list of numbers"),
        ("[1, [2]]", "is JSON, but not a list of numbers"),
        ("[1" + "0" * 400 + "]", "is JSON, but not a list of numbers"),
        ("[1, 2", "is not JSON"),
        ('{"x": 1}', "has '{\"x\":', expected a number"),
        ("[" * 3000, "is JSON, but not a list of numbers"),
        ("1,,3", "has '', expected a number"),
        (b"\xff\xfe1 2", "line 1 is not text"),
        ("1 " * 5000, "line 1 has more than 4,544 bytes"),
        (b"\x00" * 100_000, "line 1 has more than 4,544 bytes"),
    ],
)
def test_bad_lines(feed: Feed, capsys: pytest.CaptureFixture[str], given: Any, words: str) -> None:
    feed(given)
    assert main(["stream", "model"]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("stream none", ["no model file 'none'"]),
        ("stream two", ["bidirectional", "cannot be streamed"]),
        ("stream model --state junk", ["--state 'junk'", "not a saved state of Grus"]),
        ("stream model --state model", ["is also an input"]),
        ("stream model --state many", ["of 3 streams, expected one"]),
        ("stream model --state other", ["state of the model"]),
        ("stream model --state none/s", ["no folder 'none'"]),
    ],
)
def test_what_is_refused(failing: Callable[[str], str], tmp_path: Path, command: str, words: list[str]) -> None:
    MODEL.save(tmp_path / "model")
    model_of(GRU(4, 6, bidirectional=True)).save(tmp_path / "two")
    (tmp_path / "junk").write_bytes(b"junk")
    session, other = Session(MODEL), Session(model_of(*BLOCKS, seed=3))
    (tmp_path / "many").write_bytes(session.state_to_bytes(session.initial_state(3)))
    (tmp_path / "other").write_bytes(other.state_to_bytes(other.initial_state(1)))
    line = failing(command)
    for word in words:
        assert word in line


def test_a_byte_order_mark_is_no_number(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for mark in (b"", b"\xef\xbb\xbf"):
        feed(mark + text(X[:2, 0], ",").encode())
        assert main(["stream", "model"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and answers[0].count("\n") == 2
