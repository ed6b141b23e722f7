"""What the machine can do at best, measured in turn with the contestants: multiply-adds, and reads from each cache."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

FMA = "ceiling: multiply-adds"
_ROUND = 20_000_000  # flops or bytes of a thread: long beside a meeting of threads, short beside a scheduler's slice
_ROUNDS = 8  # in one call from Python
_SIZES = {1: 32 << 10, 2: 1 << 20}  # of caches, where Linux does not say


class Unmeasured(Exception):
    """Why there are no ceilings, in one line."""


def cache_bytes(level: int) -> int:
    """Of a core's cache of data, as Linux says."""
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            found, kind, size = ((folder / name).read_text("ascii").strip() for name in ("level", "type", "size"))
            if int(found) == level and kind != "Instruction":
                return int(size.removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    return _SIZES[level]


def reads() -> dict[str, int]:
    """Names, and how many bytes each thread reads over and over: half of L1, parts of L2, and what is past it."""
    l1, l2 = cache_bytes(1), cache_bytes(2)
    return {f"ceiling: reads of {size >> 10} KiB": size for size in (l1 // 2, l2 // 4, l2 // 2, l2, 2 * l2, 4 * l2)}


@dataclass(frozen=True)
class Ceilings:
    """Of ``threads`` cores at once: float32 multiply-adds in GFLOP/s, and reads in GB/s.

    ``reads``: the bytes that each reads over and over, and the rate. ``l1_bytes`` and ``l2_bytes`` are of one core.
    """

    threads: int
    fma_gflops: float
    reads: list[tuple[int, float]]
    l1_bytes: int
    l2_bytes: int

    @classmethod
    def of(cls, rates: dict[str, float], threads: int) -> Ceilings:
        curve = [(size, rates[name]) for name, size in reads().items()]
        return cls(threads, rates[FMA], curve, cache_bytes(1), cache_bytes(2))

    def gbs(self, level: int) -> float:
        """Of L1, L2 or L3: the best rate at sizes that are not read from a cache before it. L3 is from 2 · L2 on."""
        least = (0, self.l2_bytes // 4, 2 * self.l2_bytes)[level - 1]
        return max(rate for size, rate in self.reads if size >= least)


@cache
def prepare(threads: int) -> dict[str, Callable[[float], float]]:
    """By name: over so many seconds, the best rate of all threads together. Raises Unmeasured without a compiler."""
    probe = _Probe(threads)
    return {FMA: partial(probe.rate, 0), **{name: partial(probe.rate, size) for name, size in reads().items()}}


class _Probe:
    """``ceilings.c``, each thread with numbers of its own to read."""

    def __init__(self, threads: int) -> None:
        self.library = _compiled()
        self.pool = ThreadPoolExecutor(threads)
        self.threads, self.stride = threads, max(reads().values())
        self.data = np.ones(threads * self.stride + 64, np.uint8)
        self.times = np.empty((2, threads, _ROUNDS))  # when each round began and ended

    def rate(self, size: int, seconds: float) -> float:
        """Billions of bytes a second, or of flops for a size of 0, in the best of the rounds."""
        best, until = 0.0, time.perf_counter() + seconds
        while best == 0 or time.perf_counter() < until:
            list(self.pool.map(partial(self._work, size), range(self.threads)))
            begin, end = self.times
            best = max(best, self.threads * self._amount(size) / (end.max(axis=0) - begin.min(axis=0)).min() / 1e9)
        return float(best)

    def _amount(self, size: int) -> float:
        """Of work in a round of one thread."""
        return size * max(1, _ROUND // size) if size else _ROUND

    def _work(self, size: int, thread: int) -> None:
        begin, end = (ctypes.c_void_p(array[thread].ctypes.data) for array in self.times)
        amount = self._amount(size)
        if not size:
            self.library.multiply_adds(self.threads, _ROUNDS, ctypes.c_double(amount), begin, end)
            return
        first = -(-self.data.ctypes.data // 64) * 64 + thread * self.stride
        sizes = int(amount // size), ctypes.c_void_p(first), ctypes.c_size_t(size)
        self.library.reads(self.threads, _ROUNDS, *sizes, begin, end)


def _compiled() -> ctypes.CDLL:
    """For this very CPU, and without AVX-512 where Grus is kept from it."""
    compiler = os.environ.get("CC") or "cc"
    flags = ["-O3", "-march=native", *(["-mno-avx512f"] if os.environ.get("GRUS_ISA") == "avx2" else [])]
    with TemporaryDirectory() as folder:
        target = Path(folder) / "ceilings.so"
        command = [*shlex.split(compiler), *flags, "-shared", "-fPIC", str(Path(__file__).with_suffix(".c"))]
        try:
            subprocess.run([*command, "-o", str(target)], check=True, capture_output=True, text=True)
        except OSError:
            raise Unmeasured(f"no C compiler {compiler!r}; install one, or name it in CC") from None
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no word why"])[-1]
            raise Unmeasured(f"{compiler} does not compile benchmarks/ceilings.c: {last[:200]}") from None
        return ctypes.CDLL(str(target))
