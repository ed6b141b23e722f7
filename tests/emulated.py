"""Instruction sets this machine lacks: their kernels cross-compiled and run by an emulator, behind ``runtime.kernels``.

``machine(isa)`` is a context in which ``grus.runtime.kernels`` runs on such a machine, its compiled part replaced by
csrc/tools/emulated.cpp under qemu-user. As a program (``python tests/emulated.py``) this file only builds that.
"""

from __future__ import annotations

import atexit
import platform
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import which
from typing import IO
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from grus.runtime import _native, kernels

Array = NDArray[np.float32]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "aarch64"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
CPU = "cortex-a53"  # the first of its kind: an instruction newer than that ends the program
ARM = platform.machine() in ("aarch64", "arm64")
ISAS = () if ARM else ("neon",)
MISSING = [tool for tool in (COMPILER, EMULATOR) if which(tool) is None]
SKIP = f"no {' and no '.join(MISSING)} to emulate it (Debian: g++-aarch64-linux-gnu, qemu-user)" if MISSING else ""

OPERATIONS = ("isas", "forward", "backward", "dense", "activation")
GIVEN = ("h0", "dy", "dh_n", "dx", "dW", "bias_ih", "bias_hh")


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
    commands = [[cmake, "--build", str(BUILD)]]
    if not (BUILD / "build.ninja").exists():
        options = [f"-D{name}={value}" for name, value in configure.items()]
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
    arrays: Sequence[Array | None] = (),
    results: Sequence[Array | None] = (),
    *,
    sizes: tuple[int, int, int, int] = (0, 0, 0, 0),
    isa: str = "",
    given: Sequence[str] = (),
    reset_after: bool = False,
    reverse: bool = False,
    threads: int = 1,
    function: int = 0,
) -> str:
    """Send the ``arrays`` that are given, fill the ``results`` that are wanted. ``sizes`` are T, B, I, H."""
    flags = sum(1 << GIVEN.index(name) for name in given)
    numbers = (OPERATIONS.index(operation), *sizes, reset_after, reverse, threads, flags, function)
    stdin, stdout = program().stdin, program().stdout
    assert stdin is not None and stdout is not None
    stdin.write(struct.pack("<10q16s", *map(int, numbers), isa.encode()))
    for array in arrays:
        if array is not None:
            stdin.write(np.ascontiguousarray(array).tobytes())
    stdin.flush()
    (length,) = struct.unpack("<q", read(stdout, 8))
    text = read(stdout, length).decode()
    if text and operation != "isas":
        raise RuntimeError(f"{isa}, emulated: {text}")
    for result in results:
        if result is not None:
            result[...] = np.frombuffer(read(stdout, result.size * 4), np.float32).reshape(result.shape)
    return text


def read(stream: IO[bytes], count: int) -> bytes:
    got = stream.read(count)
    if len(got) < count:
        raise RuntimeError(f"the emulated program ended with status {program().wait()}")
    return got


def names(**arrays: Array | None) -> list[str]:
    return [name for name, array in arrays.items() if array is not None]


@dataclass(frozen=True)
class Layer:
    """As ``grus.runtime._native.Layer``, but packed anew for every call."""

    weights: tuple[Array, Array, Array | None, Array | None]
    reset_after: bool
    isa: str
    training: bool

    def _ask(
        self,
        operation: str,
        x: Array,
        arrays: Sequence[Array | None],
        results: Sequence[Array | None],
        reverse: bool,
        threads: int,
        **given: Array | None,
    ) -> None:
        W, U, bias_ih, bias_hh = self.weights
        ask(
            operation,
            (*self.weights, x, *arrays),
            results,
            sizes=(x.shape[0], x.shape[1], W.shape[1], U.shape[1]),
            isa=self.isa,
            given=names(**given, bias_ih=bias_ih, bias_hh=bias_hh),
            reset_after=self.reset_after,
            reverse=reverse,
            threads=threads,
        )

    def forward(self, x: Array, h0: Array | None, y: Array, reverse: bool, threads: int, gates: None) -> None:
        self._ask("forward", x, [h0], [y], reverse, threads, h0=h0)

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
        given = {"h0": h0, "dy": dy, "dh_n": dh_n, "dx": dx, "dW": dW}
        results = [dh0, dx, dW, dU, db_i, db_h]
        self._ask("backward", x, [h0, y, dy, dh_n], results, reverse, threads, **given)


@dataclass(frozen=True)
class Dense:
    """As ``grus.runtime._native.Dense``."""

    weight: Array
    bias: Array | None
    isa: str

    def __call__(self, x: Array, y: Array, threads: int) -> None:
        given = names(bias_ih=self.bias)
        sizes = (1, len(x), x.shape[1], y.shape[1])
        ask("dense", (self.weight, self.bias, x), (y,), sizes=sizes, isa=self.isa, given=given, threads=threads)


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
        return Layer((weight_ih, weight_hh, bias_ih, bias_hh), reset_after, isa, training)

    def make_dense(self, weight: Array, bias: Array | None, isa: str) -> Dense:
        return Dense(weight, bias, isa)

    def activation(self, x: Array, y: Array, function: str, isa: str) -> None:
        ask("activation", (x,), (y,), sizes=(1, len(x), 1, 1), isa=isa, function=function == "tanh")


def machine(isa: str) -> AbstractContextManager[object]:
    """``grus.runtime.kernels`` on a machine that has this instruction set: this one, or an emulated one."""
    return patch.object(kernels, "_native", Native()) if isa in ISAS else nullcontext()


if __name__ == "__main__":
    print(f"{', '.join(ISAS)} is not tested: {SKIP}" if ISAS and SKIP else build() if ISAS else "nothing to emulate")
