"""Check and time grus.torch beside torch.nn on a GPU.

python -m benchmarks.gpu                    benchmarks/results/gpu.json, and a table on the terminal
python -m benchmarks.gpu --quick            small shapes, two rounds, and nothing written
python -m benchmarks.gpu --only lengths     the rows whose names have it, and nothing written
python -m benchmarks.gpu --quick --device cpu --dtype float64     a trial of this program where there is no GPU
"""

from __future__ import annotations

import argparse
import copy
import datetime as dt
import json
import random
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import grus
import grus.torch
from benchmarks import clock, report
from benchmarks.__main__ import ROOT
from benchmarks.options import Loop
from grus.files import write_whole

RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
SHAPES = [(1, 1, 256), (1, 256, 1024), (100, 1, 256), (100, 32, 256), (512, 64, 1024), (784, 64, 128)]  # T, B, I = H
QUICK = [(1, 1, 8), (6, 3, 8)]
Call = Callable[[nn.Module, Tensor], Tensor]


class Row(NamedTuple):
    """Who is timed against whom: modules of a size, and what is called of them."""

    theirs: Callable[[int], nn.Module]
    ours: Callable[[int], nn.Module]
    call_theirs: Call
    call: Call


def layer(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)[0]  # type: ignore[no-any-return]


def cells(module: nn.Module, x: Tensor) -> Tensor:
    h, states = None, []
    for one in x:
        h = module(one, h)
        states.append(h)
    return torch.stack(states)  # type: ignore[arg-type]


def lengths(x: Tensor) -> Tensor:
    """From one step to all, evenly."""
    return torch.linspace(1, len(x), x.shape[1]).round().long()


def packed(module: nn.Module, x: Tensor) -> Tensor:
    rows = pack_padded_sequence(x, lengths(x), enforce_sorted=False)
    return pad_packed_sequence(module(rows)[0], total_length=len(x))[0]


def with_lengths(module: nn.Module, x: Tensor) -> Tensor:
    return module(x, lengths=lengths(x))[0]  # type: ignore[no-any-return]


def _drop_in(call_theirs: Call = layer, call: Call = layer, **options: Any) -> Row:
    """The same module converted."""

    def theirs(size: int) -> nn.Module:
        return nn.GRU(size, size, **options)

    return Row(theirs, lambda size: grus.torch.convert(theirs(size)).module, call_theirs, call)


ROWS = {
    "GRU": _drop_in(),
    "GRU, 2 layers, two directions": _drop_in(num_layers=2, bidirectional=True),
    "GRU, dropout between 3 layers": _drop_in(num_layers=3, dropout=0.3),
    "GRU, packed": _drop_in(packed, packed),
    "GRU, lengths": _drop_in(packed, with_lengths),
    "GRUCell, a loop": Row(
        lambda size: nn.GRUCell(size, size), lambda size: grus.torch.GRUCell(size, size), cells, cells
    ),
    "zoneout": Row(
        lambda size: Loop(size, zoneout=0.1), lambda size: grus.torch.GRU(size, size, zoneout=0.1), layer, layer
    ),
    "layer_norm": Row(
        lambda size: Loop(size, layer_norm=True),
        lambda size: grus.torch.GRU(size, size, layer_norm=True),
        layer,
        layer,
    ),
}


def main() -> int:
    options = _options()
    if options.device is None:
        print(
            "benchmarks.gpu: PyTorch sees no GPU here, nothing was measured; --device cpu tries it out", file=sys.stderr
        )
        return 2
    rounds = 2 if options.quick else options.rounds
    wrong, found = 0, []
    print("median µs a call; theirs ÷ ours")
    for dtype in options.dtype:
        for shape in QUICK if options.quick else SHAPES:
            for name, row in ROWS.items():
                if options.only not in name or (row.call is cells and shape[0] > 100):
                    continue
                one = measure(row, shape, torch.device(options.device), DTYPES[dtype], rounds, options.seconds)
                found.append({"name": name, "T": shape[0], "B": shape[1], "size": shape[2], "dtype": dtype} | one)
                wrong += not one["right"]
                print(_line(found[-1]), flush=True)
    if not options.quick and not options.only:
        results = {"date": dt.date.today().isoformat(), "command": _command(), "device": _name(options.device)}
        versions = {"grus": grus.__version__, "torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
        results |= {"rounds": rounds, "versions": versions, "rows": found}
        write_whole(RESULTS, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"written: {RESULTS.relative_to(ROOT)}")
    return 1 if wrong else 0


def measure(
    row: Row, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype, rounds: int, seconds: float
) -> dict[str, Any]:
    """Errors first; times where they are good: in every round each contestant has a turn."""
    steps, batch, size = shape
    torch.manual_seed(0)
    exact = row.ours(size).double()  # on the CPU
    x = torch.randn(steps, batch, size, dtype=dtype)
    ours, theirs = (copy.deepcopy(module).to(device, dtype) for module in (exact, row.theirs(size)))
    if [*exact.state_dict()] == [*theirs.state_dict()]:  # the same weights
        theirs.load_state_dict(exact.state_dict())
    given = x.to(device)
    wanted = results(exact, row.call, x.double())
    own = _error(results(ours, row.call, given), wanted)
    # what the dtype itself makes of a sequence this long
    plain = nn.GRU(size, size)
    base = results(copy.deepcopy(plain).double(), layer, x.double())
    usual = _error(results(copy.deepcopy(plain).to(device, dtype), layer, given), base)
    found: dict[str, Any] = {"error": own, "usual_error": usual}
    found["right"] = own <= 4 * usual + 64 * torch.finfo(dtype).eps
    if not found["right"]:
        return found
    for kind, make in (("forward", _forward), ("training", _training)):
        runs = {"theirs": make(theirs, row.call_theirs, given), "ours": make(ours, row.call, given)}
        turns = clock.take_turns(
            list(runs), lambda who, runs=runs: _timed(runs[who], device, seconds), rounds, 0, random.Random(0)
        )
        found[kind] = {who: clock.quartiles(values)[1] for who, values in turns.items()}
    return found


def results(module: nn.Module, call: Call, x: Tensor) -> list[Tensor]:
    """y and all gradients, in evaluation, where nothing is drawn."""
    module.eval().zero_grad()
    x = x.detach().requires_grad_()
    try:
        y = call(module, x)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view(y.shape) / len(y))
    finally:
        module.train()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters())]  # type: ignore[list-item]


def _error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest, as a part of the largest value of each; NaN counts as infinite."""
    pairs = [(one.double().cpu(), right) for one, right in zip(found, exact, strict=True)]
    worst = max(float((one - right).abs().max() / right.abs().max().clamp(min=1e-12)) for one, right in pairs)
    return worst if all(bool(one.isfinite().all()) for one, _ in pairs) else float("inf")


def _forward(module: nn.Module, call: Call, x: Tensor) -> Callable[[], object]:
    module = copy.deepcopy(module).eval()
    if isinstance(module, nn.GRU | grus.torch.GRU):
        module.flatten_parameters()

    def run() -> None:
        with torch.no_grad():
            call(module, x)

    return run


def _training(module: nn.Module, call: Call, x: Tensor) -> Callable[[], object]:
    x = x.clone().requires_grad_()

    def run() -> None:
        module.zero_grad()
        x.grad = None
        call(module, x).sum().backward()

    return run


def _timed(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """µs a call of as many as take ``seconds``; the device is waited for."""
    run()
    once = _time(run, device, 1)
    return _time(run, device, max(1, round(seconds / once))) * 1e6


def _time(run: Callable[[], object], device: torch.device, calls: int) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    _wait(device)
    return (time.perf_counter() - start) / calls


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _line(row: dict[str, Any]) -> str:
    head = f"{row['name']:30} T {row['T']:4} B {row['B']:4} size {row['size']:5} {row['dtype']:9}"
    if not row["right"]:
        return f"{head} WRONG: error {row['error']:.1e}, of torch.nn.GRU {row['usual_error']:.1e}"
    parts = []
    for kind in ("forward", "training"):
        theirs, ours = row[kind]["theirs"], row[kind]["ours"]
        parts.append(f"{kind} {report.number(theirs)} {report.number(ours)} {theirs / ours:.2f}")
    return "  ".join([head, *parts])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    parser.add_argument("--device", default=None if found is None else str(found), help="default: the GPU there is")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32", "bfloat16", "float16"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.05, help="of a turn (default: 0.05)")
    parser.add_argument("--quick", action="store_true", help="small shapes, two rounds; write nothing")
    parser.add_argument("--only", metavar="WORD", default="", help="only rows with it in their name; write nothing")
    return parser.parse_args()


def _command() -> str:
    return shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]])


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    sys.exit(main())
