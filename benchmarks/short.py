"""Time short calls beside torch.nn: one to four steps at a time, and loops of cells.

python -m benchmarks.short                  benchmarks/results/short.json, and its tables in docs/performance.md
python -m benchmarks.short --quick          small shapes, two rounds, and nothing written
python -m benchmarks.short --only 1,16,256  the rows of one T,B,H, and nothing written
python -m benchmarks.short --render         only make the page's tables from the results again
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import grus
import grus.torch
from benchmarks import clock, report
from benchmarks.__main__ import PAGE, ROOT, _cpu
from grus.files import write_whole
from grus.runtime import kernels

RESULTS = ROOT / "benchmarks" / "results" / "short.json"
STEPS, BATCHES, SIZES = (1, 2, 4), (1, 16, 256), (32, 64, 128, 256, 512, 1024)
Run = Callable[[], object]
Row = dict[str, Any]


def main() -> int:
    options = _options()
    if options.render:
        _write_page(json.loads(RESULTS.read_text(encoding="utf-8")))
        return 0
    torch.set_num_threads(options.threads)
    grus.set_num_threads(options.threads)
    rounds, seconds = (2, 0.002) if options.quick else (options.rounds, options.seconds)
    rows = []
    print("median µs a call: torch.nn, grus.torch, and the first over the second")
    for row, runs in _cases(options):
        if wrong := _differs(*runs["results"]):
            print(f"{_name(row)} WRONG: {wrong}")
            return 1
        for kind in ("inference", "training"):
            if kind in runs:
                row[kind] = _timed(runs[kind], rounds, seconds)
        rows.append(row)
        print(_line(row), flush=True)
    if not options.quick and not options.only:
        found = {
            "date": dt.date.today().isoformat(),
            "command": shlex.join(["python", "-m", "benchmarks.short", *sys.argv[1:]]),
        }
        found |= {"cpu": _cpu(), "cpus": len(os.sched_getaffinity(0)), "threads": options.threads}
        found |= {"isa": kernels.default_isa(), "rounds": rounds}
        found |= {"versions": {"grus": grus.__version__, "torch": torch.__version__}, "rows": rows}
        write_whole(RESULTS, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        _write_page(found)
    return 0


def _cases(options: argparse.Namespace) -> Iterator[tuple[Row, dict[str, Any]]]:
    only = options.only
    sizes = (32,) if options.quick else SIZES
    for module in ("GRU", "GRUCell"):
        for H in (only[2],) if only else sizes:
            for T in (only[0],) if only else STEPS:
                for B in (only[1],) if only else BATCHES:
                    if module == "GRU" or T == 1:
                        yield {"module": module, "T": T, "B": B, "H": H}, _modules(module, T, B, H)
    if not only:
        small = options.quick
        for name, make in (("decoder", Decoder), ("actor and critic", Player)):
            yield {"module": name} | make.sizes, _loops(make, small)


def _pair(module: str, H: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs, ours = getattr(nn, module)(H, H), getattr(grus.torch, module)(H, H)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def _modules(module: str, T: int, B: int, H: int) -> dict[str, Any]:
    shape = (B, H) if module == "GRUCell" else (T, B, H)
    x, h, dy = torch.randn(shape), torch.randn(shape[-2:] if module == "GRUCell" else (1, B, H)), torch.randn(shape)

    def output(one: nn.Module) -> Tensor:
        found = one(x, h)
        return found if isinstance(found, Tensor) else found[0]

    def inference(one: nn.Module) -> Run:
        def run() -> None:
            with torch.inference_mode():
                one(x, h)

        return run

    pair = _pair(module, H)
    training = [_training(one, lambda one=one: output(one).backward(dy)) for one in pair]
    results = [_results(one, lambda one=one: (output(one) * dy).sum()) for one in pair]
    return {"results": results, "inference": [*map(inference, pair)], "training": training}


def _training(module: nn.Module, backward: Run) -> Run:
    """A step: gradients, and an optimiser that changes the weights."""
    optimiser = torch.optim.SGD(module.parameters(), 1e-7)

    def run() -> None:
        backward()
        optimiser.step()
        optimiser.zero_grad()

    return run


class Decoder(nn.Module):
    """A loop of a cell that looks at what an encoder read (Luong et al. 2015, arXiv:1508.04025, with input feeding)."""

    sizes = {"T": 20, "B": 32, "H": 256}  # noqa: RUF012
    read = 50

    def __init__(self, cell: Callable[..., nn.Module], small: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.steps, batch, size = (2, 3, 8) if small else self.sizes.values()
        self.cell, self.out = cell(2 * size, size), nn.Linear(2 * size, size)
        self.memory = torch.randn(batch, self.read, size)
        self.x, self.start = torch.randn(self.steps, batch, size), torch.zeros(batch, size)

    def forward(self) -> Tensor:
        h = fed = self.start
        found = []
        for x in self.x:
            h = self.cell(torch.cat([x, fed], 1), h)
            weights = torch.softmax(torch.bmm(self.memory, h.unsqueeze(2)).squeeze(2), 1)
            context = torch.bmm(weights.unsqueeze(1), self.memory).squeeze(1)
            fed = torch.tanh(self.out(torch.cat([h, context], 1)))
            found.append(fed)
        return torch.stack(found).square().mean()


class Player(nn.Module):
    """An actor and critic over a cell: a rollout a step at a time, then gradients through it (Mnih et al. 2016,
    arXiv:1602.01783)."""

    sizes = {"T": 20, "B": 8, "H": 128}  # noqa: RUF012
    seen, actions = 16, 4

    def __init__(self, cell: Callable[..., nn.Module], small: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        steps, batch, size = (2, 3, 8) if small else self.sizes.values()
        self.cell = cell(self.seen, size)
        self.actor, self.critic = nn.Linear(size, self.actions), nn.Linear(size, 1)
        self.x, self.reward = torch.randn(steps, batch, self.seen), torch.randn(steps, batch)
        self.action = torch.randint(self.actions, (steps, batch, 1))
        self.start = torch.zeros(batch, size)

    def forward(self) -> Tensor:
        h, loss = self.start, torch.zeros(())
        for x, reward, action in zip(self.x, self.reward, self.action, strict=True):
            h = self.cell(x, h)
            value = self.critic(h).squeeze(1)
            advantage = reward - value
            chosen = torch.log_softmax(self.actor(h), 1).gather(1, action).squeeze(1)
            loss = loss + advantage.square().mean() - (chosen * advantage.detach()).mean()
        return loss


def _loops(make: Callable[..., nn.Module], small: bool) -> dict[str, Any]:
    theirs, ours = make(nn.GRUCell, small), make(grus.torch.GRUCell, small)
    ours.load_state_dict(theirs.state_dict())
    pair = (theirs, ours)
    training = [_training(one, lambda one=one: one().backward()) for one in pair]
    return {"results": [_results(one, one) for one in pair], "training": training}


def _results(module: nn.Module, loss: Callable[[], Tensor]) -> list[Tensor]:
    found = loss()
    return [found.detach(), *torch.autograd.grad(found, [*module.parameters()])]


def _differs(theirs: list[Tensor], ours: list[Tensor]) -> str:
    for one, other in zip(theirs, ours, strict=True):
        error = float((one - other).abs().max() / one.abs().max().clamp(min=1e-6))
        if (
            not error < 1e-4
        ):  # float32, sums of up to a quarter of a million terms; the promises have tests of their own
            return f"differs from torch.nn by {error:.1e} of the largest value"
    return ""


def _timed(pair: list[Run], rounds: int, seconds: float) -> dict[str, float]:
    names = ["torch", "grus"]
    runs = dict(zip(names, pair, strict=True))
    turns = clock.take_turns(names, lambda who: clock.microseconds(runs[who], seconds), rounds, 0.003, random.Random(0))
    return {who: clock.quartiles(values)[1] for who, values in turns.items()}


def _name(row: Row) -> str:
    return f"{row['module']:16} T {row['T']:2} B {row['B']:3} H {row['H']:4}"


def _line(row: Row) -> str:
    parts = [_name(row)]
    for kind in ("inference", "training"):
        if kind in row:
            theirs, ours = row[kind]["torch"], row[kind]["grus"]
            parts.append(f"{kind} {report.number(theirs):>8} {report.number(ours):>8} {theirs / ours:6.2f}")
    return "  ".join(parts)


def markdown(found: Row) -> str:
    """What docs/performance.md shows of the results."""
    lines = [
        f"Measured on {found['date']} with `{found['command']}`: {found['cpu']}, {found['threads']} threads, "
        f"{found['isa']}; {found['rounds']} rounds; PyTorch {found['versions']['torch']}.",
        "",
        "| | T | B | H | inference: torch.nn | grus.torch | ratio | training: torch.nn | grus.torch | ratio |",
        "| --- " * 10 + "|",
    ]
    behind = []
    for row in found["rows"]:
        cells = [row["module"], *(str(row[size]) for size in "TBH")]
        for kind in ("inference", "training"):
            if kind not in row:
                cells += ["–"] * 3
                continue
            theirs, ours = row[kind]["torch"], row[kind]["grus"]
            cells += [report.number(theirs), report.number(ours), f"{theirs / ours:.2f}"]
            if theirs < ours:
                behind.append(f"{kind} of {row['module']} T={row['T']} B={row['B']} H={row['H']} ({theirs / ours:.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    last = "Behind: " + ", ".join(behind) + "." if behind else "Nowhere behind in this run."
    return "\n".join([*lines, "", last])


def _write_page(found: Row) -> None:
    write_whole(PAGE, report.insert(PAGE, markdown(found), "short").encode())


def _shape(given: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in given.split(","))
    if len(sizes) != 3:
        raise argparse.ArgumentTypeError(f"{given!r} has {len(sizes)} sizes, expected T,B,H")
    return sizes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.02, help="of a turn (default: 0.02)")
    parser.add_argument("--only", type=_shape, metavar="T,B,H", help="these sizes alone; write nothing")
    parser.add_argument("--quick", action="store_true", help="small shapes, two rounds; write nothing")
    parser.add_argument("--render", action="store_true", help="only make the page's table from the results again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
