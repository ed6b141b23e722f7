"""Each peer in a process of its own: nobody's threads, allocator or compiler flags meet another's."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import ceilings, clock
from benchmarks.cases import Case, Problem
from benchmarks.peers import PEERS, Contestant

# What keeps each library to AVX2. ONNX Runtime has no such switch.
_AVX2 = {
    "GRUS_ISA": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GRUS_NUM_THREADS", "NPROC", "PJRT_NPROC")


class WorkerError(Exception):
    """What went wrong in a peer's process, in one line."""


class Worker:
    """The parent's end of one peer's process."""

    def __init__(self, peer: str, threads: int, isa: str | None = None) -> None:
        environment = dict.fromkeys(_THREADS, str(threads)) | {"OPENBLAS_NUM_THREADS": "1"}
        environment |= _AVX2 if isa == "avx2" else {}
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, peer, threads), daemon=True, name=peer)
        with _environment(environment):
            self._process.start()
        theirs.close()

    def prepare(self, case: Case) -> list[str]:
        """Build the peer's contestants for a case; their names."""
        return list(self._call("prepare", case))

    def prepare_ceilings(self) -> tuple[list[str], str]:
        names, reason = self._call("prepare_ceilings")
        return list(names), str(reason)

    def arrays(self, name: str) -> dict[str, Any]:
        """Run a contestant once; its results by the names of the gate."""
        return dict(self._call("arrays", name))

    def microseconds(self, name: str, seconds: float) -> float:
        return float(self._call("microseconds", name, seconds))

    def rate(self, name: str, seconds: float) -> float:
        return float(self._call("rate", name, seconds))

    def close(self) -> None:
        self._connection.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()

    def _call(self, *message: object) -> Any:
        try:
            self._connection.send(message)
            worked, value = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerError(f"its process ended with status {self._process.exitcode}") from None
        if not worked:
            raise WorkerError(value)
        return value


class _Bench:
    """The child's end."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer, self.threads = peer, threads
        self.contestants: dict[str, Contestant] = {}
        self.ceilings: dict[str, Callable[[float], float]] = {}

    def prepare(self, case: Case) -> list[str]:
        self.contestants = {}  # the last case's memory goes first
        self.contestants = importlib.import_module(PEERS[self.peer].module).prepare(Problem(case), self.threads)
        return list(self.contestants)

    def prepare_ceilings(self) -> tuple[list[str], str]:
        try:
            self.ceilings = ceilings.prepare(self.threads)
        except ceilings.Unmeasured as error:
            return [], str(error)
        return list(self.ceilings), ""

    def arrays(self, name: str) -> dict[str, Any]:
        contestant = self.contestants[name]
        return contestant.arrays(contestant.run())

    def microseconds(self, name: str, seconds: float) -> float:
        return clock.microseconds(self.contestants[name].run, seconds)

    def rate(self, name: str, seconds: float) -> float:
        return self.ceilings[name](seconds)


def _serve(connection: Connection, peer: str, threads: int) -> None:
    os.sched_setaffinity(0, _cpus(threads))
    bench = _Bench(peer, threads)
    while True:
        try:
            command, *arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = True, getattr(bench, command)(*arguments)
        except Exception as error:  # whatever a peer raises is a row of the report
            answer = False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        connection.send(answer)


@contextmanager
def busy_neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process that computes without end on the first of the CPUs the contestants use."""
    code = f"import os; os.sched_setaffinity(0, {{{min(_cpus(1))}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _cpus(threads: int) -> set[int]:
    """So many of the CPUs this process may use, on different cores while there are: some peers take all they see."""
    allowed = sorted(os.sched_getaffinity(0))
    first: dict[str, int] = {}
    for cpu in allowed:
        first.setdefault(_core(cpu), cpu)
    chosen = list(first.values())
    return set((chosen + [cpu for cpu in allowed if cpu not in chosen])[:threads])


def _core(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
