"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess, run

import emulated
import numpy as np
import pytest

# PyTorch's own threads wait by spinning: on a machine with other work they make small tests a hundred times slower.
# It reads this when it is first imported. Grus' threads do not spin, and are as many as without it.
if "OMP_NUM_THREADS" not in os.environ:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("GRUS_NUM_THREADS", str(cores))
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile what emulated tests need, outside of their time limits."""
    if not emulated.MISSING and any(isa in item.name for item in session.items for isa in emulated.ISAS):
        emulated.build()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """An instruction set, by indirect parametrization, on a machine that has it."""
    with emulated.machine(request.param):
        yield request.param


@pytest.fixture
def python() -> Callable[..., CompletedProcess[str]]:
    """Run a piece of Python in a fresh process, with environment variables by keyword."""

    def call(code: str, **environment: str) -> CompletedProcess[str]:
        return run(
            [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=120
        )

    return call
