"""How far a training is, on stderr: one live line in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from grus.training import distributed

__all__ = ["Reporter"]

INTERVAL = 10.0  # seconds between plain lines, unless a tenth of the work is done sooner
WIDE = "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}"  # tqdm knows the time left of one training only
NARROW = "{desc}: {n_fmt}/{total_fmt}{postfix}"  # where a bar would leave no room for the rest
BAR = 10  # characters of a bar that is worth its place


class Reporter:
    """Tells the step of the training that runs, and how long all trainings, ``total`` steps at most, still take.

    ``show`` False: silent, and so is every process but the first. Uses tqdm in a terminal where it is installed.
    """

    def __init__(self, total: int, *, show: bool = True, stream: TextIO | None = None) -> None:
        self.left = total  # steps, of all trainings
        self.ran = 0  # steps of this run: those done before a resume took it no time
        self.label, self.step, self.steps = "", 0, total  # of the training that runs
        self.stream = sys.stderr if stream is None else stream
        self.show = show and distributed.current().first
        self.started = self.printed = time.monotonic()
        self.printed_ran = 0
        self.loss: float | None = None
        self.validation: float | None = None
        self.beside = ""  # what was measured with the validation, in words
        self.bar: Any = self._bar() if self.show and self.stream.isatty() else None

    def _bar(self) -> Any:
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm(total=self.steps, file=self.stream, bar_format=WIDE, dynamic_ncols=True, leave=False)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def begin(self, label: str, steps: int) -> None:
        """Another training begins, of ``steps`` steps: its loss is not a continuation of the last one's."""
        self.label, self.step, self.steps = label, 0, steps
        self.loss, self.validation, self.beside = None, None, ""
        if self.bar is not None:
            self.bar.set_description_str(label, refresh=False)
            self.bar.set_postfix_str("", refresh=False)
            self.bar.reset(total=steps)

    def skip(self, steps: int) -> None:
        """The first ``steps`` of the training that runs were done before a resume."""
        self.step += steps
        self.left -= steps
        if self.bar is not None:
            self.bar.update(steps)

    def spare(self, steps: int) -> None:
        """``steps`` that this run need not do after all: early stopping spares them, or they were done before."""
        self.left -= steps

    def update(self, loss: float, validation: float | None = None) -> None:
        """One more step is done, with its training loss and, when it was just measured, the validation metric."""
        self.step += 1
        self.ran += 1
        self.left -= 1
        self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        self.validation = self.validation if validation is None else validation
        if not self.show:
            return
        now = time.monotonic()
        if self.ran == 1:
            self.started = now  # reading and the first step's preparations say nothing of the steps to come
        parts = [f"loss {self.loss:.4f}"]
        if self.validation is not None:
            parts.append(f"validation {self.validation:.4f}{self.beside}")
        if self.ran > 1:
            parts.append(f"{(now - self.started) / (self.ran - 1) * self.left:.0f} s left")
        if self.bar is not None:
            self._fit(parts)
            self.bar.update()
            return
        text = ", ".join(parts)
        tenth = self.ran - self.printed_ran >= max(1, (self.ran + self.left) // 10) and now - self.printed >= 1
        if tenth or now - self.printed >= INTERVAL:
            self.printed, self.printed_ran = now, self.ran
            print(f"{self.label}: step {self.step}/{self.steps}, {text}", file=self.stream, flush=True)

    def _fit(self, parts: list[str]) -> None:
        """Show ``parts`` in a line of the terminal: where there is no room the bar goes, then what was measured."""
        width = self.bar.format_dict["ncols"] or sys.maxsize
        room = width - len(f"{self.label}: {self.steps}/{self.steps}, ")
        wide = room - len(": 100%|") - BAR >= len(", ".join(parts))
        while not wide and len(parts) > 1 and room < len(", ".join(parts)):
            del parts[-2]
        self.bar.bar_format = WIDE if wide else NARROW
        self.bar.set_postfix_str(", ".join(parts), refresh=False)

    def message(self, text: str) -> None:
        """A line of its own."""
        if not self.show:
            return
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)
