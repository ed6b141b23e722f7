"""Run a model with NumPy and the kernels alone: whole sequences, or as a stream, one step at a time.

A state is a value: every call takes one and returns a new one, so that one session serves any number of streams and
threads at once. The bits of a sequence's output do not depend on its batch, on how it is cut, or on streaming.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grus import quantized
from grus.errors import InputError
from grus.inputs.text import encode, first_steps
from grus.model import Model
from grus.runtime.operations import Chain
from grus.runtime.state import State, as_float32, from_bytes, state_of, to_bytes
from grus.spec import Series
from grus.spec.chains import state_sizes
from grus.spec.limits import refuse

__all__ = ["Session", "State"]

Array = NDArray[np.float32]
Ends = NDArray[np.int64]


class Session:
    """A model made ready to run: weights packed once, nothing changed afterwards, so threads may share it.

    ``isa`` picks the kernels' instruction set; by default the best one here, or GRUS_ISA.
    """

    def __init__(self, model: Model, *, isa: str | None = None) -> None:
        if not isinstance(model, Model):
            raise InputError(f"model is a {type(model).__name__}, expected a grus.Model: grus.load(path) reads one")
        spec, arrays = model.spec, model.arrays
        self._chain: Chain | quantized.Chain
        match spec.precision:
            case "float32":
                self._chain = Chain(spec.blocks, arrays, "", isa)
            case "w8a16":
                self._chain = quantized.Chain(spec, arrays)
        self._spec = spec
        self._input_size = spec.input_size
        self._state_sizes = state_sizes(spec.blocks)
        self._streams = spec.streams
        self._hash = bytes.fromhex(model.hash)
        self._made_of = model, isa

    def __reduce__(self) -> tuple[partial[Session], tuple[Model]]:
        model, isa = self._made_of  # packed weights are of one machine: a copy or pickle is made anew of its model
        return partial(type(self), isa=isa), (model,)

    def initial_state(self, batch: int) -> State:
        """The state before the first step of ``batch`` streams: zeros. Raises InputError for a model not to stream."""
        self._check_streams()
        if not isinstance(batch, (int, np.integer)) or batch < 0:
            raise InputError(f"batch is {batch!r}, expected an integer of at least 0")
        return state_of([np.zeros((int(batch), size), np.float32) for size in self._state_sizes])

    def step(self, x: ArrayLike, state: State | None = None) -> tuple[Array, State]:
        """The next step of every stream: x [B, I] and a state to y [B, O] and the state after it.

        Without a state the streams begin. Raises InputError for a wrong shape, a state of other sizes or of
        another batch, and for a model with a bidirectional GRU, which needs the whole sequence. A State does not know
        its model: one of another model of equal sizes is taken (:meth:`state_from_bytes` tells it by the hash).
        """
        values = self._input(x, "(B, {})")
        self._check_streams()
        return self._call(values, self.initial_state(len(values)) if state is None else state, False)

    def run(
        self, x: ArrayLike, state: State | None = None, *, last: bool = False, lengths: ArrayLike | None = None
    ) -> tuple[Array, State]:
        """Whole sequences: x [T, B, I] to y [T, B, O], or with ``last`` to the last step's y [B, O], and the state.

        With a state the sequences go on from there. ``lengths``, integers [B]: row b has the first lengths[b] steps of
        x. Its output, its state and, with ``last``, its own last step's output have the bits they have alone; y is zero
        behind its end, and x may be anything there.

        Where the model's task has text for its input, x may be a text, or B texts in a list or an array [B], from which
        ``lengths`` follow; a language model without a state reads id 0 before a text, so that y[0] is of its first
        token.

        Raises InputError as :meth:`step` does, for a state given to a bidirectional model, and for ``last`` with a row
        without a step; for lengths that are no integers from 0 to T, and for text where the task takes none.
        """
        texts = _as_texts(x)
        if texts is not None:
            if lengths is not None:
                raise InputError("lengths goes with numbers: those of texts follow from them")
            x, lengths = self._encoded(texts, state is None)
        values = self._input(x, "(T, B, {})")
        ends = None if lengths is None else _checked_lengths(lengths, values)
        if state is not None:
            self._check_streams()
        if last and not (len(values) if ends is None else ends.all()):
            rows = "" if ends is None else f" and lengths {ends.min()} at least"
            raise InputError(f"x has shape {values.shape}{rows}: with last=True expected at least one step")
        y, after = self._call(values, state, last, ends)
        if last:
            return y[-1], after
        if ends is not None:
            y[np.arange(len(y))[:, None] >= ends] = 0
        return y, after

    def state_to_bytes(self, state: State) -> bytes:
        """A state as bytes, for another process, machine or day; they hold the model's hash and a checksum.

        Raises InputError for a state of other sizes, and where the model is not to be streamed.
        """
        self._check_streams()
        self._check_state(state, None)
        return to_bytes(state, self._hash)

    def state_from_bytes(self, data: bytes) -> State:
        """The state in the bytes of :meth:`state_to_bytes`, to the bit. Nothing in them is ever executed.

        Raises InputError for bytes that are damaged, of another model (by its hash), or of a newer format.
        """
        self._check_streams()
        return from_bytes(data, self._hash, self._state_sizes)

    def _call(self, x: Array, state: State | None, last: bool, ends: Ends | None = None) -> tuple[Array, State]:
        if state is not None:
            self._check_state(state, x.shape[-2])
        h_n: list[Array] = []
        y = self._chain(x, None if state is None else iter(state.arrays), h_n, last, ends)
        if any(h is y for h in h_n):  # a step that ends with a GRU: the caller may write into y
            y = y.copy()
        return y, state_of(h_n)

    def _encoded(self, texts: list[str], begins: bool) -> tuple[Array, Ends]:
        """x [T, B, 1] of the texts, padded with id 0, and their lengths."""
        task = self._spec.task
        facts = None if task is None else task.facts
        if facts is None or facts.reads is None or isinstance(facts.reads, Series):
            raise InputError(f"x is text, but the model's task is {type(task).__name__}, which takes numbers [T, B, I]")
        rows = first_steps([encode(facts.reads, text) for text in texts], facts.longest)
        if begins and facts.begins:
            rows = [np.concatenate([np.zeros(1, np.int64), row]) for row in rows]
        ends = np.array([len(row) for row in rows], np.int64)
        x = np.zeros((ends.max(), len(rows), 1), np.float32)
        for b, row in enumerate(rows):
            x[: len(row), b, 0] = row
        return x, ends

    def _input(self, x: ArrayLike, expected: str) -> Array:
        values = as_float32("x", x)
        if values.ndim != expected.count(",") + 1 or values.shape[-1] != self._input_size:
            raise InputError(f"x has shape {values.shape}, expected {expected.format(self._input_size)}")
        return values if values.strides[-1] == values.itemsize else np.ascontiguousarray(values)

    def _check_streams(self) -> None:
        if not self._streams:  # known from the start: a step has no time to walk the blocks
            refuse("stream", self._spec)

    def _check_state(self, state: State, batch: int | None) -> None:
        if not isinstance(state, State):
            raise InputError(f"state is a {type(state).__name__}, expected a State from initial_state, step or run")
        sizes = tuple(a.shape[1] for a in state.arrays)
        if sizes != self._state_sizes:
            raise InputError(f"state is of another model: sizes {sizes}, expected {self._state_sizes}")
        if state.arrays and batch not in (None, state.batch):
            raise InputError(f"state is for a batch of {state.batch}, but x has a batch of {batch}")


def _as_texts(x: ArrayLike) -> list[str] | None:
    """The texts that x is; None for numbers."""
    if isinstance(x, str):
        return [x]
    if getattr(getattr(x, "dtype", None), "kind", "") in ("O", "T", "U"):  # of NumPy, or a column of pandas
        x = np.asarray(x, object).tolist()
    texts = isinstance(x, (list, tuple)) and len(x) and all(isinstance(text, str) for text in x)
    return [str(text) for text in x] if texts else None  # type: ignore[union-attr]


def _checked_lengths(lengths: ArrayLike, x: Array) -> Ends | None:
    """None where every row has all steps."""
    found = np.asarray(lengths)
    if found.dtype.kind not in "iu" or found.shape != x.shape[1:2]:
        raise InputError(f"lengths is {found.dtype}{found.shape}, expected integers ({x.shape[1]},)")
    ends: Ends = found.astype(np.int64)
    if len(ends) and (ends.min() < 0 or ends.max() > len(x)):
        raise InputError(f"lengths are from {ends.min()} to {ends.max()}, expected from 0 to {len(x)}, the steps of x")
    return None if (ends == len(x)).all() else ends
