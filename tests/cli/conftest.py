"""What the command line sets for its process, put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from grus import kernels
from grus.cli import main


@pytest.fixture(scope="module", autouse=True)
def _same_threads_after() -> Iterator[None]:
    threads = torch.get_num_threads(), kernels.get_num_threads()
    yield
    torch.set_num_threads(threads[0])
    kernels.set_num_threads(threads[1])


@pytest.fixture
def failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Run a command that must fail; gives its one line. What was there is untouched, and nothing was added."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRUS_DEBUG", raising=False)

    def run(command: str) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert main(command.split()) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("grus: error: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return captured.err

    return run
