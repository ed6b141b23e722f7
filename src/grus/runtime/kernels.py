"""The NumPy front door to the compiled kernels: one layer in one direction, and a dense layer, in float32.

Shapes: T time, B batch, I input_size, H hidden_size. Arrays in may have any strides in time and batch. The bits of a
forward result depend on none of: the batch a row is in, how a sequence is cut, how many threads run, whether it was
streamed a step at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.runtime import _native
from grus.runtime.calls import RESTART, SKIP, BackwardCall, Extras, ForwardCall, Gates, Gradients
from grus.weights import GRUWeights

__all__ = [
    "RESTART",
    "SKIP",
    "BackwardCall",
    "Dense",
    "Extras",
    "ForwardCall",
    "Gates",
    "Gradients",
    "Layer",
    "activate",
    "backward_both_at",
    "backward_given",
    "default_isa",
    "forward_both_at",
    "forward_given",
    "get_num_threads",
    "isas",
    "know_tensors",
    "limit_threads",
    "limited",
    "set_num_threads",
]

Array = NDArray[np.float32]


def isas() -> tuple[str, ...]:
    """The instruction sets this CPU and build can run, best first."""
    return tuple(_native.isas())


def default_isa() -> str:
    """The instruction set a new layer uses: the environment variable GRUS_ISA, or the best.

    Raises InputError where GRUS_ISA names one that cannot run here.
    """
    try:
        return str(_native.default_isa())
    except ValueError as error:
        raise InputError(str(error)) from None


def get_num_threads() -> int:
    """How many threads a call may use: what was chosen, or the least of affinity, cgroup and OMP_NUM_THREADS.

    Chosen is what ``set_num_threads`` or GRUS_NUM_THREADS said. Where nothing was, a call through ``grus.torch`` uses
    no more than ``torch.get_num_threads()`` either.
    """
    return int(_native.threads())


def set_num_threads(count: int) -> None:
    """Let later calls use up to ``count`` threads. Raises InputError unless it is an integer of at least 1."""
    _native.set_threads(_thread_count("count", count))


def limit_threads(allowed: Callable[[], int]) -> None:
    """Ask ``allowed`` in each call by address and each ``limited`` block: more threads than it says run only if chosen.

    For a library of tensors that has a limit of its own.
    """
    _native.allow(allowed)


limited = _native.Allowed  # a context manager
# short calls on tensors: grus.torch.recurrence.short
forward_given, backward_given, know_tensors = _native.forward_given, _native.backward_given, _native.know_tensors


def _thread_count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= 1024:
        raise InputError(f"{name} is {value!r}, expected an integer from 1 to 1024")
    return int(value)


def _isa(name: str | None) -> str:
    chosen = default_isa() if name is None else name
    if chosen not in isas():
        raise InputError(f"isa is {name!r}, expected one that runs here: {', '.join(isas())}")
    return chosen


def checked(name: str, array: object, shape: tuple[int | str, ...]) -> Array:
    """``array`` as the kernels read it; in ``shape`` a string is a size that may be anything."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} is a {type(array).__name__}, expected a NumPy array of float32")
    if array.dtype != np.float32:
        raise InputError(f"{name} is {array.dtype}, expected float32")
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or got == want for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        expected = ", ".join(str(size) for size in shape) + ("," if len(shape) == 1 else "")
        raise InputError(f"{name} has shape {array.shape}, expected ({expected})")
    if not array.flags.aligned or (array.size and array.strides[-1] != 4):
        return array.copy(order="C")  # aligned, which np.ascontiguousarray does not promise
    return array


def _output(name: str, array: object, shape: tuple[int, ...], *inputs: Array | None) -> Array:
    if array is None:
        return np.empty(shape, np.float32)
    out = checked(name, array, shape)
    if out is not array or not out.flags.writeable:
        raise InputError(f"{name} must be writeable and contiguous in its last dimension")
    if any(given is not None and np.may_share_memory(array, given) for given in inputs):
        raise InputError(f"{name} shares memory with an input, expected memory of its own")
    return out


def _fitting(gates: Gates | None, steps: int, batch: int) -> _native.Gates | None:
    if gates is None:
        return None
    shape = gates.array().shape
    if (gates.first_step + shape[0], shape[1]) != (steps, batch):
        raise InputError(
            f"gates are of {gates.first_step + shape[0]} steps and batch {shape[1]}, x of {steps}, {batch}"
        )
    return gates.native


class Layer:
    """The weights of one layer in one direction, packed for one instruction set.

    The weights are copied: a later change of the arrays does not reach the layer. One layer may be used by several
    threads. Without ``training`` it is packed for the forward pass alone, in half the time and memory. ``keep`` keeps
    the weights as given, too, so that :meth:`holds_at` can tell whether they have changed.
    Raises InputError for weights that are not float32 or an instruction set that cannot run here.
    """

    _of: object = None  # whose memory a layer of :meth:`given` reads

    def __init__(
        self, weights: GRUWeights, *, isa: str | None = None, training: bool = True, keep: bool = False
    ) -> None:
        H, I = weights.hidden_size, weights.input_size  # noqa: E741
        self.input_size, self.hidden_size, self.reset_after = I, H, weights.reset_after
        self.isa = _isa(isa)
        self._native = _native.make_layer(
            np.ascontiguousarray(checked("weight_ih", weights.weight_ih, (3 * H, I))),
            np.ascontiguousarray(checked("weight_hh", weights.weight_hh, (3 * H, H))),
            checked("bias_ih", weights.bias_ih, (3 * H,)),
            checked("bias_hh", weights.bias_hh, (3 * H,)),
            weights.reset_after,
            self.isa,
            training,
            keep,
        )

    @classmethod
    def at(
        cls,
        input_size: int,
        hidden_size: int,
        addresses: tuple[int, int, int, int, int],
        reset_after: bool,
        *,
        training: bool = True,
        keep: bool = False,
    ) -> Layer:
        """A layer of weights the caller has checked, quick to make: W, U, the biases and a gain, contiguous.

        The biases may be 0: none. With a gain [3H] the recurrent products are normalised (Ba et al. 2016,
        arXiv:1607.06450), those of r and z together and those of n, and scaled by it. Then W and b_i are 0, and x is
        W x + b_i [T, B, 3H] already.
        """
        layer = cls.__new__(cls)
        layer.input_size, layer.hidden_size, layer.reset_after = input_size, hidden_size, reset_after
        layer.isa = default_isa()
        layer._native = _native.make_layer_at(
            input_size, hidden_size, *addresses, reset_after, layer.isa, training, keep
        )
        return layer

    @classmethod
    def given(
        cls,
        input_size: int,
        hidden_size: int,
        addresses: tuple[int, int, int, int, int],
        reset_after: bool,
        of: object = None,
    ) -> Layer:
        """As :meth:`at`, of the weights where they are: W and U are not copied, and must stay as long as the layer.

        A step costs up to twice that of packed weights, the bits are the same: for calls of few steps. ``of``: what
        keeps their memory, kept too.
        """
        layer = cls.__new__(cls)
        layer.input_size, layer.hidden_size, layer.reset_after = input_size, hidden_size, reset_after
        layer._of = of
        try:
            layer._native = _native.make_layer_as_given(input_size, hidden_size, *addresses, reset_after)
        except ValueError as error:  # of GRUS_ISA
            raise InputError(str(error)) from None
        layer.isa = layer._native.isa
        return layer

    @property
    def training(self) -> bool:
        """Whether it is packed for the backward pass too."""
        return bool(self._native.training)

    def gates(self, steps: int, batch: int, *, save: int | None = None) -> Gates:
        """Room for the gates of the last ``save`` (None: all) of ``steps`` steps."""
        save = steps if save is None else save
        if batch < 1 or not 1 <= save <= steps:
            raise InputError(f"save is {save} and batch {batch}, expected a batch and from 1 to {steps} steps")
        return Gates(self._native.gates(steps, batch, save))

    def forward(
        self,
        x: Array,
        h0: Array | None = None,
        *,
        reverse: bool = False,
        out: Array | None = None,
        threads: int | None = None,
        gates: Gates | None = None,
    ) -> tuple[Array, Array]:
        """x [T, B, I] and h0 [B, H] (None: zeros) to the states y [T, B, H] and the last of them, h_n [B, H].

        ``reverse`` walks from the last step to the first: y[t] has seen x[t:], and h_n is y[0].
        ``out`` takes y; it may be a slice with free strides in time and batch. ``gates`` of :meth:`gates` is filled.
        """
        x = checked("x", x, ("T", "B", self.input_size))
        T, B = x.shape[:2]
        if h0 is not None:
            h0 = checked("h0", h0, (B, self.hidden_size))
        y = _output("out", out, (T, B, self.hidden_size), x, h0)
        threads = get_num_threads() if threads is None else _thread_count("threads", threads)
        if T and B:  # NumPy's strides of an empty array say nothing
            self._native.forward(x, h0, y, bool(reverse), threads, _fitting(gates, T, B))
        if T:
            return y, y[0 if reverse else -1].copy()
        return y, np.zeros((B, self.hidden_size), np.float32) if h0 is None else h0.copy()

    def forward_at(self, call: ForwardCall, *, limited: bool = True) -> None:
        """:meth:`forward` by address; ``limited`` as :func:`limit_threads` says."""
        self._native.forward_at(call, limited)

    def backward_at(self, call: BackwardCall) -> None:
        """:meth:`backward` by address."""
        self._native.backward_at(call)

    def holds_at(self, weight_ih: int, weight_hh: int, bias_ih: int, bias_hh: int, gain_hh: int = 0) -> bool:
        """Whether the weights at these addresses (a bias may be 0) are those the layer was made of, bit for bit.

        They must have the layer's shapes and be contiguous. A layer made without ``keep`` holds none.
        """
        return bool(self._native.holds_at(weight_ih, weight_hh, bias_ih, bias_hh, gain_hh, self.reset_after))

    def step(self, x: Array, h: Array, out: Array | None = None) -> Array:
        """One step: x [B, I] and h [B, H] to the next state [B, H], in ``out`` where it is given."""
        if out is None:
            try:  # the compiled checks are enough for good input, and quick
                out = np.empty(h.shape, np.float32)
                self._native.step(x, h, out)
                return out
            except (AttributeError, TypeError, ValueError):
                out = None
        x = checked("x", x, ("B", self.input_size))
        h = checked("h", h, (len(x), self.hidden_size))
        y = _output("out", out, h.shape, x, h)
        if len(x):
            self._native.step(x, h, y)
        return y

    def backward(
        self,
        x: Array,
        h0: Array | None,
        y: Array,
        dy: Array | None,
        dh_n: Array | None = None,
        *,
        reverse: bool = False,
        threads: int | None = None,
        input_gradient: bool = True,
        weight_gradients: bool = True,
        gates: Gates | None = None,
    ) -> Gradients:
        """Gradients of a loss from dy [T, B, H] and dh_n [B, H], its gradients by y and by h_n (None: zeros).

        x, h0, y and ``reverse`` are those of :meth:`forward`, and so are ``gates``. Those that are not there are
        computed once more from y, to the same bits.
        Raises InputError for a wrong shape or dtype, and for a layer made without ``training``.
        """
        if not self._native.training:
            raise InputError("this layer is packed for the forward pass alone: make it with training=True")
        x = checked("x", x, ("T", "B", self.input_size))
        T, B = x.shape[:2]
        H, I = self.hidden_size, self.input_size  # noqa: E741
        h0 = None if h0 is None else checked("h0", h0, (B, H))
        y = checked("y", y, (T, B, H))
        dy = None if dy is None else checked("dy", dy, (T, B, H))
        dh_n = None if dh_n is None else np.ascontiguousarray(checked("dh_n", dh_n, (B, H)))
        threads = get_num_threads() if threads is None else _thread_count("threads", threads)
        empty = T == 0 or B == 0
        new = np.zeros if empty else np.empty
        dx = new(x.shape, np.float32) if input_gradient else None
        dh0 = new((B, H), np.float32)
        dW = dU = db_i = db_h = None
        if weight_gradients:
            dW, dU = new((3 * H, I), np.float32), new((3 * H, H), np.float32)
            db_i, db_h = new(3 * H, np.float32), new(3 * H, np.float32)
        if empty:
            if dh_n is not None:
                dh0[...] = dh_n
        else:
            native = _fitting(gates, T, B)
            self._native.backward(x, h0, y, dy, dh_n, dx, dh0, dW, dU, db_i, db_h, bool(reverse), threads, native)
        return Gradients(dx, dh0, dW, dU, db_i, db_h)


def forward_both_at(first: Layer, call: ForwardCall, second: Layer, other: ForwardCall) -> None:
    """:meth:`Layer.forward_at` of two layers that do not need each other, at once where that is quicker."""
    _native.forward_both_at(first._native, call, second._native, other)


def backward_both_at(first: Layer, call: BackwardCall, second: Layer, other: BackwardCall) -> None:
    """:meth:`Layer.backward_at` of two; with ``add_dx`` the second adds to what the first gives."""
    _native.backward_both_at(first._native, call, second._native, other)


class Dense:
    """y = x Aᵀ + b with A [O, I] and b [O] or None, packed for one instruction set; bits as those of :class:`Layer`."""

    def __init__(self, weight: Array, bias: Array | None = None, *, isa: str | None = None) -> None:
        weight = np.ascontiguousarray(checked("weight", weight, ("O", "I")))
        self.output_size, self.input_size = weight.shape
        if not weight.size:
            raise InputError(f"weight has shape {weight.shape}, expected at least one input and one output")
        if bias is not None:
            bias = checked("bias", bias, (self.output_size,))
        self._native = _native.make_dense(weight, bias, _isa(isa))

    def __call__(self, x: Array, out: Array | None = None, *, threads: int | None = None) -> Array:
        """x [..., I] to y [..., O]."""
        if not isinstance(x, np.ndarray) or x.ndim < 1:
            raise InputError(f"x is {type(x).__name__}, expected a NumPy array of float32 [..., {self.input_size}]")
        flat = checked("x", x, (*map(str, range(x.ndim - 1)), self.input_size)).reshape(-1, self.input_size)
        threads = get_num_threads() if threads is None else _thread_count("threads", threads)
        y = _output("out", out, (*x.shape[:-1], self.output_size), x)
        rows = y.reshape(-1, self.output_size)
        self._native(flat, rows, threads)
        if out is not None and not np.may_share_memory(rows, out):
            out[...] = rows.reshape(out.shape)
        return y


def activate(x: Array, function: Literal["sigmoid", "tanh"], *, isa: str | None = None) -> Array:
    """σ or tanh of every element, by the kernels' own polynomials, whose bits do not depend on where it stands."""
    if function not in ("sigmoid", "tanh"):
        raise InputError(f"function is {function!r}, expected 'sigmoid' or 'tanh'")
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        raise InputError(f"x is {getattr(x, 'dtype', type(x).__name__)}, expected a NumPy array of float32")
    y = np.empty(x.shape, np.float32)
    _native.activation(np.ascontiguousarray(x).reshape(-1), y.reshape(-1), function, _isa(isa))
    return y
