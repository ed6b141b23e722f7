"""How far a training is, on stderr: one live line in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

__all__ = ["Reporter"]

INTERVAL = 10.0  # seconds between plain lines, unless a tenth of the work is done sooner


class Reporter:
    """Counts ``total`` steps. ``show`` False: silent. Uses tqdm in a terminal where it is installed."""

    def __init__(self, total: int, *, show: bool = True, stream: TextIO | None = None) -> None:
        self.total, self.done = total, 0
        self.stream = sys.stderr if stream is None else stream
        self.show = show
        self.started = self.printed = time.monotonic()
        self.printed_done = 0
        self.first = 0  # steps that were done before: they took this run no time
        self.loss: float | None = None
        self.validation: float | None = None
        self.bar: Any = self._bar() if show and self.stream.isatty() else None

    def _bar(self) -> Any:
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm(total=self.total, file=self.stream, unit="step", dynamic_ncols=True, leave=False)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def skip(self, steps: int) -> None:
        """``steps`` that need not be run: done before a resume, or spared by early stopping."""
        self.done += steps
        self.first += steps
        if self.bar is not None:
            self.bar.initial += steps  # so that they do not count as speed
            self.bar.update(steps)

    def update(self, label: str, loss: float, validation: float | None = None) -> None:
        """One more step is done, with its training loss and, when it was just measured, the validation metric."""
        self.done += 1
        self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        self.validation = self.validation if validation is None else validation
        if not self.show:
            return
        text = f"loss {self.loss:.4f}" + ("" if self.validation is None else f", validation {self.validation:.4f}")
        if self.bar is not None:
            self.bar.set_description_str(label, refresh=False)
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
            return
        now = time.monotonic()
        tenth = self.done - self.printed_done >= max(1, self.total // 10) and now - self.printed >= 1
        if tenth or now - self.printed >= INTERVAL:
            self.printed, self.printed_done = now, self.done
            left = (now - self.started) / max(1, self.done - self.first) * (self.total - self.done)
            print(f"{label}: step {self.done}/{self.total}, {text}, {left:.0f} s left", file=self.stream, flush=True)

    def restart(self) -> None:
        """Another training begins: its loss is not a continuation of the last one's."""
        self.loss = self.validation = None

    def message(self, text: str) -> None:
        """A line of its own."""
        if not self.show:
            return
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)
