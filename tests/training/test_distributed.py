"""One process without torchrun, and an environment that cannot be."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from grus.errors import InputError
from grus.training import distributed
from grus.training.checkpoint import Journal, Result
from grus.training.interrupt import Interrupt
from grus.training.metrics import Metrics
from grus.training.progress import Reporter


def test_without_torchrun_there_is_one_process() -> None:
    processes = distributed.start()
    assert (processes.rank, processes.world, processes.device, processes.first) == (0, 1, torch.device("cpu"), True)
    assert distributed.current() == processes
    assert not torch.distributed.is_initialized()
    assert distributed.add([0.1, 2.0]) == [0.1, 2.0]
    assert distributed.gather(b"ab") == [b"ab"]
    assert distributed.from_first(lambda: b"cd") == b"cd"


def test_a_torchrun_of_one_process_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert distributed.start().world == 1
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "two"}, "the environment variable WORLD_SIZE is 'two', expected a number"),
        ({"WORLD_SIZE": "2"}, "the 2 processes of torchrun cannot meet: .*RANK"),
    ],
)
def test_an_environment_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words):
        distributed.start()
    assert distributed.current().world == 1


def test_all_but_the_first_write_nothing_and_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_current", distributed.Processes(1, 2))
    stream = io.StringIO()
    Reporter(1, stream=stream).message("a line")
    assert stream.getvalue() == ""
    metrics = Metrics(tmp_path / "missing" / "metrics.jsonl", tmp_path / "events")
    metrics.begin("a", 0, {})
    metrics.write({"training": "a", "step": 1, "loss": 0.5})
    metrics.end()
    journal = Journal(tmp_path / "checkpoint", {}, interval=0.0, writer=False)
    assert not journal.due
    journal.finish("a", Result({}, 1, None, []))
    assert list(tmp_path.iterdir()) == []


def test_leaving_ends_one_of_several_processes_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    distributed.leave(3)
    assert ended == []
    monkeypatch.setattr(distributed, "_current", distributed.Processes(0, 2))
    monkeypatch.setattr(sys, "stdout", Gone())
    distributed.leave(3)
    assert ended == [3]


def test_the_end_waits_for_threads_that_hold_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [torch.ones(3)]
    distributed._handed(held[0])
    thread = threading.Timer(0.3, held.clear)
    thread.start()
    distributed._settle()
    assert held == []
    kept = distributed._handed(torch.ones(3))
    monkeypatch.setattr(distributed, "PATIENCE", 0.1)
    distributed._settle()  # not for ever
    assert kept.sum() == 3


def test_torchrun_may_repeat_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_current", distributed.Processes(0, 2))
    with Interrupt() as interrupt:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert interrupt.requested


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="device is 'tpu', expected 'cpu' or 'cuda'"):
        distributed.start("tpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match=r"this machine has fewer GPUs \(1\) than processes \(2\)"):
        distributed.start("cuda")
    monkeypatch.undo()
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device is 'cuda', but this machine has no GPU that PyTorch can use"):
            distributed.start("cuda")
