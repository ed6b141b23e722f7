"""What streams remember between steps, as a value: chosen, joined, and turned into bytes and back."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grus.errors import InputError
from grus.weights import as_array

__all__ = ["State", "as_float32", "from_bytes", "state_of", "to_bytes"]

Array = NDArray[np.float32]

MAGIC = b"GRUSTATE"
VERSION = 1
HEADER = struct.Struct("<8sIQ32s16s")  # magic, version, streams, the model's hash, checksum of all but itself


@dataclass(frozen=True, eq=False)
class State:
    """What streams remember: read-only float32 arrays, in the order of the spec.

    One [B, H] for each GRU layer and direction, and one [B, state size] for each Pool.

    Rows are streams: :meth:`rows` lets streams leave, change places or be copied, :meth:`join` lets others come in.
    Two states are equal when all their numbers are. Raises InputError for arrays that are not [B, H] with one B.
    """

    arrays: tuple[Array, ...]

    def __post_init__(self) -> None:
        arrays = tuple(_frozen(as_float32("state array", a)) for a in self.arrays)
        if any(a.ndim != 2 for a in arrays) or len({a.shape[0] for a in arrays}) > 1:
            raise InputError(f"state arrays have shapes {[a.shape for a in arrays]}, expected (B, H) with one B")
        object.__setattr__(self, "arrays", arrays)

    @property
    def batch(self) -> int:
        """How many streams there are; 0 for a model without a GRU or Pool, whose streams remember nothing."""
        return len(self.arrays[0]) if self.arrays else 0

    def rows(self, streams: ArrayLike) -> State:
        """The state of the chosen streams, numbered from 0, in the order given; one may be chosen more than once.

        Raises InputError for anything but a list of integers from 0 to ``batch`` - 1.
        """
        chosen = np.asarray(streams)
        if chosen.ndim != 1 or (chosen.dtype.kind not in "iu" and chosen.size):
            raise InputError(f"streams are {chosen.dtype}{chosen.shape}, expected a list of integers")
        if not self.arrays:
            return self
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.batch):
            raise InputError(f"streams go from {chosen.min()} to {chosen.max()}, expected 0 to {self.batch - 1}")
        return state_of([a[chosen.astype(np.intp)] for a in self.arrays])

    @staticmethod
    def join(states: Iterable[State]) -> State:
        """One state of all the streams of ``states``, one after the other.

        Raises InputError where there is none, or where their sizes differ.
        """
        given = list(states) if isinstance(states, Iterable) else []
        if not given or not all(isinstance(s, State) for s in given):
            raise InputError("states are not a list of at least one State")
        sizes = {tuple(a.shape[1] for a in s.arrays) for s in given}
        if len(sizes) > 1:
            raise InputError(f"states are of different models: sizes {sorted(sizes)}")
        return state_of([np.concatenate(arrays) for arrays in zip(*(s.arrays for s in given), strict=True)])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        same = len(self.arrays) == len(other.arrays)
        return same and all(map(np.array_equal, self.arrays, other.arrays))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[State], tuple[tuple[Array, ...]]]:
        return State, (self.arrays,)  # copies and pickles come back read-only


def state_of(arrays: list[Array]) -> State:
    """A state of arrays that are ours alone: frozen where they lie, not copied and not checked again."""
    for array in arrays:
        array.setflags(write=False)
    state = object.__new__(State)
    object.__setattr__(state, "arrays", tuple(arrays))
    return state


def to_bytes(state: State, model_hash: bytes) -> bytes:
    """The header and the arrays, float32, little-endian, one after the other. ``model_hash`` is 32 bytes."""
    body = b"".join(a.astype("<f4").tobytes() for a in state.arrays)
    fields = (MAGIC, VERSION, state.batch, model_hash)
    return HEADER.pack(*fields, _checksum(fields, body)) + body


def from_bytes(data: bytes, model_hash: bytes, sizes: Sequence[int]) -> State:
    """The inverse of :func:`to_bytes` for a model of these sizes; InputError for any other bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f"data is a {type(data).__name__}, expected bytes")
    data = bytes(data)
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise InputError("data is not a saved state of Grus")
    magic, version, batch, owner, checksum = HEADER.unpack_from(data)
    if version != VERSION:
        raise InputError(f"data is a state of version {version}, this Grus reads {VERSION}: update Grus")
    if owner != model_hash:
        raise InputError(f"data is a state of the model {owner.hex()[:16]}…, this one is {model_hash.hex()[:16]}…")
    body = data[HEADER.size :]
    if len(body) != 4 * batch * sum(sizes) or _checksum((magic, version, batch, owner), body) != checksum:
        raise InputError("data is a damaged state: bytes of it are missing or changed")
    arrays, at = [], 0
    for size in sizes:
        flat = np.frombuffer(body, "<f4", batch * size, at).astype(np.float32)
        arrays.append(flat.reshape(batch, size))
        at += 4 * batch * size
    return state_of(arrays)


def _checksum(fields: tuple[bytes, int, int, bytes], body: bytes) -> bytes:
    whole = hashlib.sha256(HEADER.pack(*fields, bytes(16)))
    whole.update(body)
    return whole.digest()[:16]


def as_float32(name: str, values: ArrayLike) -> Array:
    """``values`` as an array of float32; InputError where they are no real numbers."""
    if type(values) is np.ndarray and values.dtype == np.float32:
        return values
    array = as_array(name, values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has dtype {array.dtype}, expected real numbers")
    with np.errstate(over="ignore"):  # too large for float32 is infinity there, as everywhere in IEEE
        return array.astype(np.float32, copy=False)


def _frozen(array: Array) -> Array:
    if array.flags.writeable or array.base is not None:
        array = array.copy()
        array.setflags(write=False)
    return array
