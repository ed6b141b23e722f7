"""What the command line sets for its process, put back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from grus.cli import main
from grus.runtime import kernels


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


@pytest.fixture
def interrupted() -> Callable[[Sequence[str], Path], Path]:
    """Run a fit of the model ``target`` and break it off early, as by Ctrl-C; gives the checkpoint it leaves."""

    def run(arguments: Sequence[str], target: Path) -> Path:
        checkpoint = target.with_name(target.name + ".checkpoint")
        command = [sys.executable, "-m", "grus", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not checkpoint.exists():  # written at the first step
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        last = errors.splitlines()[-1]
        assert last.startswith("grus: stopped at step ")
        assert last.endswith(f"kept in {checkpoint}: go on with the same command and --resume")
        assert "Traceback" not in errors
        assert not target.exists()
        return checkpoint

    return run
