"""Several processes train as one, end as one, and say so when one of them is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from together import LABELLING, READING, STEPS, fit, network_of

pytestmark = pytest.mark.timeout(600)  # a process takes two seconds to load PyTorch, on a busy disk ten
SCRIPT = Path(__file__).with_name("together.py")
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """The weights of one process with the whole batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield fit(tmp_path_factory.mktemp("alone"), 12)
    torch.set_num_threads(threads)


def torchrun(folder: Path, *events: str) -> dict[str, dict[str, str]]:
    """How each process ended, by "life.rank"; one that was killed left no word."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    done = subprocess.run(
        [*command, f"--max-restarts={len(events)}", SCRIPT, folder, "4", *events],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    return {file.name[:3]: json.loads(file.read_text()) for file in sorted(folder.glob("?.?.json"))}


def weights_in(folder: Path) -> Weights:
    return dict(np.load(folder / "weights.npz"))


def nearly_equal(left: Weights, right: Weights) -> bool:
    """float64 rounds at 1e-16; a wrong divisor, mask, order or state shows at 1e-4."""
    assert left.keys() == right.keys()
    return all(np.allclose(left[name], right[name], rtol=0, atol=1e-11) for name in left)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weights]:
    folder = tmp_path_factory.mktemp("three")
    unlike = "the processes train different things, process 2 unlike process 0:"
    ending = {
        "error": "",
        "message": "",
        "no file": f"the checkpoint {str(folder)!r} cannot be read: Is a directory",
        "other settings": f"{unlike} seed is 0 in process 0, 1 in process 2",
        "other data": f"{unlike} the data are not the same",
        "other options": f"{unlike} resume is False in process 0, True in process 2, "
        "a checkpoint is False in process 0, True in process 2",
    }
    assert torchrun(folder) == dict.fromkeys(("0.0", "0.1", "0.2"), ending)
    return folder, weights_in(folder)


def test_the_trainings_are_no_formality(alone: Weights) -> None:
    for name, chain in (("labelling", LABELLING), ("reading", READING)):
        for key, start in network_of(chain).state_dict().items():
            assert np.abs(alone[f"{name}.{key}"] - start.numpy()).max() > 1e-3


def test_three_processes_equal_one_with_three_times_the_batch(alone: Weights, three: tuple[Path, Weights]) -> None:
    folder, weights = three
    assert nearly_equal(weights, alone)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [5, 10, STEPS]
    assert [(row["training"], row["step"]) for row in rows] == [
        (name, step) for name in ("labelling", "reading") for step in steps
    ]


@pytest.mark.slow
def test_they_end_together_and_go_on_to_the_same_bits(tmp_path: Path, three: tuple[Path, Weights]) -> None:
    endings = torchrun(tmp_path, "stop:4", "fill:6", "kill:9")  # to the third process alone
    ends = {life: (ending["error"], ending["message"]) for life, ending in endings.items()}
    stopped = f"stopped at step 4 of {STEPS} (reading)"
    assert ends["0.0"] == ends["0.1"] == ends["0.2"] == ("Interrupted", stopped)

    kept = f"the checkpoint {str(tmp_path / 'checkpoint')!r} holds step"
    lost = "another process of the training was lost at step"
    full = f"out of memory at step 6 of {STEPS} (reading): take a smaller batch; {kept} 5: resume goes on from there"
    assert ends["1.2"] == ("OutOfMemory", full)
    assert (
        ends["1.0"]
        == ends["1.1"]
        == ("LostWorker", f"{lost} 6 of {STEPS} (reading); {kept} 5: resume goes on from there")
    )

    assert "2.2" not in ends
    assert (
        ends["2.0"]
        == ends["2.1"]
        == ("LostWorker", f"{lost} 9 of {STEPS} (reading); {kept} 8: resume goes on from there")
    )

    assert ends["3.0"] == ends["3.1"] == ends["3.2"] == ("", "")
    unbroken, resumed = three[1], weights_in(tmp_path)
    assert all(resumed[name].tobytes() == unbroken[name].tobytes() for name in unbroken)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, STEPS] * 2


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces, machines of their own as far as the network goes, with a cable between them."""
    names = (f"grus{os.getpid()}a", f"grus{os.getpid()}b")

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"10.99.0.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "cable", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_two_machines_equal_one_with_twice_the_batch(
    tmp_path: Path, alone: Weights, namespaces: tuple[str, str]
) -> None:
    processes = []
    for rank, name in enumerate(namespaces):
        folder = tmp_path / name  # no file system in common
        folder.mkdir()
        command = [
            *("ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2"),
            *(f"--node-rank={rank}", "--nproc-per-node=1", "--master-addr=10.99.0.1", "--master-port=29500"),
            *(str(SCRIPT), str(folder), "6"),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable"}
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=280)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    first, second = (tmp_path / name for name in namespaces)
    assert nearly_equal(weights_in(first), alone)
    assert [file.name for file in second.iterdir()] == ["0.1.json"]
