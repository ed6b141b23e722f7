"""One stream of 100,000 steps through every backend: do they agree?

python -m benchmarks.streams demo/m3_monthly.safetensors demo/m3_monthly_train.csv

The model is that of ``make demo``, the steps are its features of the M3 competition's monthly series, one after the
other. NumPy (``Session``), ONNX Runtime, compiled C and PyTorch's own modules answer step by step and hand their states
on; each is judged by the one rule against float64, with PyTorch as the baseline. Then the same with int8 weights: the
emulation and the C have to agree in every bit. Writes benchmarks/results/streams.json; --cortex-m then adds a row to
it: the int8 C on a Cortex-M4 in QEMU (a quarter of an hour).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

import grus
from benchmarks.gate import check_float32
from grus import Model, Session, exact
from grus.calibration import quantize
from grus.export import to_c99, to_onnx
from grus.export.c99.compiled import Compiled
from grus.files import write_whole
from grus.interop import torch as to_torch
from grus.spec import GRU, Activation, Block, Bypass, Linear, Mean, Residual
from grus.tasks.forecast.predict import task_of
from grus.tasks.forecast.prepare import panel_for
from grus.tasks.forecast.table import as_table
from grus.tasks.forecast.windows import Windows

RESULT = Path(__file__).parent / "results" / "streams.json"
COMPILERS = ("gcc", "clang")
CORTEX = "C99 w8a16, gcc, Cortex-M4 in QEMU"

Array = NDArray[Any]
Step = Callable[[Array], Array]  # x [1, I] to y [1, O]; what it remembers is inside


def features(model: Model, table: str, steps: int) -> Array:
    """x [T, I]: the features of one series after the other."""
    task = task_of(model)
    windows = Windows(panel := panel_for(task, as_table(table), None), task)
    each = [
        windows.features(np.array([i]), panel.steps, task.window)[:, 0]
        for i in range(min(len(panel.ids), -(-steps // task.window)))
    ]
    return np.concatenate(each)[:steps]


def by_session(model: Model) -> Step:
    session = Session(model)
    state = session.initial_state(1)

    def step(x: Array) -> Array:
        nonlocal state
        y, state = session.step(x, state)
        return y

    return step


def by_onnx_runtime(model: Model, folder: Path) -> Step:
    to_onnx(model, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    runtime = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in runtime.get_inputs()][1:]
    state = [np.zeros((1, i.shape[1]), np.float32) for i in runtime.get_inputs()[1:]]

    def step(x: Array) -> Array:
        nonlocal state
        y, *state = runtime.run(None, {"x": x[None]} | dict(zip(names, state, strict=True)))
        result: Array = y[0]
        return result

    return step


def by_pytorch(model: Model) -> Step:
    """torch.nn.GRU and torch.nn.Linear, with the states between them kept here."""
    run = _modules(model, model.spec.blocks, "")

    def step(x: Array) -> Array:
        with torch.no_grad():
            result: Array = run(torch.from_numpy(x)[None])[0].numpy()
        return result

    return step


def _modules(model: Model, blocks: tuple[Block, ...], prefix: str) -> Callable[[Any], Any]:
    parts = [_module(model, block, f"{prefix}{i}") for i, block in enumerate(blocks)]

    def run(x: Any) -> Any:
        for part in parts:
            x = part(x)
        return x

    return run


def _module(model: Model, block: Block, name: str) -> Callable[[Any], Any]:
    match block:
        case GRU():
            gru = torch.nn.GRU(block.input_size, block.hidden_size, block.num_layers, bias=block.bias)
            gru.load_state_dict({k: torch.from_numpy(a) for k, a in to_torch.save(model, block=name).items()})
            h = None

            def run(x: Any) -> Any:
                nonlocal h
                y, h = gru(x, h)
                return y

            return run
        case Linear():
            weight, bias = (model.arrays.get(f"{name}.{kind}") for kind in ("weight", "bias"))
            arrays = [None if a is None else torch.from_numpy(a.copy()) for a in (weight, bias)]
            return lambda x: torch.nn.functional.linear(x, *arrays)
        case Activation():
            return {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[block.function]
        case Bypass():
            inner, size = _modules(model, block.blocks, f"{name}."), block.size
            return lambda x: torch.cat([inner(x[..., :-size]), x[..., -size:]], -1)
        case Residual():
            around = _modules(model, block.blocks, f"{name}.")
            return lambda x: x + around(x)
        case Mean():
            members = [_modules(model, m, f"{name}.{i}.") for i, m in enumerate(block.members)]
            return lambda x: torch.stack([m(x) for m in members]).mean(0)


def streamed(step: Step, x: Array) -> Array:
    """x [T, I] to y [T, O], a step at a time."""
    return np.concatenate([step(x[t : t + 1]) for t in range(len(x))])


def float32(model: Model, x: Array, folder: Path) -> Iterator[dict[str, Any]]:
    blocks, arrays = model.spec.blocks, model.arrays
    right = exact.run(blocks, arrays, x[:, None])[:, 0]
    baseline = streamed(by_pytorch(model), x)
    error = float(np.abs(baseline - right).max())
    yield {"backend": f"PyTorch {torch.__version__}", "largest error": error}
    for name, step in (
        ("NumPy (Session)", by_session(model)),
        (f"ONNX Runtime {onnxruntime.__version__}", by_onnx_runtime(model, folder)),
    ):
        yield judged(name, streamed(step, x), right, baseline)
    to_c99(model, folder / "net")
    for compiler in filter(shutil.which, COMPILERS):
        yield judged(f"C99, {compiler}", Compiled(folder / "net", compiler).stream(x), right, baseline)


def judged(name: str, y: Array, right: Array, baseline: Array) -> dict[str, Any]:
    try:
        check_float32(name, y, right, baseline)
        verdict = "within the rule"
    except AssertionError as error:
        verdict = str(error)
    return {"backend": name, "largest error": float(np.abs(y - right).max()), "verdict": verdict}


def quantised(model: Model, x: Array) -> Model:
    """Calibrated on every so many of the series that x is made of."""
    window = task_of(model).window
    series = x[: len(x) // window * window].reshape(-1, window, x.shape[1])
    return quantize(model, series[:: max(1, len(series) // 32)].swapaxes(0, 1))


def int8(model: Model, x: Array, right: Array, folder: Path) -> Iterator[dict[str, Any]]:
    small = quantised(model, x)
    emulated = streamed(by_session(small), x)
    error = float(np.abs(emulated - right).max())
    yield {"backend": "NumPy (Session), w8a16", "largest error": error}
    to_c99(small, folder / "small")
    for compiler in filter(shutil.which, COMPILERS):
        yield same(f"C99 w8a16, {compiler}", Compiled(folder / "small", compiler).stream(x), emulated)


def same(name: str, y: Array, emulated: Array) -> dict[str, Any]:
    equal = y.tobytes() == emulated.tobytes()
    return {"backend": name, "verdict": "every bit that of Session" if equal else "differs from Session"}


def cortex_m(model: Model, x: Array) -> dict[str, Any]:
    """The int8 C on a board that is emulated, while Session computes the same here."""
    from tests.export.compiled import CORTEX_M, stream

    small = quantised(model, x)
    with TemporaryDirectory() as place, ThreadPoolExecutor(1) as pool:
        to_c99(small, Path(place) / "net", name="net")
        size = model.spec.output_size
        board = pool.submit(stream, CORTEX_M, Path(place) / "net", "net", x, size, fixed=True, timeout=7200)
        emulated = streamed(by_session(small), x)
        return same(CORTEX, board.result()[0], emulated)


def measure(model: Model, x: Array) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    grus.set_num_threads(1)
    with TemporaryDirectory() as place:
        rows = list(float32(model, x, Path(place)))
        right = exact.run(model.spec.blocks, model.arrays, x[:, None])[:, 0]
        return rows + list(int8(model, x, right, Path(place)))


def added(model: Model, x: Array, path: Path) -> list[dict[str, Any]]:
    kept = json.loads(path.read_text(encoding="utf-8"))
    if (kept["model"], kept["steps"]) != (model.hash, len(x)):
        sys.exit(f"error: {path} is of another model or another number of steps: run without --cortex-m first")
    return [row for row in kept["rows"] if row["backend"] != CORTEX] + [cortex_m(model, x)]


def bad(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    good = (None, "within the rule", "every bit that of Session")
    return [row for row in rows if row.get("verdict") not in good]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("model", help="the model of make demo")
    parser.add_argument("table", help="the series it was trained on")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    parser.add_argument("--cortex-m", action="store_true", help="add the row of a Cortex-M4 to what was measured")
    options = parser.parse_args()
    model = grus.load(options.model)
    x = features(model, options.table, options.steps)
    rows = added(model, x, options.output) if options.cortex_m else measure(model, x)
    for row in rows:
        print(row)
    machine = {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version()}
    result = {"steps": len(x), "model": model.hash, **machine, "threads": 1, "rows": rows}
    write_whole(options.output, (json.dumps(result, indent=1) + "\n").encode())
    sys.exit(bool(bad(rows)) or len(x) < options.steps)


if __name__ == "__main__":
    main()
