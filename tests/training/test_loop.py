"""Training: it learns, and nothing is lost however it ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import OPTIMISATION, SPEC, batch, fit

from grus.errors import InputError
from grus.model import Model, load
from grus.torch.network import Network
from grus.training.checkpoint import Journal
from grus.training.interrupt import Interrupt, Interrupted
from grus.training.loop import Diverged, seeded, train
from grus.training.progress import Reporter
from grus.training.schedule import Optimisation

TOY = Path(__file__).with_name("toy.py")


def same(left: Model, right: Model) -> bool:
    return all(left.arrays[name].tobytes() == right.arrays[name].tobytes() for name in left.arrays)


@pytest.fixture(scope="module")
def unbroken() -> Model:
    return fit(None)


def run(optimisation: Optimisation, *, loss=None, validate=None):  # type: ignore[no-untyped-def]
    def default(network: Network, step: int) -> torch.Tensor:
        x, y = batch(step)
        return (network(x, last=True) - y).square().mean()

    with seeded(1):
        network = Network(SPEC.blocks)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with Interrupt() as interrupt, Reporter(optimisation.steps, show=False) as reporter:
        result = train(
            network,
            loss or default,
            optimisation,
            name="a",
            seed=(1,),
            journal=Journal.open(None, {}),
            interrupt=interrupt,
            reporter=reporter,
            validate=validate,
        )
    return network, before, result


def test_it_learns() -> None:
    _, _, result = run(Optimisation(steps=300, learning_rate=2e-2, validate_every=50))
    losses = [row["loss"] for row in result.curve]
    assert [row["step"] for row in result.curve] == [50, 100, 150, 200, 250, 300]
    assert losses[-1] < 0.2 * losses[0]


def test_the_best_weights_are_kept_and_a_stalled_run_ends() -> None:
    scores = iter([3.0, 1.0, 2.0, 2.5, 2.0, 0.0])
    seen = []

    def validate(network: Network) -> float:
        assert not network.training
        assert not torch.is_grad_enabled()
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return next(scores)

    network, _, result = run(Optimisation(steps=60, validate_every=10, patience=3), validate=validate)
    assert (result.step, result.score) == (20, 1.0)
    assert len(seen) == 5  # the sixth is never asked for: three validations brought nothing new
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in network.state_dict().items())


def test_the_average_lags_behind_the_weights() -> None:
    plain, before, _ = run(Optimisation(steps=20, learning_rate=1e-2))
    averaged, _, _ = run(Optimisation(steps=20, learning_rate=1e-2, average=0.9))
    for name, start in before.items():
        far = (plain.state_dict()[name] - start).norm()
        near = (averaged.state_dict()[name] - start).norm()
        assert 0 < near < far


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(None, optimisation=dataclasses.replace(OPTIMISATION, steps=3))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("at", [(0, 0), (0, 1), (0, 7), (0, 20), (0, 29), (1, 0), (1, 13)])
def test_a_broken_run_ends_at_the_same_bits(at: tuple[int, int], tmp_path: Path, unbroken: Model) -> None:
    path = tmp_path / "checkpoint"

    def stop(interrupt: Interrupt, member: int, step: int) -> None:
        if (member, step) == at:
            signal.raise_signal(signal.SIGINT)
            assert interrupt.requested

    with pytest.raises(Interrupted, match="stopped at step"):
        fit(path, each_step=stop)
    steps = []
    model = fit(path, resume=True, each_step=lambda _, member, step: steps.append((member, step)))
    member, step = at
    assert steps[0] == ((member, step + 1) if step < OPTIMISATION.steps - 1 else (member + 1, 0))
    assert same(model, unbroken)


def test_broken_twice(tmp_path: Path, unbroken: Model) -> None:
    path = tmp_path / "checkpoint"
    for at in (3, 4):
        with pytest.raises(Interrupted):
            fit(path, resume=at > 3, each_step=lambda _, m, s, at=at: s == at and signal.raise_signal(signal.SIGTERM))  # type: ignore[misc]
    assert same(fit(path, resume=True), unbroken)


def test_a_killed_run_ends_at_the_same_bits(tmp_path: Path) -> None:
    environment = os.environ | {"TOY_PAUSE": "0.03"}
    whole = tmp_path / "whole.safetensors"
    subprocess.run([sys.executable, TOY, tmp_path / "a", whole], check=True)
    process = subprocess.Popen([sys.executable, TOY, tmp_path / "b", tmp_path / "never"], env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "b").exists() or step_of(tmp_path / "b") < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "never").exists()
    resumed = tmp_path / "resumed.safetensors"
    subprocess.run([sys.executable, TOY, tmp_path / "b", resumed, "resume"], check=True)
    assert resumed.read_bytes() == whole.read_bytes()
    assert same(load(resumed), load(whole))


def step_of(path: Path) -> int:
    running = Journal.open(path, {"settings.steps": OPTIMISATION.steps, "data": "toy"}, resume=True).running
    return 99 if running is None else running.step


def test_a_loss_that_is_no_number_ends_the_run_with_the_last_good_state(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"

    def poison(network: Network, step: int) -> torch.Tensor:
        x, y = batch(step)
        return (network(x, last=True) - y).square().mean() * (float("nan") if step == 4 else 1.0)

    with seeded(1):
        network = Network(SPEC.blocks)
    journal = Journal.open(path, {})
    with (
        Interrupt() as interrupt,
        Reporter(9, show=False) as reporter,
        pytest.raises(InputError, match=r"loss became nan .* at step 4 \(a\): lower the learning rate \(it is 0.002\)"),
    ):
        train(
            network,
            poison,
            Optimisation(steps=9),
            name="a",
            seed=(1,),
            journal=journal,
            interrupt=interrupt,
            reporter=reporter,
        )
    running = Journal.open(path, {}, resume=True).running
    assert running is not None
    assert running.step == 4
    assert all(np.isfinite(array).all() for array in running.arrays.values())
    assert all(np.isfinite(tensor.numpy()).all() for tensor in network.state_dict().values())


@pytest.mark.parametrize("score", [float("inf"), float("nan")])
def test_a_validation_that_is_no_number_ends_the_run(tmp_path: Path, score: float) -> None:
    path = tmp_path / "checkpoint"
    scores = iter([0.5, score])
    with seeded(1):
        network = Network(SPEC.blocks)
    with (
        Interrupt() as interrupt,
        Reporter(9, show=False) as reporter,
        pytest.raises(Diverged, match=f"the validation became {score} at step 6 .a.: lower the learning rate"),
    ):
        train(
            network,
            lambda network, step: (network(batch(step)[0], last=True) - batch(step)[1]).square().mean(),
            Optimisation(steps=9, validate_every=3),
            name="a",
            seed=(1,),
            journal=Journal.open(path, {}),
            interrupt=interrupt,
            reporter=reporter,
            validate=lambda _: next(scores),
        )
    assert Journal.open(path, {}, resume=True).finished == {}
