"""How many threads a call through ``grus.torch`` has: no more than PyTorch, unless a number was chosen for Grus."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs, and Linux"
    ),
]

# what is run in a process of its own: `started(call)` is which threads the call starts, `woken(call, threads)` whether
# one of them ran meanwhile
START = """
import os, threading, time
import torch, grus, grus.torch
from grus.runtime import kernels

def switches(thread):
    with open(f"/proc/self/task/{thread}/status") as lines:
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

def started(call):
    before = set(os.listdir("/proc/self/task"))
    call()
    return set(os.listdir("/proc/self/task")) - before

def woken(call, threads):
    time.sleep(0.05)  # until they sleep
    before = {thread: switches(thread) for thread in threads}
    call()
    time.sleep(0.05)
    return any(switches(thread) != before[thread] for thread in threads)

def infer():
    with torch.no_grad():
        layer(x)

def train():
    layer(x)[0].sum().backward()

def by_numpy():
    dense(array)

layer = grus.torch.GRU(64, 160)
dense, array = kernels.Dense(torch.randn(8, 64).numpy()), torch.randn(4000, 64).numpy()
x = torch.randn(60, 40, 64)
torch.set_num_threads(1)  # PyTorch starts no threads of its own
"""


def run(code: str, **environment: str) -> list[str]:
    others = ("GRUS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "layer",
    ["GRU(64, 160)", "GRU(64, 64, bidirectional=True)", "GRU(64, 400, layer_norm=True)"],  # 400: packed by several
)
def test_pytorch_s_limit_counts_at_each_call(layer: str) -> None:
    found = run(f"""
layer = grus.torch.{layer}
print(len(started(train)))
workers = started(by_numpy)
print(len(workers))
print(woken(train, workers), woken(infer, workers))
torch.set_num_threads(2)
print(woken(train, workers), woken(infer, workers))
torch.set_num_threads(1)
print(woken(train, workers), woken(infer, workers))
""")
    assert found == ["0", "1", "False", "False", "True", "True", "False", "False"]


def test_a_compiled_call_too() -> None:
    found = run("""
run, = (torch.ops.grus.layer,)
weights = [p.detach() for p in layer.parameters()]
def operator():
    run(x, None, *weights, *[None] * 6, 0.0, True, False, False, False, 0)
print(len(started(operator)), len(started(by_numpy)))
""")
    assert found == ["0", "1"]


def test_a_chosen_number_goes_before_it() -> None:
    assert run("print(len(started(train)))", GRUS_NUM_THREADS="2") == ["1"]
    assert run("grus.set_num_threads(2); print(len(started(train)))") == ["1"]
    assert run("grus.set_num_threads(1); torch.set_num_threads(2); print(len(started(infer)))") == ["0"]


def test_threadpoolctl() -> None:
    """By which scikit-learn and joblib limit other libraries: PyTorch's OpenMP, and so ours."""
    pytest.importorskip("threadpoolctl")
    found = run("""
import threadpoolctl
torch.set_num_threads(2)
torch.get_num_threads()  # the first of a thread sets OpenMP's number
with threadpoolctl.threadpool_limits(1):
    print(len(started(infer)))
print(len(started(infer)))
""")
    assert found == ["0", "1"]


def test_a_data_loader_s_worker_has_one_thread() -> None:
    found = run("""
def workers(seed):
    return len(started(infer))
torch.set_num_threads(2)
loaded = torch.utils.data.DataLoader([0], num_workers=1, collate_fn=workers)
print(*loaded, len(started(infer)))
""")
    assert found == ["0", "1"]


def test_a_session_has_a_number_of_its_own() -> None:
    """Also where its rows have lengths, which goes by address like PyTorch's."""
    found = run("""
from grus.runtime.operations import _ending
import numpy as np
from grus.weights import GRUWeights
workers = started(by_numpy)
own = kernels.Layer(GRUWeights(*(p.detach().numpy() for p in layer.parameters())))
def with_lengths():
    _ending(own, x.numpy(), None, False, np.full(40, 60))
print(woken(with_lengths, workers), woken(infer, workers))
""")
    assert found == ["True", "False"]


def test_the_bits_are_the_same() -> None:
    found = run("""
def bits():
    layer.zero_grad()
    y, h_n = layer(x)
    y.sin().sum().backward()
    return [y, h_n, *(p.grad for p in layer.parameters())]
one = bits()
torch.set_num_threads(2)
print(all(torch.equal(a, b) for a, b in zip(one, bits())))
""")
    assert found == ["True"]
