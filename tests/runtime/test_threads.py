"""Threads: the same bits from several calling threads and in a forked child, nothing spinning when idle."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from grus.errors import InputError
from grus.runtime import _native, kernels
from grus.weights import GRUWeights

RNG = np.random.default_rng(0)


def layer(hidden: int, inputs: int) -> kernels.Layer:
    def draw(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return RNG.uniform(-0.2, 0.2, shape).astype(np.float32)

    rows = 3 * hidden
    return kernels.Layer(GRUWeights(draw(rows, inputs), draw(rows, hidden), draw(rows), draw(rows)))


@pytest.mark.alone
@pytest.mark.parametrize(("batch", "hidden"), [(1, 192), (40, 64)])  # units shared, then rows shared
def test_callers_at_once_get_the_bits_of_one(batch: int, hidden: int) -> None:
    gru = layer(hidden, 24)
    x = RNG.normal(size=(60, batch, 24)).astype(np.float32)
    expected, _ = gru.forward(x, threads=1)
    wrong = []

    def call() -> None:
        for threads in (1, 2, 3, 2, 4, 2):
            y, _ = gru.forward(x, threads=threads)
            if y.tobytes() != expected.tobytes():
                wrong.append(threads)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    assert not wrong


@pytest.mark.alone
def test_a_forked_child_starts_its_own_workers() -> None:
    gru = layer(192, 24)
    x = RNG.normal(size=(60, 1, 24)).astype(np.float32)
    expected, _ = gru.forward(x, threads=2)
    child = os.fork()
    if child == 0:
        y, _ = gru.forward(x, threads=2)
        os._exit(0 if y.tobytes() == expected.tobytes() else 1)
    deadline = time.monotonic() + 30
    status = None
    while status is None and time.monotonic() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        time.sleep(0.01)
    if status is None:
        os.kill(child, 9)
    assert status == 0
    again, _ = gru.forward(x, threads=2)
    assert again.tobytes() == expected.tobytes()


@pytest.mark.alone
def test_idle_workers_burn_no_time() -> None:
    gru = layer(192, 24)
    gru.forward(RNG.normal(size=(60, 1, 24)).astype(np.float32), threads=2)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


@pytest.mark.alone
def test_set_num_threads() -> None:
    before = kernels.get_num_threads()
    try:
        kernels.set_num_threads(3)
        assert kernels.get_num_threads() == 3
    finally:
        kernels.set_num_threads(before)
    for bad in (0, -1, 2.0, "2", True, None):
        with pytest.raises(InputError, match="count is"):
            kernels.set_num_threads(bad)  # type: ignore[arg-type]


def in_a_new_process(*, first: str = "", **environment: str) -> tuple[int, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("GRUS_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", f"{first}\nimport grus; print(grus.get_num_threads())"]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True)
    return int(done.stdout), done.stderr


def count_in_a_new_process(*, first: str = "", **environment: str) -> int:
    return in_a_new_process(first=first, **environment)[0]


@pytest.mark.alone
def test_environment_variable() -> None:
    default = count_in_a_new_process()
    assert 1 <= default <= len(os.sched_getaffinity(0))
    assert count_in_a_new_process(GRUS_NUM_THREADS=str(default + 2)) == default + 2
    for junk in ("junk", "0", ""):
        assert count_in_a_new_process(GRUS_NUM_THREADS=junk) == default


def test_openmp_s_variable() -> None:
    default = count_in_a_new_process()
    assert in_a_new_process(OMP_NUM_THREADS="1") == (1, "")
    assert count_in_a_new_process(OMP_NUM_THREADS="1,2") == 1, "a count a level"
    assert count_in_a_new_process(OMP_NUM_THREADS=str(default + 2)) == default, "no more than there are"
    assert count_in_a_new_process(OMP_NUM_THREADS="1", GRUS_NUM_THREADS=str(default + 2)) == default + 2, (
        "ours goes first"
    )
    for name in ("OMP_NUM_THREADS", "GRUS_NUM_THREADS"):
        found, said = in_a_new_process(**{name: "two"})
        assert found == default
        assert said == f"grus: {name} is 'two', expected a number of threads from 1 to 1024: left out\n"


def group(root: Path, name: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file.replace("_", ".", 1)).write_text(text + "\n")


def in_groups(root: Path, text: str) -> int:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text(text)
    return _native.quota(str(root))


@pytest.mark.parametrize(
    ("said", "cpus"), [("150000 100000", 2), ("100000 100000", 1), ("50000 100000", 1), ("max 100000", 0), ("junk", 0)]
)
def test_quota_of_a_container(tmp_path: Path, said: str, cpus: int) -> None:
    group(tmp_path, "", cpu_max=said)
    assert in_groups(tmp_path, "0::/\n") == cpus
    assert in_groups(tmp_path, "0::/of/the/host\n") == cpus, "whose folder is not seen from inside"


def test_quota_is_the_least_of_all_groups_around(tmp_path: Path) -> None:
    group(tmp_path, "", cpu_max="max 100000")
    group(tmp_path, "user.slice", cpu_max="310000 100000")
    group(tmp_path, "user.slice/one", cpu_max="40000 10000")
    group(tmp_path, "user.slice/two", cpu_max="200000 100000")
    assert in_groups(tmp_path, "0::/user.slice/one\n") == 4
    assert in_groups(tmp_path, "0::/user.slice/two\n") == 2
    assert in_groups(tmp_path, "0::/elsewhere\n") == 0


@pytest.mark.parametrize("tree", ["cpu", "cpu,cpuacct"])
def test_quota_of_version_1(tmp_path: Path, tree: str) -> None:
    group(tmp_path, tree, cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    group(tmp_path, f"{tree}/job", cpu_cfs_quota_us="250000", cpu_cfs_period_us="100000")
    group(tmp_path, "cpuset/other", cpu_cfs_quota_us="1", cpu_cfs_period_us="100000")
    assert in_groups(tmp_path, f"5:cpuset:/other\n4:{tree}:/job\n0::/\n") == 3
    assert in_groups(tmp_path, f"4:{tree}:/\n") == 0


def test_quota_of_a_tree_of_both_versions(tmp_path: Path) -> None:
    group(tmp_path, "unified/job", cpu_max="150000 100000")
    assert in_groups(tmp_path, "1:name=systemd:/\n0::/job\n") == 2


def test_no_groups(tmp_path: Path) -> None:
    assert _native.quota(str(tmp_path)) == 0


def test_affinity() -> None:
    first = min(os.sched_getaffinity(0))
    assert count_in_a_new_process(first=f"import os; os.sched_setaffinity(0, {{{first}}})") == 1
