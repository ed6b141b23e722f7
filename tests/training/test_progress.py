"""What a training says on stderr."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import termios
import threading

import pytest

from grus.training import progress
from grus.training.interrupt import Interrupt
from grus.training.progress import Reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(reporter: Reporter, steps: int) -> None:
    with reporter:
        reporter.begin("member 1", steps)
        for step in range(steps):
            reporter.update(1.0 / (step + 1), 0.5 if step == 2 else None)


def test_plain_lines_outside_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    drive(Reporter(100, stream=stream), 100)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert re.fullmatch(r"member 1: step 50/100, loss 0\.\d{4}, validation 0\.5000, 50 s left", lines[4])
    assert lines[-1].endswith(" 0 s left")


class Clock:
    """A second a step, after a start-up of a thousand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def run(self, reporter: Reporter, steps: int) -> None:
        for _ in range(steps):
            self.now += 1000 if reporter.ran == 0 else 1
            reporter.update(1.0)


def test_the_time_left_is_that_of_this_runs_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    reporter = Reporter(12000, stream=stream)
    reporter.begin("search", 4000)
    reporter.skip(1500)  # done before a resume
    clock.run(reporter, 100)
    first, *_, last = stream.getvalue().splitlines()
    assert first == "search: step 1501/4000, loss 1.0000"  # one step has no rate yet
    assert last == "search: step 1591/4000, loss 1.0000, 10409 s left"


def test_what_is_spared_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    reporter = Reporter(300, stream=stream)  # a search and two members
    reporter.begin("search", 100)
    clock.run(reporter, 61)
    reporter.spare(39)  # it stopped early
    reporter.spare(2 * 50)  # and its best was at step 50
    reporter.begin("member 1/2", 50)
    clock.run(reporter, 50)
    reporter.begin("member 2/2", 50)
    clock.run(reporter, 50)
    lines = stream.getvalue().splitlines()
    assert "member 1/2: step 10/50, loss 1.0000, 90 s left" in lines
    assert lines[-1] == "member 2/2: step 50/50, loss 1.0000, 0 s left"


def test_a_quick_training_prints_little() -> None:
    stream = io.StringIO()
    drive(Reporter(100, stream=stream), 100)
    assert stream.getvalue() == ""


def test_one_live_line_in_a_terminal() -> None:
    stream = Terminal()
    reporter = Reporter(100, stream=stream)
    with reporter:
        reporter.begin("member 1", 100)
        reporter.skip(40)
        for _ in range(60):
            reporter.update(0.25, 0.5)
        reporter.bar.refresh()
        reporter.message("a line")
    text = stream.getvalue()
    assert "\n" not in text.replace("a line\n", "")
    assert re.search(r"member 1: 100%.*100/100.*loss 0.2500, validation 0.5000, 0 s left", text)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (100, r"member 1: 100%\|[#█]{10,}\| 100/100, loss 0.2500, validation 0.5000, 0 s left"),
        (70, r"member 1: 100/100, loss 0.2500, validation 0.5000, 0 s left"),
        (42, r"member 1: 100/100, loss 0.2500, 0 s left"),
        (30, r"member 1: 100/100, 0 s left"),
    ],
)
def test_a_narrow_terminal_keeps_the_step_and_the_time_left(columns: int, expected: str) -> None:
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with os.fdopen(terminal, "w", encoding="utf-8") as stream, Reporter(100, stream=stream) as reporter:
        reporter.begin("member 1", 100)
        for _ in range(100):
            reporter.update(0.25, 0.5)
        reporter.bar.refresh()
        text = b""
        while select.select([screen], [], [], 0.2)[0]:  # a read may give a part
            text += os.read(screen, 1 << 16)
        last = text.decode().rstrip("\r").split("\r")[-1]
    os.close(screen)
    assert re.fullmatch(expected, last.rstrip()), last
    assert len(last) <= columns


def test_silence() -> None:
    stream = Terminal()
    reporter = Reporter(10, show=False, stream=stream)
    drive(reporter, 10)
    reporter.message("a line")
    assert stream.getvalue() == ""


def test_the_first_signal_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_no_handlers_outside_the_main_thread() -> None:
    entered = []

    def enter() -> None:
        with Interrupt() as interrupt:
            entered.append(interrupt.requested)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [False]
