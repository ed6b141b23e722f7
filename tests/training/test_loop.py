"""Training: it learns, and nothing is lost however it ends."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import OPTIMISATION, SPEC, Plain, Toy, batch, fit

from grus.errors import InputError
from grus.model import Model
from grus.torch.network import Network
from grus.training.checkpoint import Journal
from grus.training.failures import OutOfMemory
from grus.training.interrupt import Interrupt, Interrupted
from grus.training.loop import Diverged, seeded, train
from grus.training.objective import Part
from grus.training.progress import Reporter
from grus.training.schedule import Optimisation


def same(left: Model, right: Model) -> bool:
    return all(left.arrays[name].tobytes() == right.arrays[name].tobytes() for name in left.arrays)


@pytest.fixture(scope="module")
def unbroken() -> Model:
    return fit(None)


def run(optimisation: Optimisation, *, loss=None, validate=None, objective=None, dtype=torch.float32):  # type: ignore[no-untyped-def]
    def default(network: Network, step: int) -> torch.Tensor:
        x, y = batch(step)
        return (network(x, last=True) - y).square().mean()

    with seeded(1):
        network = Network(SPEC.blocks).to(dtype)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with Interrupt() as interrupt, Reporter(optimisation.steps, show=False) as reporter:
        result = train(
            network,
            objective or Plain(loss or default),
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


def test_a_seed_is_that_of_pytorch() -> None:
    key = int(np.random.SeedSequence([3, 4]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    torch.manual_seed(key)
    expected = torch.rand(3)
    with seeded(3, 4):
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
    assert steps[0] == (member, step)
    assert same(model, unbroken)


def test_broken_twice(tmp_path: Path, unbroken: Model) -> None:
    path = tmp_path / "checkpoint"
    for at in (3, 4):
        with pytest.raises(Interrupted):
            fit(path, resume=at > 3, each_step=lambda _, m, s, at=at: s == at and signal.raise_signal(signal.SIGTERM))  # type: ignore[misc]
    assert same(fit(path, resume=True), unbroken)


def test_as_many_processes_resume_as_began(tmp_path: Path) -> None:
    path, identity = tmp_path / "checkpoint", {"settings.steps": OPTIMISATION.steps, "data": "toy"}
    with pytest.raises(Interrupted):
        fit(path, each_step=lambda *_: signal.raise_signal(signal.SIGINT))
    journal = Journal.open(path, identity, resume=True)
    assert journal.running is not None
    assert journal.running.numbers["processes"] == 1
    journal.running.numbers["processes"] = 2
    journal.write()
    with pytest.raises(InputError, match="the checkpoint is of a training in 2 processes, this one has 1: resume with"):
        fit(path, resume=True)


def test_a_killed_run_ends_at_the_same_bits(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_often.py")
    done = subprocess.run([sys.executable, script, tmp_path, "--kills=5"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "5 kills: the same bits"


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
            Plain(poison),
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
            Plain(lambda network, step: (network(batch(step)[0], last=True) - batch(step)[1]).square().mean()),
            Optimisation(steps=9, validate_every=3),
            name="a",
            seed=(1,),
            journal=Journal.open(path, {}),
            interrupt=interrupt,
            reporter=reporter,
            validate=lambda _: next(scores),
        )
    assert Journal.open(path, {}, resume=True).finished == {}


class Full(Toy):
    """Out of memory at step 5, in the second part: the first has changed what is carried."""

    full = 5

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    def _total(self, network: Network, step: int, half: int) -> torch.Tensor:
        if step == self.full and half and self.error is not None:
            raise self.error
        return super()._total(network, step, half)


def full(checkpoint: Path | None, error: Exception | None, *, resume: bool = False) -> dict[str, torch.Tensor]:
    with seeded(1):
        network = Network(SPEC.blocks)
    with Interrupt() as interrupt, Reporter(9, show=False) as reporter:
        train(
            network,
            Full(error),
            Optimisation(steps=9),
            name="a",
            seed=(1,),
            journal=Journal.open(checkpoint, {}, resume=resume),
            interrupt=interrupt,
            reporter=reporter,
        )
    return network.state_dict()


def allocation_error() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    return caught.value


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA"), allocation_error()], ids=["Python", "GPU", "CPU"]
)
def test_out_of_memory_leaves_the_state_before_the_step(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "checkpoint"
    whole = full(None, None)
    with pytest.raises(OutOfMemory) as caught:
        full(path, error)
    assert str(caught.value) == (
        f"out of memory at step 5 of 9 (a): take a smaller batch; the checkpoint {str(path)!r} holds step 5: "
        "resume goes on from there"
    )
    resumed = full(path, None, resume=True)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_out_of_memory_without_a_checkpoint() -> None:
    with pytest.raises(OutOfMemory, match="take a smaller batch; no checkpoint was kept$"):
        full(None, MemoryError())


def test_other_errors_are_bugs_and_pass() -> None:
    with pytest.raises(RuntimeError, match="^a bug$"):
        full(None, RuntimeError("a bug"))


def test_an_infinite_loss_with_a_finite_gradient_ends_the_run() -> None:
    def infinite(network: Network, step: int) -> torch.Tensor:
        x, y = batch(step)
        return (network(x, last=True) - y).square().mean() + (float("inf") if step == 3 else 0.0)

    with pytest.raises(Diverged, match=r"loss became inf .* at step 3"):
        run(Optimisation(steps=9), loss=infinite)


class Split(Plain):
    """The rows of a batch in ``parts`` micro-batches, each with the count of its rows."""

    def __init__(self, parts: int) -> None:
        self.rows = torch.arange(4).tensor_split(parts)

    def parts(self, step: int) -> list[Part]:
        def total(network: Network, rows: torch.Tensor) -> torch.Tensor:
            x, y = (tensor.double() for tensor in batch(step))
            return (network(x[:, rows], last=True) - y[rows]).square().sum()

        return [Part(float(len(rows)), partial(total, rows=rows)) for rows in self.rows]


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    optimisation = Optimisation(steps=20, clip_norm=0.1, weight_decay=0.01)
    whole, split = (run(optimisation, objective=Split(parts), dtype=torch.float64)[2] for parts in (1, 3))
    for name, array in whole.arrays.items():
        assert np.allclose(split.arrays[name], array, rtol=0, atol=1e-11)  # float64, rounded at 1e-16
    assert split.curve[0]["loss"] == pytest.approx(whole.curve[0]["loss"], rel=1e-12)


def test_a_step_without_losses_moves_nothing_but_decay() -> None:
    class Nothing(Plain):
        def parts(self, step: int) -> list[Part]:
            return []

    _, before, result = run(Optimisation(steps=3), objective=Nothing(lambda *_: torch.zeros(())))
    assert all(np.array_equal(result.arrays[name], before[name]) for name in before)


def test_bfloat16_learns_too() -> None:
    optimisation = Optimisation(steps=300, learning_rate=2e-2, validate_every=50)
    try:
        _, _, narrow = run(dataclasses.replace(optimisation, precision="bfloat16"))
    except InputError as error:
        assert "which this machine's cpu does not have" in str(error)
        pytest.skip(str(error))
    _, _, wide = run(optimisation)
    losses = [row["loss"] for row in narrow.curve]
    assert losses[-1] < 0.2 * losses[0]
    assert losses != [row["loss"] for row in wide.curve]


def test_bfloat16_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(InputError, match="precision is 'bfloat16', which this machine's cpu does not have"):
        run(Optimisation(steps=3, precision="bfloat16"))
