"""Instruction sets this machine lacks: their kernels cross-compiled and run by an emulator, behind ``runtime.kernels``.

``machine(isa)`` is a context in which ``grus.runtime.kernels`` runs on such a machine, its compiled part replaced by
csrc/tools/emulated.cpp under qemu-user. As a program (``python tests/emulated.py``) this file only builds that.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import platform
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import which
from typing import IO, Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from grus.runtime import _native, kernels, normalise

Array = NDArray[np.float32]
Arrays = Mapping[str, "NDArray[Any] | None"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "aarch64"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
CPU = "cortex-a53"  # the first of its kind: an instruction newer than that ends the program
ARM = platform.machine() in ("aarch64", "arm64")
ISAS = () if ARM else ("neon",)
MISSING = [tool for tool in (COMPILER, EMULATOR) if which(tool) is None]
SKIP = f"no {' and no '.join(MISSING)} to emulate it (Debian: g++-aarch64-linux-gnu, qemu-user)" if MISSING else ""

OPERATIONS = ("isas", "forward", "backward", "dense", "normalise", "activation")
GIVEN = ("h0", "dy", "dh_n", "dx", "dU", "bias_ih", "bias_hh", "gain_hh", "marks", "restart", "zone", "drop", "h_n")
GIVEN += ("drestart", "add_dx", "as_given")


def build() -> Path:
    """The program, up to date with csrc/."""
    beside = str(Path(sys.executable).parent)  # where a virtual environment keeps its tools
    cmake, ninja = (which(tool, path=beside) or which(tool) or tool for tool in ("cmake", "ninja"))
    configure = {
        "CMAKE_MAKE_PROGRAM": ninja,
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": COMPILER,
        "GRUS_EMULATED": "ON",
        "GRUS_WERROR": "ON",
    }
    options = [f"-D{name}={value}" for name, value in configure.items()]
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, and two builds at once break each other's records
        commands = [[cmake, "--build", str(BUILD)]]
        if not (BUILD / "build.ninja").exists():
            commands.insert(0, [cmake, "-G", "Ninja", "-S", str(ROOT), "-B", str(BUILD), *options])
        for command in commands:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}")
    return BUILD / "grus_emulated"


@lru_cache(maxsize=1)
def program() -> subprocess.Popen[bytes]:
    command = [EMULATOR, "-cpu", CPU, str(build())]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(started.communicate)  # closes its input, by which it ends
    return started


def ask(
    operation: str,
    arrays: Arrays | None = None,
    results: Arrays | None = None,
    *,
    sizes: tuple[int, int, int, int] = (0, 0, 0, 0),
    isa: str = "",
    as_given: bool = False,
    reset_after: bool = False,
    reverse: bool = False,
    threads: int = 1,
    function: int = 0,
    save: int = 0,
    zone_all: float = 0.0,
) -> str:
    """Send the ``arrays`` that are there, fill the ``results`` that are wanted, in order. ``sizes`` are T, B, I, H."""
    sent, wanted = ({k: v for k, v in (some or {}).items() if v is not None} for some in (arrays, results))
    flags = sum(1 << i for i, name in enumerate(GIVEN) if name in sent or name in wanted)
    flags |= as_given << GIVEN.index("as_given")
    numbers = (OPERATIONS.index(operation), *sizes, reset_after, reverse, threads, flags, function, save)
    stdin, stdout = program().stdin, program().stdout
    assert stdin is not None and stdout is not None
    stdin.write(struct.pack("<11qd16s", *map(int, numbers), zone_all, isa.encode()))
    for array in sent.values():
        stdin.write(np.ascontiguousarray(array).tobytes())
    stdin.flush()
    (length,) = struct.unpack("<q", read(stdout, 8))
    text = read(stdout, length).decode()
    if text and operation != "isas":
        raise RuntimeError(f"{isa}, emulated: {text}")
    for result in wanted.values():
        result[...] = np.frombuffer(read(stdout, result.size * 4), np.float32).reshape(result.shape)
    return text


def read(stream: IO[bytes], count: int) -> bytes:
    got = stream.read(count)
    if len(got) < count:
        raise RuntimeError(f"the emulated program ended with status {program().wait()}")
    return got


def at(
    address: int, shape: tuple[int, ...], *strides: int, dtype: type[np.generic] = np.float32
) -> NDArray[Any] | None:
    """What lies at an address, None for 0; strides count elements, and those that are left out are contiguous."""
    if not address:
        return None
    dense = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    steps = [*strides, *dense[len(strides) :]]
    extent = 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    item = np.dtype(dtype).itemsize
    memory = np.frombuffer((ctypes.c_char * (extent * item)).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(memory, shape, [step * item for step in steps])


class Saved(NamedTuple):
    """As ``grus.runtime._native.Gates``, but there are none: the way back walks forward once more."""

    first_step: int


@dataclass(frozen=True)
class Layer:
    """As ``grus.runtime._native.Layer``, but packed anew for every call, or sent as given."""

    weights: Arrays
    input_size: int
    hidden_size: int
    reset_after: bool
    isa: str
    training: bool
    as_given: bool = False

    def _ask(
        self, operation: str, arrays: Arrays, results: Arrays, reverse: bool, threads: int, save: int, zone: float = 0.0
    ) -> None:
        x = arrays["x"]
        assert x is not None
        ask(
            operation,
            {**self.weights, **arrays},
            results,
            sizes=(x.shape[0], x.shape[1], self.input_size, self.hidden_size),
            isa=self.isa,
            as_given=self.as_given,
            reset_after=self.reset_after,
            reverse=reverse,
            threads=threads,
            save=save,
            zone_all=zone,
        )

    def gates(self, T: int, B: int, steps: int) -> Saved:
        return Saved(T - steps)

    def forward(self, x: Array, h0: Array | None, y: Array, reverse: bool, threads: int, gates: Saved | None) -> None:
        self._ask("forward", {"x": x, "h0": h0}, {"y": y}, reverse, threads, kept(len(x), gates))

    def step(self, x: Array, h: Array, y: Array) -> None:
        self.forward(x[None], h, y[None], False, kernels.get_num_threads(), None)

    def backward(
        self,
        x: Array,
        h0: Array | None,
        y: Array,
        dy: Array | None,
        dh_n: Array | None,
        dx: Array | None,
        dh0: Array,
        dW: Array | None,
        dU: Array | None,
        db_i: Array | None,
        db_h: Array | None,
        reverse: bool,
        threads: int,
        gates: None,
    ) -> None:
        arrays = {"x": x, "h0": h0, "y": y, "dy": dy, "dh_n": dh_n}
        results = {"dh0": dh0, "dx": dx, "dW": dW, "dU": dU, "db_i": db_i, "db_h": db_h}
        self._ask("backward", arrays, results, reverse, threads, (len(x) + 1) // 2)  # some are kept, the others not

    def _both(self, call: kernels.ForwardCall | kernels.BackwardCall) -> dict[str, NDArray[Any] | None]:
        """What both passes are given."""
        T, B, H, more = call.steps, call.batch, self.hidden_size, call.more or kernels.Extras()
        return {
            "x": at(call.x[0], (T, B, self.input_size), *call.x[1:]),
            "h0": at(call.h0[0], (B, H), *call.h0[1:]),
            "marks": at(more.marks, (T, B), dtype=np.uint8),
            "restart": at(more.restart[0], (B, H), *more.restart[1:]),
            "zone": at(more.zone, (T, B, H)),
            "drop": at(more.drop, (B, H)),
        }

    def _ask_at(
        self, operation: str, call: kernels.ForwardCall | kernels.BackwardCall, arrays: Arrays, results: Arrays
    ) -> None:
        zone = 0.0 if call.more is None else call.more.zone_all
        threads, save = kernels.get_num_threads(), kept(call.steps, call.gates)
        self._ask(operation, {**self._both(call), **arrays}, results, call.reverse, threads, save, zone)

    def forward_at(self, call: kernels.ForwardCall, limited: bool) -> None:
        T, B, H = call.steps, call.batch, self.hidden_size
        results = {"y": at(call.y[0], (T, B, H), *call.y[1:]), "h_n": at(call.h_n, (B, H))}
        self._ask_at("forward", call, {}, results)

    def backward_at(self, call: kernels.BackwardCall) -> None:
        T, B, I, H = call.steps, call.batch, self.input_size, self.hidden_size  # noqa: E741
        dx, drestart = at(call.dx[0], (T, B, I), *call.dx[1:]), at(call.drestart, (B, H))
        arrays = {
            "y": at(call.y[0], (T, B, H), *call.y[1:]),
            "dy": at(call.dy[0], (T, B, H), *call.dy[1:]),
            "dh_n": at(call.dh_n, (B, H)),
            "add_dx": dx if call.add_dx else None,
            "drestart": drestart,
        }
        shapes = {"dW": (3 * H, I), "dU": (3 * H, H), "db_i": (3 * H,), "db_h": (3 * H,), "dgain": (3 * H,)}
        by_weights = {name: at(place, shapes[name]) for name, place in zip(shapes, call.by_weights, strict=True)}
        results = {"dh0": at(call.dh0, (B, H)), "dx": dx, **by_weights, "drestart": drestart}
        self._ask_at("backward", call, arrays, results)


def kept(steps: int, gates: Any) -> int:
    return 0 if gates is None else steps - gates.first_step


@dataclass(frozen=True)
class Dense:
    """As ``grus.runtime._native.Dense``."""

    weight: Array
    bias: Array | None
    isa: str

    def __call__(self, x: Array, y: Array, threads: int) -> None:
        arrays = {"weight": self.weight, "bias_ih": self.bias, "x": x}
        ask("dense", arrays, {"y": y}, sizes=(1, len(x), x.shape[1], y.shape[1]), isa=self.isa, threads=threads)


class Native:
    """What ``grus.runtime._native`` is on the emulated machine."""

    def __init__(self) -> None:
        self.threads, self.set_threads = _native.threads, _native.set_threads

    def isas(self) -> list[str]:
        return ask("isas").split()

    def default_isa(self) -> str:
        return self.isas()[0]

    def make_layer(
        self,
        weight_ih: Array,
        weight_hh: Array,
        bias_ih: Array | None,
        bias_hh: Array | None,
        reset_after: bool,
        isa: str,
        training: bool,
        keep: bool = False,
    ) -> Layer:
        weights = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}
        return Layer(weights, weight_ih.shape[1], weight_hh.shape[1], reset_after, isa, training)

    def make_layer_at(self, I: int, H: int, *rest: Any) -> Layer:  # noqa: E741
        *addresses, reset_after, isa, training, _ = rest
        weights = {name: None if w is None else w.copy() for name, w in weights_at(I, H, *addresses).items()}
        return Layer(weights, I, H, reset_after, isa, training)

    def make_layer_as_given(self, I: int, H: int, *rest: Any) -> Layer:  # noqa: E741
        *addresses, reset_after = rest
        return Layer(weights_at(I, H, *addresses), I, H, reset_after, self.default_isa(), True, as_given=True)

    def make_dense(self, weight: Array, bias: Array | None, isa: str) -> Dense:
        return Dense(weight, bias, isa)

    def normalise(self, x: Array, gain: Array, bias: Array | None, y: Array, isa: str, threads: int) -> None:
        arrays = {"x": x, "gain": gain, "bias_ih": bias}
        ask("normalise", arrays, {"y": y}, sizes=(1, len(x), 1, len(gain) // 3), isa=isa, threads=threads)

    def normalise_back(
        self, x: Array, gain: Array, dy: Array, dx: Array, dgain_dbias: Array, isa: str, threads: int
    ) -> None:
        results, sizes = {"dx": dx, "dgain_dbias": dgain_dbias}, (1, len(x), 1, len(gain) // 3)
        ask("normalise", {"x": x, "gain": gain, "dy": dy}, results, sizes=sizes, isa=isa, threads=threads)

    def activation(self, x: Array, y: Array, function: str, isa: str) -> None:
        ask("activation", {"x": x}, {"y": y}, sizes=(1, len(x), 1, 1), isa=isa, function=function == "tanh")


def weights_at(I: int, H: int, *addresses: int) -> dict[str, Array | None]:  # noqa: E741
    shapes = {"weight_ih": (3 * H, I), "weight_hh": (3 * H, H), "bias_ih": (3 * H,), "bias_hh": (3 * H,)}
    shapes["gain_hh"] = (3 * H,)
    return {name: at(place, shapes[name]) for name, place in zip(shapes, addresses, strict=True)}


@contextmanager
def machine(isa: str) -> Iterator[None]:
    """``grus.runtime.kernels`` on a machine that has this instruction set: this one, or an emulated one."""
    with ExitStack() as stack:
        for module in (kernels, normalise) if isa in ISAS else ():
            stack.enter_context(patch.object(module, "_native", Native()))
        yield


if __name__ == "__main__":
    print(f"{', '.join(ISAS)} is not tested: {SKIP}" if ISAS and SKIP else build() if ISAS else "nothing to emulate")
