"""Kill a training again and again, at random moments: ``kill_often.py FOLDER [--kills 20] [--seed 0]``.

It is the fit of ``toy.py``, which writes its checkpoint before every step. Each life is a process of its own that ends
by SIGKILL, the last one excepted; then weights and measurements must be those of a training that nobody disturbed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import torch
import toy

from grus.training.checkpoint import Journal
from grus.training.metrics import Metrics
from grus.training.schedule import Optimisation

PAUSE = 0.005  # seconds a step, beside what it takes
LONGEST = 3  # steps a life that is to be killed: fewer than there are steps for each, so the training outlives them all


def live(folder: Path, optimisation: Optimisation, longest: int | None = None) -> int:
    """The process of a training in ``folder``, new or resumed, that writes its weights there and ends.

    After ``longest`` steps it goes no further, and waits for its end: however slow the watcher, it doesn't get away.
    """
    process = os.fork()
    if process:
        return process
    status, steps = 1, 0
    try:
        checkpoint = folder / "checkpoint"

        def each_step(*_: object) -> None:
            nonlocal steps
            steps += 1
            (folder / "begun").touch()
            time.sleep(PAUSE)
            while steps == longest:
                signal.pause()

        model = toy.fit(
            checkpoint,
            resume=checkpoint.exists(),
            optimisation=optimisation,
            interval=0.0,
            each_step=each_step,
            metrics=Metrics(folder / "metrics.jsonl"),
        )
        model.save(folder / "model.safetensors")
        status = 0
    finally:
        os._exit(status)


def outcome(folder: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The model file, and what was measured but for the time it took."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return (folder / "model.safetensors").read_bytes(), [row | {"seconds": None} for row in rows]


def done(folder: Path, optimisation: Optimisation) -> tuple[str, int]:
    """How far the training in ``folder`` is: the name of the one that runs, and its step."""
    checkpoint = folder / "checkpoint"
    if not checkpoint.exists():
        return "", 0
    running = Journal.open(checkpoint, {"settings.steps": optimisation.steps, "data": "toy"}, resume=True).running
    return ("", 0) if running is None else (running.name, running.step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, optimisation = random.Random(options.seed), dataclasses.replace(toy.OPTIMISATION, steps=2 * options.kills)
    whole, broken = options.folder / "whole", options.folder / "broken"
    for folder in (whole, broken):
        folder.mkdir(parents=True)
    # what PyTorch imports when a training begins, every life would have to import anew
    torch.set_num_threads(1)
    toy.fit(None, optimisation=dataclasses.replace(optimisation, steps=1))
    start = time.monotonic()
    assert os.waitpid(live(whole, optimisation), 0)[1] == 0
    pace = (time.monotonic() - start) / (2 * optimisation.steps)

    for kill in range(1, options.kills + 1):
        (broken / "begun").unlink(missing_ok=True)
        process = live(broken, optimisation, LONGEST)
        while not (broken / "begun").exists():
            assert os.waitpid(process, os.WNOHANG) == (0, 0), "the training ended by itself"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, LONGEST * pace))
        os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        assert os.WIFSIGNALED(status), "the training ended by itself"
        name, step = done(broken, optimisation)
        print(f"kill {kill}: {name}, step {step}")
    assert os.waitpid(live(broken, optimisation), 0)[1] == 0

    assert outcome(broken) == outcome(whole), "the weights or the measurements are others"
    print(f"{options.kills} kills: the same bits")


if __name__ == "__main__":
    main()
