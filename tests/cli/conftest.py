"""What the command line sets for its process, put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from grus import kernels


@pytest.fixture(scope="module", autouse=True)
def _same_threads_after() -> Iterator[None]:
    threads = torch.get_num_threads(), kernels.get_num_threads()
    yield
    torch.set_num_threads(threads[0])
    kernels.set_num_threads(threads[1])
