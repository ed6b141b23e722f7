"""What a training says on stderr."""

from __future__ import annotations

import io
import re
import signal
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
        for step in range(steps):
            reporter.update("member 1", 1.0 / (step + 1), 0.5 if step == 2 else None)


def test_plain_lines_outside_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    drive(Reporter(100, stream=stream), 100)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert re.fullmatch(r"member 1: step 50/100, loss 0\.\d{4}, validation 0\.5000, 50 s left", lines[4])
    assert lines[-1].endswith(" 0 s left")


def test_a_quick_training_prints_little() -> None:
    stream = io.StringIO()
    drive(Reporter(100, stream=stream), 100)
    assert stream.getvalue() == ""


def test_one_live_line_in_a_terminal() -> None:
    stream = Terminal()
    reporter = Reporter(100, stream=stream)
    with reporter:
        reporter.skip(40)
        for _ in range(60):
            reporter.update("member 1", 0.25, 0.5)
        reporter.bar.refresh()
        reporter.message("a line")
    text = stream.getvalue()
    assert "\n" not in text.replace("a line\n", "")
    assert re.search(r"member 1: 100%.*100/100.*loss 0.2500, validation 0.5000", text)


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
