"""Time the kernels and the layer beside torch.nn.GRU, in one run and in turn. What is timed is first held right.

python benchmarks/kernels.py [--seconds S] [--threads N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import grus
from grus import kernels, reference
from grus.torch import GRU
from grus.weights import GRUWeights

SHAPES = [  # T, B, I, H
    (1, 1, 64, 64),
    (1, 1, 256, 256),
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (100, 16, 128, 128),
    (100, 32, 256, 256),
    (100, 64, 512, 512),
    (784, 64, 1, 128),
]
Runs = dict[str, Callable[[], object]]


def contenders(T: int, B: int, I: int, H: int) -> dict[str, Runs]:  # noqa: E741
    """For each pass, who runs it. Raises SystemExit where one of them is wrong."""
    torch.manual_seed(0)
    theirs, ours = torch.nn.GRU(I, H), GRU(I, H)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, I)
    arrays = [parameter.detach().numpy() for parameter in theirs.parameters()]
    layer = kernels.Layer(GRUWeights(*arrays))
    x_array = x.numpy()
    exact = reference.forward(x_array, np.zeros((B, H)), *arrays)
    with torch.no_grad():
        bound = 2 * np.abs(theirs(x)[0].numpy() - exact).max() + 2.0**-21
        outputs = {"torch.nn.GRU": theirs(x)[0], "grus.torch.GRU": ours(x)[0]}
    outputs["grus.kernels"] = torch.from_numpy(layer.forward(x_array)[0])
    for name, output in outputs.items():
        error = np.abs(output.numpy() - exact).max()
        if error > bound:
            sys.exit(f"{name} is wrong at T={T} B={B} I={I} H={H}: error {error:.2e}, allowed {bound:.2e}")

    x_grad = x.clone().requires_grad_()
    dy = torch.randn(T, B, H)

    def inference(module: torch.nn.Module) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return module(x)

        return run

    def training(module: torch.nn.Module) -> Callable[[], object]:
        def run() -> None:
            module(x_grad)[0].backward(dy)

        return run

    forward = {name: inference(module) for name, module in (("torch.nn.GRU", theirs), ("grus.torch.GRU", ours))}
    forward["grus.kernels"] = lambda: layer.forward(x_array)
    both = {name: training(module) for name, module in (("torch.nn.GRU", theirs), ("grus.torch.GRU", ours))}
    return {"forward": forward, "forward and backward": both}


def medians(runs: Runs, seconds: float) -> dict[str, float]:
    """Microseconds a call, the runs taken in turn so that a busy moment of the machine meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels beside torch.nn.GRU.")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each shape and pass (default: 2)")
    parser.add_argument("--threads", type=int, default=kernels.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    grus.set_num_threads(options.threads)
    print(f"{kernels.default_isa()}, {options.threads} threads, torch {torch.__version__}; median µs a call")
    results = []
    for shape in SHAPES:
        for name, runs in contenders(*shape).items():
            row = medians(runs, options.seconds)
            results.append({"shape": dict(zip("TBIH", shape, strict=True)), "pass": name, "microseconds": row})
            sizes = " ".join(f"{k}={v:<4}" for k, v in zip("TBIH", shape, strict=True))
            print(f"{sizes} {name:21}", *(f"{who} {value:,.0f}" for who, value in row.items()), sep="  ", flush=True)
    if options.json:
        grus_version = {"grus": grus.__version__, "torch": torch.__version__, "isa": kernels.default_isa()}
        options.json.write_text(json.dumps({**grus_version, "threads": options.threads, "results": results}, indent=1))


if __name__ == "__main__":
    main()
