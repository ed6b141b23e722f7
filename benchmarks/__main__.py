"""Time Grus beside its peers.

python -m benchmarks                          every shape: benchmarks/results/cpu.json, docs/performance.md
python -m benchmarks --shape 100,1,256,256    one shape by hand, forward and train
python -m benchmarks --quick                  a few small shapes and two rounds: does it all work?
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import shlex
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import grus
from benchmarks import cases, report
from benchmarks.cases import Case
from benchmarks.measure import Effort, Row, measure
from benchmarks.peers import PEERS
from benchmarks.processes import Worker, WorkerError, busy_neighbour
from grus.files import write_whole
from grus.runtime import kernels

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "cpu.json", ROOT / "docs" / "performance.md"


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.render:
        _write_page(json.loads(RESULTS.read_text(encoding="utf-8")))
        return
    try:
        chosen = _cases(options)
    except ValueError as error:
        parser.error(str(error))
    absent = [name for name in options.peers if not _installed(name)]
    if not _installed("torch"):
        parser.error("torch is not installed: the gate needs it as its baseline")
    effort = Effort(rounds=2, seconds=0.005, rest=0.005) if options.quick else Effort()
    effort = dataclasses.replace(effort, rounds=options.rounds or effort.rounds)
    reported = ["grus", *(name for name in options.peers if name not in absent)]
    results = _header(options, effort, reported, absent)
    print(f"{results['cpu']}, {options.threads} threads, {results['isa']}; median µs a call, quartiles over rounds")
    print(*(f"{name} {version}" for name, version in results["versions"].items()), sep=" · ")
    print(*(f"{name}: not installed" for name in absent), sep="\n", end="\n" if absent else "")
    try:
        results["rows"] = _rows(chosen, reported, options, effort)
    except WorkerError as error:
        sys.exit(f"benchmarks: torch, the baseline of the gate, failed: {error}")
    losses = report.behind(results["rows"])
    print(f"\nbehind in {len(losses)} of {len(chosen)} cases", *losses, sep="\n  ")
    if wrong := report.exceeded(results["rows"]):
        print(wrong)
    whole = not (options.shape or options.quick or options.isa or options.neighbour)
    target = options.json or (RESULTS if whole else None)
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    if whole and not options.json:
        _write_page(results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=_sizes, metavar="T,B,I,H", help="time this shape alone, and write nothing")
    parser.add_argument("--layers", type=int, default=1, help="of --shape (default: 1)")
    parser.add_argument("--bidirectional", action="store_true", help="two directions, for --shape")
    parser.add_argument("--reset-before", action="store_true", help="the papers' form, for --shape")
    parser.add_argument("--pass", dest="mode", choices=cases.PASSES, help="of --shape (default: forward, train)")
    parser.add_argument("--peers", type=_names, default=[n for n in PEERS if n != "grus"], metavar="NAME,...")
    parser.add_argument("--threads", type=_positive, default=2, help="for every contestant (default: 2)")
    parser.add_argument("--rounds", type=_positive, help="default: 15, with --quick 2")
    parser.add_argument("--seed", type=int, default=0, help="of the order of turns")
    parser.add_argument("--isa", choices=["avx2"], help="keep Grus and the peers that have a switch to AVX2")
    parser.add_argument("--neighbour", action="store_true", help="beside a process that keeps one of the cores busy")
    parser.add_argument("--quick", action="store_true", help="a few small shapes, two rounds; write nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, and nothing else")
    parser.add_argument("--render", action="store_true", help="only make the page's table from the results again")
    return parser


def _sizes(given: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in given.split(","))
    if len(sizes) != 4:
        raise argparse.ArgumentTypeError(f"{given!r} has {len(sizes)} sizes, expected T,B,I,H")
    return sizes


def _names(given: str) -> list[str]:
    names = given.split(",")
    if unknown := [name for name in names if name not in PEERS or name == "grus"]:
        known = ", ".join(name for name in PEERS if name != "grus")
        raise argparse.ArgumentTypeError(f"no peer {', '.join(unknown)}, expected some of {known}")
    return names


def _positive(given: str) -> int:
    if int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given} is less than 1")
    return int(given)


def _cases(options: argparse.Namespace) -> list[Case]:
    if options.shape is None:
        return cases.QUICK if options.quick else cases.SHAPES
    modes: tuple[cases.Pass, ...] = (options.mode,) if options.mode else ("forward", "train")
    T, B, I, H = options.shape  # noqa: E741
    variant = {"layers": options.layers, "bidirectional": options.bidirectional, "reset_before": options.reset_before}
    return [Case(T, B, I, H, **variant, mode=mode) for mode in modes]


def _installed(peer: str) -> bool:
    return all(importlib.util.find_spec(package) for package in PEERS[peer].packages)


def _header(options: argparse.Namespace, effort: Effort, reported: list[str], absent: list[str]) -> Row:
    packages = dict.fromkeys(package for name in reported for package in PEERS[name].packages)
    return {
        "date": dt.date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "threads": options.threads,
        "isa": options.isa or kernels.default_isa(),
        "rounds": effort.rounds,
        "seed": options.seed,
        "neighbour": options.neighbour,
        "versions": {"grus": grus.__version__} | {name: importlib.metadata.version(name) for name in packages},
        "not_installed": absent,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    pairs = (line.partition(":") for line in lines)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name


def _rows(chosen: list[Case], reported: list[str], options: argparse.Namespace, effort: Effort) -> list[Row]:
    order = random.Random(options.seed)
    rows = []
    with ExitStack() as stack:
        if options.neighbour:
            stack.enter_context(busy_neighbour())
        names = dict.fromkeys(["torch", *reported])
        workers = {n: stack.enter_context(closing(Worker(n, options.threads, options.isa))) for n in names}
        for case in chosen:
            rows.append(measure(case, workers, workers.keys() - set(reported), options.threads, effort, order))
            print("\n" + report.text(rows[-1]), flush=True)
    return rows


def _write_page(results: Row) -> None:
    write_whole(PAGE, report.insert(PAGE, report.markdown(results)).encode())


if __name__ == "__main__":
    main()
