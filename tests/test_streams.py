"""NumPy, ONNX Runtime, compiled C and PyTorch on the same stream: benchmarks/streams.py, shorter and with any block."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from implementations import baseline, exact
from test_session import CHAINS, inputs, model_of
from tests.export.compiled import CORTEX_M

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from benchmarks import streams

from grus import Model, Spec
from grus.runtime import kernels
from grus.spec import GRU, Activation, Block, Forecast, Linear, Mean, Residual, parameters
from grus.tasks.forecast.windows import input_size, output_size

TASK = Forecast(horizon=3, window=20, quantiles=(0.1, 0.5, 0.9), frequency="1", season=1)
SIZE = input_size(TASK)
MEMBER = (GRU(SIZE, 24), Residual((GRU(24, 24),)), Activation(24, "relu"), Linear(24, output_size(TASK)))


@pytest.fixture(autouse=True)
def _same_threads_after() -> Any:
    import torch

    threads = torch.get_num_threads(), kernels.get_num_threads()
    yield
    torch.set_num_threads(threads[0])
    kernels.set_num_threads(threads[1])


def test_they_agree_and_int8_in_every_bit() -> None:
    blocks = (Mean((MEMBER, MEMBER)),)
    rng = np.random.default_rng(0)
    arrays = {n: rng.uniform(-0.4, 0.4, s).astype(np.float32) for n, s in parameters(blocks).items()}
    rows = streams.measure(Model(Spec(blocks, TASK), arrays), rng.normal(size=(600, SIZE)).astype(np.float32))
    assert not streams.bad(rows), rows
    compilers = sum(1 for c in streams.COMPILERS if shutil.which(c))
    assert len(rows) == 4 + 2 * compilers and compilers > 0


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in CORTEX_M.needs), reason="no compiler or emulator of a Cortex-M here"
)
def test_a_board_has_the_same_bits() -> None:
    blocks = MEMBER
    rng = np.random.default_rng(1)
    arrays = {n: rng.uniform(-0.4, 0.4, s).astype(np.float32) for n, s in parameters(blocks).items()}
    row = streams.cortex_m(Model(Spec(blocks, TASK), arrays), rng.normal(size=(200, SIZE)).astype(np.float32))
    assert row == {"backend": streams.CORTEX, "verdict": "every bit that of Session"}


CUDNN = {name: blocks for name, blocks in CHAINS.items() if "before" not in name and name != "deep"}


@pytest.mark.parametrize("blocks", CUDNN.values(), ids=CUDNN)
def test_pytorchs_own_modules_are_the_chain(blocks: tuple[Block, ...]) -> None:
    model, x = model_of(*blocks), inputs(blocks, 20, 1)[:, 0]
    y = streams.streamed(streams.by_pytorch(model), x)
    assert np.abs(y - streams.streamed(streams.by_session(model), x)).max() < 1e-5


def test_another_answer_is_told() -> None:
    problem = (30, 4, 16, 16, True)
    right, plain = exact(problem).y, baseline(problem).y
    good = streams.judged("a", plain, right, plain)
    wrong = streams.judged("b", plain + np.float32(1e-3), right, plain)
    assert not streams.bad([good]) and streams.bad([good, wrong]) == [wrong]
    assert streams.bad([{"backend": "C", "verdict": "differs from Session"}])


def test_what_was_measured_is_kept() -> None:
    kept = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "streams.json").read_text())
    assert kept["steps"] == 100_000 and not streams.bad(kept["rows"])
    named = " ".join(row["backend"] for row in kept["rows"])
    assert all(name in named for name in ("PyTorch", "NumPy", "ONNX Runtime", "C99, gcc", "C99 w8a16, gcc"))
