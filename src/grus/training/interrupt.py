"""Ctrl-C ends a training at the next step, with its checkpoint written."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType

from grus.training import distributed

__all__ = ["Interrupt", "Interrupted"]

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    SIGNALS.append(signal.SIGBREAK)  # what another process can send there


class Interrupted(KeyboardInterrupt):
    """A training ended early at the user's wish. The message says how to go on."""


class Interrupt:
    """While entered, SIGINT and SIGTERM only set ``requested``; a second signal interrupts at once.

    Of several processes a signal to one stops all, and a second does nothing: Ctrl-C in a terminal reaches each process
    twice, by itself and through torchrun, which kills what does not end within half a minute.
    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None: the handler was not set from Python and cannot be set again from here
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
        self._previous.clear()

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and distributed.current().world == 1:
            raise KeyboardInterrupt
        self.requested = True
