"""A limit is one: the arithmetic of the least time, what the machine's ceilings are, and what is said without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import cases, ceilings, clock, report
from benchmarks.cases import Case
from benchmarks.limits import limit
from benchmarks.measure import compare
from test_benchmarks import CEILINGS, SMALL, Fake, results, row_of, run

P = 100e3  # of CEILINGS, flops a microsecond
L1, L2, L3 = 200e3, 50e3, 20e3  # bytes a microsecond
KEPT = 2 * (32 << 10), 2 * ((32 << 10) + (1 << 20))  # bytes in L1, in L1 and L2, of both cores


@pytest.mark.parametrize("mode", ["forward", "train"])
def test_a_batch_is_bound_by_its_flops(mode: cases.Pass) -> None:
    case = Case(100, 32, 40, 256, layers=2, bidirectional=True, mode=mode)
    passes = 3 if mode == "train" else 1
    flops = 2 * 100 * 32 * 768 * 2 * ((40 + 256) + (512 + 256)) * passes
    assert case.flops == flops
    least = limit(case, CEILINGS)
    of_zeros = 2 * 32 * 768 * 2 * (256 + 256) * passes  # the step from the first state
    assert least.bound == "FMA" and least.microseconds == pytest.approx((flops - of_zeros) / P)


@pytest.mark.parametrize(
    ("case", "bound", "step"),
    [
        (Case(101, 1, 1, 64), "FMA", 6 * 64 * 64 / P),
        (Case(101, 1, 1, 256), "L2", (12 * 256**2 - KEPT[0]) / L2),
        (Case(101, 1, 1, 432), "L2", (12 * 432**2 - KEPT[0]) / L2),
        (Case(101, 1, 1, 512), "L2", (12 * 512**2 - KEPT[0]) / L2),
        (Case(101, 1, 1, 1024), "L3", (12 * 1024**2 - KEPT[1]) / L3),
        (Case(101, 1, 1, 1024, layers=2, bidirectional=True), "L3", (12 * 1024**2 - KEPT[1]) / L3),
        (Case(101, 64, 1, 1024), "FMA", 6 * 64 * 1024**2 / P),
        (Case(101, 1, 1, 256, mode="train"), "L2", (12 * 256**2 - KEPT[0]) / L2),
    ],
)
def test_a_step_waits_for_what_its_caches_cannot_keep(case: Case, bound: str, step: float) -> None:
    least = limit(case, CEILINGS)
    steps = 100 * case.layers * case.directions
    rest = case.projection_flops * (3 if case.mode == "train" else 1) / P
    if case.mode == "train":  # the way back reads the weights again; their gradient needs no step after step
        rest += steps * (step + 6 * case.B * case.H**2 / P)
    assert least.bound == bound and least.microseconds == pytest.approx(steps * step + rest)


def test_what_l1_keeps_is_read_from_there() -> None:
    slow = ceilings.Ceilings(2, 1e6, [(16 << 10, 200.0), (512 << 10, 50.0), (2 << 20, 20.0)], 32 << 10, 1 << 20)
    least = limit(Case(1, 1, 10, 64, mode="step"), slow)
    assert least.bound == "L1" and least.microseconds == pytest.approx(12 * 64 * 74 / L1)


def test_a_call_of_one_step_reads_all_its_weights() -> None:
    least = limit(Case(1, 1, 64, 128, mode="step"), CEILINGS)
    assert least.bound == "L2" and least.microseconds == pytest.approx((12 * 128 * 192 - KEPT[0]) / L2)


def test_a_ceiling_is_the_best_round_and_no_cache_slower_than_the_next() -> None:
    rates = dict.fromkeys(ceilings.reads(), 1.0)
    *_, last = rates
    found = ceilings.Ceilings.of(rates | {last: 3.0, ceilings.FMA: 7.0}, 2)
    assert found.fma_gflops == 7 and [found.gbs(level) for level in (1, 2, 3)] == [3, 3, 3]
    torch = Fake("torch", 30.0)
    row = row_of(Fake("grus", 10.0), torch)
    rates_seen = [row["ceilings"]["fma_gflops"], *(rate for _, rate in row["ceilings"]["reads"])]
    assert torch.rates == 3 * len(rates_seen) and min(rates_seen) > 2 * len(rates_seen)  # all of the third round
    assert [size for size, _ in row["ceilings"]["reads"]] == list(ceilings.reads().values())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_ceilings_of_this_machine(threads: int) -> None:
    runs = ceilings.prepare(threads)
    best = {name: max(run(0.02) for _ in range(3)) for name, run in runs.items()}
    found = ceilings.Ceilings.of(best, threads)
    assert 0.1 < found.fma_gflops < 1e3 * threads
    assert len({size for size, _ in found.reads}) == len(found.reads) == 6
    rates = [found.gbs(level) for level in (1, 2, 3)]
    assert 0.1 < rates[2] <= rates[1] <= rates[0] < 1e4 * threads


def test_multiply_adds_are_counted_rightly() -> None:
    """No product is quicker, and no core does more than 32 multiply-adds a cycle."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a, b, ceiling, product = torch.randn(512, 512), torch.randn(512, 512), 0.0, 0.0
        for _ in range(10):
            ceiling = max(ceiling, ceilings.prepare(1)[ceilings.FMA](0.01))
            product = max(product, 2 * 512**3 / clock.microseconds(lambda: torch.mm(a, b), 0.01) / 1e3)
    finally:
        torch.set_num_threads(threads)
    assert product < 1.03 * ceiling and ceiling < 2 * 32 * 6.5


@pytest.mark.parametrize(
    ("compiler", "said"),
    [("no-such-compiler", "no C compiler 'no-such-compiler'"), ("false", "false does not compile")],
)
def test_without_a_compiler_the_limit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    target = tmp_path / "results.json"
    arguments = ["--shape", "3,2,4,5", "--pass", "forward", "--peers", "torch", "--threads", "1", "--rounds", "2"]
    done = run(*arguments, "--json", str(target))
    assert done.returncode == 0 and f"no limit: {said}" in done.stdout
    saved = json.loads(target.read_text(encoding="utf-8"))
    assert saved["rows"][0]["limit"] is None and saved["rows"][0]["ratios"]
    page = report.markdown(saved)
    assert f"No limits: {said}" in page and page.splitlines()[-5].endswith("| – | – | – |")
    assert report.exceeded(saved["rows"]) == ""


def test_a_limit_for_avx2_is_measured_without_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "sh -c 'echo \"$@\" >&2; exit 1' cc")
    for isa, there in (("avx2", True), ("avx512", False)):
        monkeypatch.setenv("GRUS_ISA", isa)
        with pytest.raises(ceilings.Unmeasured, match="-march=native") as caught:
            ceilings.prepare(5)
        assert ("-mno-avx512f" in str(caught.value)) is there


def row_at(share: float) -> dict[str, Any]:
    own = limit(SMALL, CEILINGS).microseconds / share
    return compare(SMALL, {"grus": {"status": "ok", "microseconds": own}}, CEILINGS)


def test_a_limit_that_is_exceeded_is_said() -> None:
    within, beyond = row_at(1.02), row_at(1.05)
    said = f"Above 103% of a limit, which is wrong there: {SMALL} (105%, FMA)."
    assert report.exceeded([within, row_at(0.5)]) == "" and report.exceeded([within, beyond]) == said
    assert said in report.markdown(results([within, beyond])) and "Above" not in report.markdown(results([within]))


def test_the_page_names_the_ceilings_of_either_kind() -> None:
    page = report.markdown(results([row_at(0.5)]))
    assert "multiply-adds 100 to 100 GFLOP/s; reading from L1 200 to 200, L2 50 to 50, L3 20 to 20 GB/s" in page
    old = row_at(0.5) | {"ceilings": {"threads": 2, "product_gflops": 9.0, "l2_gbs": 8.0, "l3_gbs": 7.0, "l2_bytes": 1}}
    page = report.markdown(results([old]))
    assert "a 1024³ product 9 to 9 GFLOP/s; reading from L2 8 to 8, from L3 7 to 7 GB/s" in page
