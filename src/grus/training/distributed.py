"""The processes of one training: torchrun starts them, PyTorch's own engine connects them.

Without torchrun there is one process, and nothing here touches ``torch.distributed``.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.utils.weak import TensorWeakRef

from grus.errors import InputError
from grus.training.torchrun import restarts

__all__ = ["Processes", "add", "current", "from_first", "gather", "leave", "start"]


CPU = torch.device("cpu")
SILENCE = timedelta(minutes=30)  # after which a process counts as lost; the others wait so long while one validates
PATIENCE = 5.0  # seconds at most that the end of the program waits for the engine's threads


@dataclass(frozen=True)
class Processes:
    """Which process this is: number ``rank`` of ``world``, computing on ``device``."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """The first process writes the files and tells of the progress; the others are silent."""
        return self.rank == 0


_current = Processes()
_handed_over: deque[TensorWeakRef] = deque(maxlen=64)  # the newest tensors the engine's threads may still hold


def current() -> Processes:
    """What :func:`start` gave last; one process on the CPU before."""
    return _current


def start(device: str = "cpu") -> Processes:
    """Meet the processes that torchrun started beside this one; one process where it did not.

    ``device`` "cpu" connects them by gloo, "cuda" by NCCL, each process on the GPU of its local rank. A second call
    gives what the first gave. Raises InputError where there is no such device or the others cannot be reached.
    """
    global _current
    if dist.is_available() and dist.is_initialized():
        return _current
    if device not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}, expected 'cpu' or 'cuda'")
    world, local = _number("WORLD_SIZE", 1), _number("LOCAL_RANK", 0)
    if device == "cuda" and local >= torch.cuda.device_count():
        count, asked = torch.cuda.device_count(), _number("LOCAL_WORLD_SIZE", local + 1)
        if not count:
            raise InputError("device is 'cuda', but this machine has no GPU that PyTorch can use: take 'cpu'", "device")
        raise InputError(
            f"device is 'cuda', but this machine has fewer GPUs ({count}) than processes ({asked})", "device"
        )
    place = torch.device(device, local) if device == "cuda" else CPU
    if world > 1:
        if device == "cuda":
            torch.cuda.set_device(place)
        try:
            _connect("nccl" if device == "cuda" else "gloo")
        except (ValueError, RuntimeError) as error:
            raise InputError(f"the {world} processes of torchrun cannot meet: {error}") from error
        atexit.register(dist.destroy_process_group)
        atexit.register(_settle)  # what is registered last runs first
    _current = Processes(dist.get_rank() if world > 1 else 0, world, place)
    return _current


def _connect(backend: str) -> None:
    store, rank, world = next(rendezvous("env://"))
    # torchrun's restarts share a store, in which the dead processes' addresses still stand
    store = dist.PrefixStore(restarts(), store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=SILENCE)


def _settle() -> None:
    """Wait until the engine's threads have let go of the tensors they were handed.

    A thread of gloo may drop its reference after the waiting thread has gone on. Where that is the last one, it needs
    the interpreter, and one that is ending already would be aborted by it.
    """
    end = time.monotonic() + PATIENCE
    while any(tensor() is not None for tensor in _handed_over) and time.monotonic() < end:
        time.sleep(1e-3)


def _handed(tensor: Tensor) -> Tensor:
    """``tensor``, to be given to the engine."""
    _handed_over.append(TensorWeakRef(tensor))
    return tensor


def leave(status: int) -> None:
    """End this process, where it is one of several, with what it has printed and ``status``.

    A network once wrapped for the reduction of its gradients keeps gloo's threads alive, whatever becomes of the group;
    this way no interpreter ends beneath them. Nothing that is registered for its end runs: close files before.
    """
    if _current.world == 1:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no one reads it any more, which is no reason to stay
            stream.flush()
    os._exit(status)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal():
        raise InputError(f"the environment variable {variable} is {text!r}, expected a number, as torchrun sets it")
    return int(text)


def add(values: list[float]) -> list[float]:
    """The sum over all processes of each value, in float64."""
    if _current.world == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=_current.device)
    dist.all_reduce(_handed(tensor))
    result: list[float] = tensor.tolist()
    return result


def gather(data: bytes) -> list[bytes]:
    """The data of every process, by rank."""
    if _current.world == 1:
        return [data]
    sizes = [0.0] * _current.world
    sizes[_current.rank] = float(len(data))
    lengths = [int(size) for size in add(sizes)]
    mine = _padded(data, max(lengths))
    everyone = [_handed(torch.empty_like(mine)) for _ in lengths]
    dist.all_gather(everyone, _handed(mine))
    return [_bytes(tensor[:length]) for tensor, length in zip(everyone, lengths, strict=True)]


def from_first(make: Callable[[], bytes]) -> bytes:
    """What ``make`` gives in the first process, in all of them; the InputError it raises is raised in all of them."""
    if _current.world == 1:
        return make()
    data, refused = b"", False
    if _current.first:
        try:
            data = make()
        except InputError as error:
            data, refused = str(error).encode(), True
    length, wrong = (int(value) for value in add([float(len(data)), float(refused)]))
    tensor = _padded(data, length)
    if length:
        dist.broadcast(_handed(tensor), src=0)
    if wrong:
        raise InputError(_bytes(tensor).decode())
    return _bytes(tensor)


def _padded(data: bytes, length: int) -> Tensor:
    return torch.tensor(np.frombuffer(data.ljust(length, b"\0"), np.uint8), device=_current.device)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.cpu().numpy().tobytes()
