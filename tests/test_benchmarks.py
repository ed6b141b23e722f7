"""The benchmark judges, times and reports rightly. Tiny shapes; of the peers only PyTorch is needed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import cases, ceilings, clock, gate, report, short
from benchmarks.cases import Case, Problem
from benchmarks.measure import Effort, compare, measure
from benchmarks.peers import PEERS
from benchmarks.processes import WorkerError, busy_neighbour

ROOT = Path(__file__).parent.parent
CEILINGS = ceilings.Ceilings(2, 100.0, [(16 << 10, 200.0), (512 << 10, 50.0), (2 << 20, 20.0)], 32 << 10, 1 << 20)
SMALL = Case(3, 2, 4, 5)


class Fake:
    """Answers with the exact results plus ``error``, and takes ``microseconds``. ``no_limit``: why there is none."""

    def __init__(self, name: str, microseconds: float, error: float = 0.0, fails: str = "", no_limit: str = "") -> None:
        self.name, self.time, self.error, self.fails, self.no_limit = name, microseconds, error, fails, no_limit
        self.timed, self.rates = 0, 0

    def prepare(self, case: Case) -> list[str]:
        self.case = case
        if self.fails == "prepare":
            raise WorkerError("no such model")
        return [self.name]

    def prepare_ceilings(self) -> tuple[list[str], str]:
        return ([], self.no_limit) if self.no_limit else ([ceilings.FMA, *ceilings.reads()], "")

    def rate(self, name: str, seconds: float) -> float:
        self.rates += 1
        return float(self.rates)

    def arrays(self, name: str) -> dict[str, Any]:
        exact = gate.exact(Problem(self.case))
        return {key: (value + self.error).astype(np.float32) for key, value in exact.items()}

    def microseconds(self, name: str, seconds: float) -> float:
        if self.fails == "time":
            raise WorkerError("its process ended")
        self.timed += 1
        return self.time


def row_of(*fakes: Fake, case: Case = SMALL) -> dict[str, Any]:
    effort = Effort(rounds=3, seconds=0, rest=0)
    return measure(case, {fake.name: fake for fake in fakes}, set(), 2, effort, random.Random(0))


def test_the_gate_lets_no_wrong_contestant_be_timed() -> None:
    wrong = Fake("jax", 1.0, error=1e-3)
    row = row_of(Fake("grus", 10.0), Fake("torch", 30.0), wrong)
    assert wrong.timed == 0
    assert row["contestants"]["jax"]["status"] == "wrong" and "y: error 1.0" in row["contestants"]["jax"]["reason"]
    assert row["ratios"] == {"torch": 3.0} and row["best_peer"] == "torch"
    assert "WRONG" in report.text(row) and "| WRONG |" in report.markdown(results([row]))


def test_ours_has_to_pass_the_gate_too() -> None:
    row = row_of(Fake("grus", 1.0, error=1e-3), Fake("torch", 30.0))
    assert row["ratios"] == {} and row["best_ratio"] is None and row["gflops"] is None
    assert report.behind([row]) == [f"{SMALL}: no time of grus"]
    assert row["limit"]["share"] is None and "no time of grus" in report.text(row)
    assert "| WRONG | 30.0 | – | – |" in report.markdown(results([row]))


@pytest.mark.parametrize("when", ["prepare", "time"])
def test_a_peer_that_fails_is_a_row_and_stops_nobody(when: str) -> None:
    row = row_of(Fake("grus", 10.0), Fake("torch", 30.0), Fake("openvino", 5.0, fails=when))
    assert row["contestants"]["openvino"]["status"] == "failed"
    assert row["best_peer"] == "torch" and row["contestants"]["torch"]["microseconds"] == 30.0


def test_a_gradient_that_is_missing_or_wrong_does_not_pass() -> None:
    exact = gate.exact(Problem(Case(3, 2, 4, 5, mode="train")))
    baseline = {name: value.astype(np.float32) for name, value in exact.items()}
    assert gate.verdict(baseline, exact, baseline) == ""
    assert "expected" in gate.verdict({k: v for k, v in baseline.items() if k != "dx"}, exact, baseline)
    off = baseline | {"bias_hh_l0": baseline["bias_hh_l0"] * np.float32(1.001)}
    assert gate.verdict(off, exact, baseline).startswith("bias_hh_l0: error")


def test_a_losing_row_says_so() -> None:
    row = row_of(Fake("grus", 10.0), Fake("torch", 30.0), Fake("onnxruntime", 5.0))
    assert row["ratios"] == {"torch": 3.0, "onnxruntime": 0.5}
    assert (row["best_peer"], row["best_ratio"]) == ("onnxruntime", 0.5)
    assert report.behind([row]) == [f"{SMALL}: onnxruntime takes 0.50 of our time"]
    assert "0.50 (onnxruntime)" in report.markdown(results([row]))


def test_in_training_the_layer_for_pytorch_counts() -> None:
    case = Case(3, 2, 4, 5, mode="train")
    times = {"grus": 1.0, "grus.torch": 4.0, "torch": 6.0}
    row = compare(case, {name: {"status": "ok", "microseconds": t} for name, t in times.items()}, CEILINGS)
    assert row["ours"] == "grus.torch" and row["ratios"] == {"torch": 1.5}
    assert row["gflops"] == pytest.approx(3 * 2 * 3 * 2 * 15 * 9 / 4.0 / 1e3)


def test_turns_are_in_random_order_and_everyone_has_one_a_round() -> None:
    def visits(seed: int) -> list[str]:
        seen: list[str] = []

        def visit(name: str) -> float | None:
            seen.append(name)
            return None if name == "c" else float(len(seen))

        times = clock.take_turns(["a", "b", "c"], visit, 6, 0.0, random.Random(seed))
        assert times.keys() == {"a", "b"} and all(len(values) == 6 for values in times.values())
        return seen

    assert visits(1) == visits(1) != visits(2)
    assert sorted(visits(1)) == sorted(6 * ["a", "b"] + ["c"])


def test_the_busy_neighbour_goes_when_the_run_ends() -> None:
    with busy_neighbour() as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_quartiles() -> None:
    assert clock.quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == (2.0, 3.0, 4.0)
    assert clock.quartiles([7.0]) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("options", [{}, {"layers": 2, "bidirectional": True}])
def test_the_truth_is_that_of_pytorch_in_float64(options: dict[str, Any]) -> None:
    problem = Problem(Case(4, 3, 5, 6, **options, mode="train"))
    exact = gate.exact(problem)
    module = torch.nn.GRU(5, 6, options.get("layers", 1), bidirectional="bidirectional" in options, dtype=torch.float64)
    module.load_state_dict({name: torch.from_numpy(array).double() for name, array in problem.weights.items()})
    x = torch.from_numpy(problem.x).double().requires_grad_()
    y = module(x)[0]
    y.backward(torch.from_numpy(problem.dy).double())
    expected = {"y": y, "dx": x.grad, **{name: weight.grad for name, weight in module.named_parameters()}}
    assert exact.keys() == expected.keys()
    for name, value in expected.items():
        assert value is not None
        np.testing.assert_allclose(exact[name], value.detach().numpy(), rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("mode", cases.PASSES)
@pytest.mark.parametrize("peer", ["grus", "torch"])
@pytest.mark.parametrize("reset_before", [False, True])
def test_ours_and_pytorch_pass_the_gate(peer: str, mode: cases.Pass, reset_before: bool) -> None:
    import importlib

    deep = {} if mode == "step" else {"layers": 2, "bidirectional": True}
    for options in ({}, deep):
        problem = Problem(Case(1 if mode == "step" else 4, 3, 5, 6, **options, reset_before=reset_before, mode=mode))
        exact = gate.exact(problem)
        baseline = importlib.import_module(PEERS["torch"].module).prepare(problem, 1)["torch"]
        allowed = baseline.arrays(baseline.run())
        offered = importlib.import_module(PEERS[peer].module).prepare(problem, 1)
        assert offered
        for name, contestant in offered.items():
            assert gate.verdict(contestant.arrays(contestant.run()), exact, allowed) == "", name


def results(rows: list[dict[str, Any]]) -> dict[str, Any]:
    header = {"cpu": "a CPU", "threads": 2, "isa": "avx2", "date": "2026-01-01", "command": "c", "rounds": 3}
    return header | {"versions": {"grus": "0"}, "not_installed": ["jax"], "rows": rows}


def test_the_page_keeps_what_is_not_generated(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- table: begin -->\nold\n<!-- table: end -->\nbelow\n", encoding="utf-8")
    row = row_of(Fake("grus", 10.0), Fake("torch", 30.0))
    text = report.insert(page, report.markdown(results([row])))
    assert text.startswith("above\n<!-- table: begin -->\n") and text.endswith("<!-- table: end -->\nbelow\n")
    assert "old" not in text and "Not installed: jax." in text and "| 3 | 2 | 4 | 5 | **10.0** | 30.0 |" in text
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks"):
        report.insert(page, "")


def test_the_page_shows_the_results_that_are_there() -> None:
    saved = ROOT / "benchmarks" / "results" / "cpu.json"
    page = ROOT / "docs" / "performance.md"
    assert report.insert(page, report.markdown(json.loads(saved.read_text(encoding="utf-8")))) == page.read_text(
        "utf-8"
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_one_shape_by_hand(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    arguments = ["--shape", "3,2,4,5", "--pass", "forward", "--peers", "torch", "--threads", "1", "--rounds", "2"]
    done = run(*arguments, "--json", str(target))
    assert done.returncode == 0, done.stderr
    saved = json.loads(target.read_text(encoding="utf-8"))
    assert saved.keys() >= {"date", "command", "cpu", "threads", "isa", "seed", "versions", "not_installed"}
    assert saved["versions"].keys() >= {"grus", "torch", "numpy"} and saved["threads"] == 1
    (row,) = saved["rows"]
    assert row["contestants"].keys() == {"grus", "grus.torch", "torch"}
    times = {name: entry["microseconds"] for name, entry in row["contestants"].items()}
    assert all(0 < time < 1e6 for time in times.values())
    assert row["ratios"] == {"torch": pytest.approx(times["torch"] / times["grus"])}
    assert row["limit"]["share"] == pytest.approx(row["limit"]["microseconds"] / times["grus"])
    assert "forward T=3 B=2 I=4 H=5" in done.stdout and "best peer torch" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "3,2"], "expected T,B,I,H"),
        (["--shape", "3,0,4,5"], "at least 1"),
        (["--shape", "3,1,4,5", "--pass", "step"], "T must be 1"),
        (["--peers", "pytorch"], "no peer pytorch"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_short_calls_by_hand() -> None:
    command = [sys.executable, "-m", "benchmarks.short", "--only", "2,1,8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, row = done.stdout.splitlines()
    assert row.startswith("GRU ") and " inference " in row and " training " in row


def test_a_short_call_that_is_wrong_is_not_timed() -> None:
    right, wrong = [torch.ones(3)], [torch.tensor([1.0, 1.0, 1.001])]
    assert not short._differs(right, right)
    assert "differs from torch.nn by 1.0e-03" in short._differs(right, wrong)
    assert "nan" in short._differs(right, [torch.full((3,), float("nan"))])


def test_the_page_says_where_a_short_call_is_behind() -> None:
    row = {"module": "GRUCell", "T": 1, "B": 16, "H": 32}
    head = {"date": "", "command": "", "cpu": "", "threads": 2, "isa": "", "rounds": 3, "versions": {"torch": ""}}
    ahead = row | {"inference": {"torch": 30.0, "grus": 20.0}, "training": {"torch": 45.0, "grus": 30.0}}
    behind = row | {"training": {"torch": 45.0, "grus": 90.0}}
    assert "| 1.50 |" in (page := short.markdown(head | {"rows": [ahead]})) and "Nowhere behind" in page
    assert "Behind: training of GRUCell T=1 B=16 H=32 (0.50)." in short.markdown(head | {"rows": [ahead, behind]})
