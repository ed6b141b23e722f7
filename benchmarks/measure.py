"""One case: gate every contestant, time those that pass, and put the figures beside each other."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from benchmarks.cases import Case, Problem
from benchmarks.ceilings import Ceilings, limit
from benchmarks.clock import quartiles, take_turns
from benchmarks.gate import exact, verdict
from benchmarks.peers import is_ours
from benchmarks.processes import WorkerError

Row = dict[str, Any]


class Bench(Protocol):
    """A peer at work; ``benchmarks.processes.Worker`` is one."""

    def prepare(self, case: Case) -> list[str]: ...
    def prepare_ceilings(self) -> list[str]: ...
    def arrays(self, name: str) -> dict[str, Any]: ...
    def microseconds(self, name: str, seconds: float) -> float: ...


@dataclass(frozen=True)
class Effort:
    """``seconds`` for each contestant and round, ``rest`` before it."""

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
    for name in (ceilings := peers["torch"].prepare_ceilings()):
        owner[name] = "torch"

    def visit(name: str) -> float | None:
        try:
            return peers[owner[name]].microseconds(name, effort.seconds)
        except WorkerError as error:
            if name in ceilings:
                raise
            contestants[name] = {"status": "failed", "reason": str(error)}
            return None

    passed = [name for name, entry in contestants.items() if entry["status"] == "ok"]
    times = take_turns([*passed, *ceilings], visit, effort.rounds, effort.rest, order)
    for name in passed:
        if name in times:
            low, median, high = quartiles(times[name])
            contestants[name] |= {"microseconds": median, "quartiles": [low, high]}
    # a ceiling is the best round: what disturbs the others does not lower it
    return compare(case, contestants, Ceilings.of({name: min(times[name]) for name in ceilings}, threads))


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


def compare(case: Case, contestants: dict[str, Row], ceilings: Ceilings) -> Row:
    """Ratios are a peer's time over ours: above 1 we are faster."""
    row: Row = {"case": asdict(case), "flops": case.flops, "ours": ours(case), "contestants": contestants}
    row |= {"ratios": {}, "best_peer": None, "best_ratio": None, "gflops": None}
    least = limit(case, ceilings)
    own = contestants.get(ours(case), {}).get("microseconds")
    row |= {"ceilings": asdict(ceilings), "limit": least.beside(own)}
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
