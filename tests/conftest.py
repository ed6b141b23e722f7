"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from subprocess import CompletedProcess, run

import numpy as np
import pytest

# PyTorch's own threads wait by spinning: on a machine with other work they make small tests a hundred times slower.
# It reads this when it is first imported; Grus' threads do not.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def python() -> Callable[..., CompletedProcess[str]]:
    """Run a piece of Python in a fresh process, with environment variables by keyword."""

    def call(code: str, **environment: str) -> CompletedProcess[str]:
        return run(
            [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=120
        )

    return call
