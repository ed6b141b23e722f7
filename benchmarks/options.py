"""Time what grus.torch has beyond torch.nn, and what models gain by conversion.

python -m benchmarks.options             benchmarks/results/torch.json, docs/torch.md
python -m benchmarks.options --quick     two rounds, and nothing written
python -m benchmarks.options --only lengths     the rows whose names have it, and nothing written
"""

from __future__ import annotations

import argparse
import copy
import datetime as dt
import json
import random
import shlex
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import grus
import grus.torch
from benchmarks import clock, report
from benchmarks.__main__ import ROOT, _cpu
from benchmarks.models import CASES, Case
from grus.files import write_whole
from grus.runtime import kernels

RESULTS, PAGE = ROOT / "benchmarks" / "results" / "torch.json", ROOT / "docs" / "torch.md"
T, B, H = 100, 32, 256
Run = Callable[[], object]
Row = dict[str, Any]


class Loop(nn.Module):
    """A GRU with zoneout or layer normalisation as PyTorch's users write one today, a step at a time."""

    def __init__(self, size: int, zoneout: float = 0.0, layer_norm: bool = False) -> None:
        super().__init__()
        self.project, self.recur = nn.Linear(size, 3 * size), nn.Linear(size, 3 * size, bias=not layer_norm)
        self.zoneout = zoneout
        self.norms = nn.ModuleList(nn.LayerNorm(rows) for rows in (2 * size, size) * 2) if layer_norm else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, size = x.new_zeros(x.shape[1:]), x.shape[-1]
        projected, states = self.project(x), []
        for t in range(len(x)):
            a, u = projected[t], self.recur(h)
            a_rz, a_n = a.split([2 * size, size], -1)
            u_rz, u_n = u.split([2 * size, size], -1)
            if self.norms is not None:
                a_rz, a_n, u_rz, u_n = (
                    norm(part) for norm, part in zip(self.norms, (a_rz, a_n, u_rz, u_n), strict=True)
                )
            r, z = torch.sigmoid(a_rz + u_rz).chunk(2, -1)
            after = torch.lerp(torch.tanh(a_n + r * u_n), h, z)
            if self.zoneout:
                mask = torch.empty_like(h).bernoulli_(self.zoneout) if self.training else self.zoneout
                after = mask * h + (1 - mask) * after
            h = after
            states.append(h)
        return torch.stack(states), h


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--threads", type=int, choices=range(1, 65), metavar="COUNT", default=2, help="for everyone (default: 2)"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two rounds; write nothing")
    parser.add_argument("--only", metavar="WORD", default="", help="only rows with it in their name; write nothing")
    parser.add_argument("--render", action="store_true", help="only make the page's tables from the results again")
    options = parser.parse_args()
    if options.render:
        _write_page(json.loads(RESULTS.read_text(encoding="utf-8")))
        return
    torch.set_num_threads(options.threads)
    kernels.set_num_threads(options.threads)
    results: Row = {
        "date": dt.date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.options", *sys.argv[1:]]),
        "cpu": _cpu(),
        "threads": options.threads,
        "isa": kernels.default_isa(),
        "rounds": 2 if options.quick else options.rounds,
        "versions": {"grus": grus.__version__, "torch": torch.__version__},
    }
    for section, contestants in (("options", _options()), ("steps", _steps()), ("models", _models())):
        results[section] = {}
        for name, runs in contestants.items():
            if options.only not in name:
                continue
            times = _timed(runs, results["rounds"])
            results[section][name] = times
            print(f"{section}: {name}", *(f"{who} {report.number(us)} µs" for who, us in times.items()), sep="  ")
    if not options.quick and not options.only:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        write_whole(RESULTS, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
        _write_page(results)


def _timed(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """The lower quartile over rounds, in each of which everyone has a turn: what else runs here only ever adds."""
    times = clock.take_turns(
        list(runs), lambda name: clock.microseconds(runs[name], 0.03), rounds, 0.01, random.Random(0)
    )
    return {name: clock.quartiles(values)[0] for name, values in times.items()}


def _forward(module: nn.Module, *arguments: Any, **keywords: Any) -> Run:
    module = copy.deepcopy(module).eval()

    def run() -> None:
        with torch.no_grad():
            module(*arguments, **keywords)

    return run


def _training(module: nn.Module, x: Tensor, **keywords: Any) -> Run:
    """Forward and backward, with gradients by x and the weights."""
    x = x.clone().requires_grad_()

    def run() -> None:
        module.zero_grad()
        x.grad = None
        module(x, **keywords)[0].sum().backward()

    return run


def _options() -> dict[str, dict[str, Run]]:
    """Each beside the plain layer, and beside a loop in PyTorch where that is the way today."""
    x = torch.randn(T, B, H)
    plain = grus.torch.GRU(H, H)
    resets = torch.rand(T, B) < 0.05
    longest = torch.linspace(T, T // 10, B).round().long()  # 55 % of all steps
    lengths = longest[torch.randperm(B)]
    found: dict[str, dict[str, Run]] = {
        "return_gates, forward": {"plain": _forward(plain, x), "ours": _forward(plain, x, return_gates=True)}
    }
    chosen: dict[str, dict[str, Any]] = {
        "zoneout": {"zoneout": 0.1},
        "layer_norm": {"layer_norm": True},
        "input_dropout and recurrent_dropout": {"input_dropout": 0.2, "recurrent_dropout": 0.2},
        "weight_drop": {"weight_drop": 0.3},
    }
    for name, option in chosen.items():
        found[name] = {"plain": _training(plain, x), "ours": _training(grus.torch.GRU(H, H, **option), x)}
        if name in ("zoneout", "layer_norm"):
            found[name]["loop"] = _training(Loop(H, **option), x)
    found["lengths, at random"] = {"plain": _training(plain, x), "ours": _training(plain, x, lengths=lengths)}
    found["lengths, the longest first"] = {
        "plain": _training(plain, x),
        "ours": _training(plain, x, lengths=longest),
    }
    found["resets"] = {"plain": _training(plain, x), "ours": _training(plain, x, resets=resets)}
    return found


def _steps() -> dict[str, dict[str, Run]]:
    """Where the code around a step takes longer than the step."""
    layers = nn.GRU(64, 64), grus.torch.GRU(64, 64)
    found: dict[str, dict[str, Run]] = {
        "one step of a GRU, B = 1, H = 64": {
            name: _forward(layer, torch.randn(1, 1, 64), torch.randn(1, 1, 64))
            for name, layer in zip(("torch", "ours"), layers, strict=True)
        }
    }
    for batch, size in ((1, 64), (8, 64), (32, 64), (32, 256)):
        cells = nn.GRUCell(size, size), grus.torch.GRUCell(size, size)
        found[f"training a GRUCell over 32 steps, B = {batch}, H = {size}"] = {
            name: _unrolled(cell, torch.randn(32, batch, size))
            for name, cell in zip(("torch", "ours"), cells, strict=True)
        }
    return found


def _unrolled(cell: nn.Module, x: Tensor) -> Run:
    def run() -> None:
        cell.zero_grad()
        h = x.new_zeros(x.shape[1], x.shape[2])
        for features in x:
            h = cell(features, h)
        h.sum().backward()

    return run


def _models() -> dict[str, dict[str, Run]]:
    """benchmarks/models.py: as it is and converted, and the actor-critic with its loop made one call."""
    found: dict[str, dict[str, Run]] = {}
    for name, case in CASES.items():
        models = {"torch": case.make(), "ours": case.make()}
        models["ours"].load_state_dict(models["torch"].state_dict())
        grus.torch.convert(models["ours"])
        if name == "actor-critic":
            models["in one call"] = WithResets(models["torch"])
        batch = case.batch(0)
        exact = case.outputs(models["torch"].eval(), batch)
        for model in models.values():
            for one, other in zip(case.outputs(model.eval(), batch), exact, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        found[f"{name}, inference"] = {who: _inference(model, case) for who, model in models.items()}
        found[f"{name}, training step"] = {who: _optimised(model, case) for who, model in models.items()}
    return found


class WithResets(nn.Module):
    """The actor-critic of benchmarks/models.py with ``resets=`` in the place of its loop over time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encode, self.actor, self.critic = (copy.deepcopy(getattr(model, n)) for n in ("encode", "actor", "critic"))
        cell: Any = model.cell
        self.gru = grus.torch.GRU(cell.input_size, cell.hidden_size)
        self.gru.load_state_dict({f"{name}_l0": weight for name, weight in cell.state_dict().items()})

    def forward(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory, after = self.gru(self.encode(observations), state.unsqueeze(0), resets=starts.bool())
        return self.actor(memory), self.critic(memory).squeeze(-1), after.squeeze(0)


def _inference(model: nn.Module, case: Case) -> Run:
    model, batch = copy.deepcopy(model).eval(), case.batch(0)

    def run() -> None:
        with torch.no_grad():
            case.outputs(model, batch)

    return run


def _optimised(model: nn.Module, case: Case) -> Run:
    model, batch = copy.deepcopy(model).train(), case.batch(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-4)

    def run() -> None:
        optimiser.zero_grad()
        case.loss(model, batch).backward()
        optimiser.step()

    return run


def markdown(results: Row) -> str:
    """The generated part of docs/torch.md."""
    versions = " · ".join(f"{name} {version}" for name, version in results["versions"].items())
    machine = (
        f"{results['cpu']}, {results['threads']} threads, {results['isa']}; {results['rounds']} rounds; {versions}"
    )
    sizes = f"T = {T}, B = {B}, I = H = {H}"
    head = {
        "options": f"What an option costs: {sizes}, forward and backward unless it says forward, in µs.",
        "steps": "Small steps, in µs.",
        "models": "Models as they are and after `convert`, in µs.",
    }
    ratios = {
        "options": {"ours ÷ plain": ("ours", "plain"), "loop ÷ ours": ("loop", "ours")},
        "steps": {"torch ÷ ours": ("torch", "ours")},
        "models": {"torch ÷ ours": ("torch", "ours"), "torch ÷ in one call": ("torch", "in one call")},
    }
    parts = [f"Measured on {results['date']} with `{results['command']}`: {machine}."]
    for section, title in head.items():
        parts += [title, _table(results[section], ratios[section])]
    return "\n\n".join(parts)


def _table(rows: Row, ratios: dict[str, tuple[str, str]]) -> str:
    columns = list(dict.fromkeys(name for times in rows.values() for name in times))
    lines = [["", *columns, *ratios], ["---"] * (1 + len(columns) + len(ratios))]
    for name, times in rows.items():
        cells = [report.number(times[column]) if column in times else "–" for column in columns]
        pairs = ((times.get(above), times.get(below)) for above, below in ratios.values())
        cells += ["–" if above is None or below is None else f"**{above / below:.2f}**" for above, below in pairs]
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _write_page(results: Row) -> None:
    write_whole(PAGE, report.insert(PAGE, markdown(results)).encode())


if __name__ == "__main__":
    main()
