"""An installed Grus runs, and by itself; arguments: programs that must not be on PATH."""

import shutil
import sys

import numpy as np

import grus
from grus import reference
from grus.runtime import kernels
from grus.weights import GRUWeights

found = [tool for tool in sys.argv[1:] if shutil.which(tool)]
assert not found, f"on PATH: {found}"

random = np.random.default_rng(0)
arrays = [random.normal(size=s).astype(np.float32) / 4 for s in [(21, 5), (21, 7), (21,), (21,)]]
x, h0 = random.normal(size=(9, 3, 5)).astype(np.float32), random.normal(size=(3, 7)).astype(np.float32)
for reset_after in (True, False):
    y, _ = kernels.Layer(GRUWeights(*arrays, reset_after=reset_after)).forward(x, h0)
    error = np.abs(y - reference.forward(x, h0, *arrays, reset_after=reset_after)).max()
    assert error < 1e-5, error
assert not {"torch", "pandas", "matplotlib"} & set(sys.modules)
print(f"grus {grus.__version__} runs without a compiler, on {', '.join(kernels.isas())}")
