"""One case: gate every contestant, time those that pass, and put the figures beside each other."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from benchmarks.cases import Case, Problem
from benchmarks.ceilings import Ceilings
from benchmarks.clock import quartiles, take_turns
from benchmarks.gate import exact, verdict
from benchmarks.limits import limit
from benchmarks.peers import is_ours
from benchmarks.processes import WorkerError

Row = dict[str, Any]


class Bench(Protocol):
    """A peer at work; ``benchmarks.processes.Worker`` is one.

    ``prepare_ceilings`` gives names for ``rate``, or why there are none.
    """

    def prepare(self, case: Case) -> list[str]: ...
    def prepare_ceilings(self) -> tuple[list[str], str]: ...
    def arrays(self, name: str) -> dict[str, Any]: ...
    def microseconds(self, name: str, seconds: float) -> float: ...
    def rate(self, name: str, seconds: float) -> float: ...


@dataclass(frozen=True)
class Effort:
    """``seconds`` for each contestant and round, a third of it for each ceiling; ``rest`` before it."""

    rounds: int = 15
    seconds: float = 0.03
    rest: float = 0.01


def ours(case: Case) -> str:
    """Which of our rows is held against the peers: what a user would call. Fixed beforehand, not the best of them."""
    return "grus.torch" if case.mode == "train" else "grus"


def measure(
    case: Case, peers: Mapping[str, Bench], hidden: set[str], threads: int, effort: Effort, order: random.Random
) -> Row:
    """The row of one case. ``peers`` holds "torch", the baseline of the gate; ``hidden`` peers are not reported."""
    contestants, owner = _gated(case, peers)
    contestants = {name: entry for name, entry in contestants.items() if owner[name] not in hidden}
    ceilings, reason = peers["torch"].prepare_ceilings()

    def visit(name: str) -> float | None:
        if name in ceilings:
            return peers["torch"].rate(name, effort.seconds / 3)
        try:
            return peers[owner[name]].microseconds(name, effort.seconds)
        except WorkerError as error:
            contestants[name] = {"status": "failed", "reason": str(error)}
            return None

    passed = [name for name, entry in contestants.items() if entry["status"] == "ok"]
    times = take_turns([*passed, *ceilings], visit, effort.rounds, effort.rest, order)
    for name in passed:
        if name in times:
            low, median, high = quartiles(times[name])
            contestants[name] |= {"microseconds": median, "quartiles": [low, high]}
    # a ceiling is the best round: what disturbs the others does not lower it
    best = {name: max(times[name]) for name in ceilings}
    return compare(case, contestants, Ceilings.of(best, threads) if best else reason)


def _gated(case: Case, peers: Mapping[str, Bench]) -> tuple[dict[str, Row], dict[str, str]]:
    """Each contestant's verdict, and whose it is."""
    results: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for peer, bench in peers.items():
        try:
            names = bench.prepare(case)
        except WorkerError as error:
            names, results[peer], owner[peer] = [], error, peer
        for name in names:
            owner[name] = peer
            try:
                results[name] = bench.arrays(name)
            except WorkerError as error:
                results[name] = error
    if isinstance(results["torch"], WorkerError):
        raise results["torch"]
    truth, contestants = exact(Problem(case)), {}
    for name, result in results.items():
        if isinstance(result, WorkerError):
            contestants[name] = {"status": "failed", "reason": str(result)}
        elif reason := verdict(result, truth, results["torch"]):
            contestants[name] = {"status": "wrong", "reason": reason}
        else:
            contestants[name] = {"status": "ok"}
    return contestants, owner


def compare(case: Case, contestants: dict[str, Row], ceilings: Ceilings | str) -> Row:
    """Ratios are a peer's time over ours: above 1 we are faster. Where there are no ceilings, the reason."""
    row: Row = {"case": asdict(case), "flops": case.flops, "ours": ours(case), "contestants": contestants}
    row |= {"ratios": {}, "best_peer": None, "best_ratio": None, "gflops": None}
    own = contestants.get(ours(case), {}).get("microseconds")
    if isinstance(ceilings, str):
        row |= {"ceilings": {"left_out": ceilings}, "limit": None}
    else:
        row |= {"ceilings": asdict(ceilings), "limit": limit(case, ceilings).beside(own)}
    if own is None:
        return row
    peers = {
        name: entry["microseconds"]
        for name, entry in contestants.items()
        if not is_ours(name) and "microseconds" in entry
    }
    row |= {"ratios": {name: value / own for name, value in peers.items()}, "gflops": case.flops / own / 1e3}
    if peers:
        row["best_peer"] = min(peers, key=peers.__getitem__)
        row["best_ratio"] = row["ratios"][row["best_peer"]]
    return row
