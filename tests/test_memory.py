"""What training keeps: nothing per time step but input and output; measured beside ``torch.nn.GRU``."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

import grus.torch

# Peak growth of one training pass over what the process held before, in MiB. VmHWM and not ru_maxrss, which a child
# inherits from a larger parent; writing 5 to clear_refs sets it back to what is held now.
MEASURE = """
import sys, torch, grus.torch

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024

T, B, size = 500, 32, 256
module = eval(sys.argv[1])(size, size)
small = torch.randn(8, B, size, requires_grad=True)  # more steps than a short call has, which packs nothing
for _ in range(2):  # what is allocated once: threads, workspaces, packed weights, gradients of the weights
    module(small)[0].sum().backward()
x = torch.randn(T, B, size, requires_grad=True)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
module(x)[0].square().sum().backward()
assert x.grad is not None and bool(x.grad.any())
print(status("VmHWM") - before)
"""


def peak_growth(python: Callable[..., CompletedProcess[str]], layer: str) -> float:
    result = python(MEASURE.replace("sys.argv[1]", repr(layer)))
    if "clear_refs" in result.stderr:
        pytest.skip("this system has no /proc/self/clear_refs to measure with")
    assert result.returncode == 0, result.stderr
    return float(result.stdout)


@pytest.mark.alone
def test_peak_memory_beside_pytorch(python: Callable[..., CompletedProcess[str]]) -> None:
    theirs, ours = (peak_growth(python, layer) for layer in ("torch.nn.GRU", "grus.torch.GRU"))
    print(f"peak growth at T=500, B=32, I=H=256: grus {ours:.0f} MiB, torch {theirs:.0f} MiB, {ours / theirs:.2f}")
    array = 500 * 32 * 256 * 4 / 2**20
    assert theirs > 4 * array, "the measurement of torch.nn.GRU is not to be believed"
    assert 2.5 * array < ours <= 0.35 * theirs


@pytest.mark.alone
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_what_autograd_saves(bidirectional: bool, batch_first: bool, layers: int) -> None:
    module = grus.torch.GRU(5, 7, layers, bidirectional=bidirectional, batch_first=batch_first)
    x, h0 = torch.randn(6, 4, 5, requires_grad=True), torch.randn(2 * layers if bidirectional else layers, 1, 7)
    h0 = h0.expand(-1, 6 if batch_first else 4, -1).clone().requires_grad_()
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> Any:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y, _ = module(x, h0)
    assert y.requires_grad
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in saved}
    given = {tensor.untyped_storage().data_ptr() for tensor in (x, h0, *module.parameters())}
    width = 7 * (2 if bidirectional else 1)
    # each layer's y, which the next one reads; nothing else that was not there before
    assert sorted(size for at, size in storages.items() if at not in given) == [6 * 4 * width * 4] * layers
    assert y.untyped_storage().data_ptr() in storages
