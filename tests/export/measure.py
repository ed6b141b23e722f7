"""What docs/c99.md says of cost: a forecaster in float32 and int8, and one step of a layer beside ONNX Runtime.

python tests/export/measure.py demo/m3_monthly.safetensors demo/m3_monthly_train.csv demo/m3_monthly.csv
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import grus
from grus.calibration import quantize
from grus.export import to_c99
from grus.spec import GRU, parameters
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.predict import task_of
from grus.tasks.forecast.prepare import panel_for
from grus.tasks.forecast.table import as_table
from grus.tasks.forecast.windows import Windows

SIZE = 64

LOOP = """
#include "net.h"
#include <stdio.h>
#include <time.h>
int main(void)
{
    static net_state state;
    static NUMBER x[NET_INPUT_SIZE], y[NET_OUTPUT_SIZE];
    double best = 1e9;
    for (int i = 0; i < NET_INPUT_SIZE; ++i) x[i] = (NUMBER)(i % 3);
    net_init(&state);
    for (int repeat = 0; repeat < 50; ++repeat) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int i = 0; i < 1000; ++i) net_step(&state, x, y);
        clock_gettime(CLOCK_MONOTONIC, &b);
        const double taken = (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3;
        best = taken / 1000 < best ? taken / 1000 : best;
    }
    printf("%.2f", best);
    return 0;
}
"""


def calibration(model: grus.Model, table: str) -> NDArray[np.float32]:
    """The last 96 steps of every 40th series."""
    task = task_of(model)
    panel = panel_for(task, as_table(table), None)
    return Windows(panel, task).features(np.arange(0, len(panel.ids), 40), panel.steps, min(96, task.window))


def costs(model: grus.Model, whole: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        to_c99(model, Path(folder) / "net", name="net")
        header = (Path(folder) / "net" / "net.h").read_text()
    matrices = sum(model.arrays[n].nbytes for n, s in parameters(model.spec.blocks).items() if len(s) == 2)
    lines = [line.split() for line in header.splitlines() if line.startswith("#define NET_")]
    sizes = [words[2] for words in lines if words[1].endswith(("BYTES", "ACCUMULATES"))]
    print(
        f"{model.spec.precision}: matrices {matrices:,} bytes; state, weights, multiply-accumulates: {', '.join(sizes)}"
    )
    print(f"  sMAPE {evaluate(model, whole)['GRU']['sMAPE']:.4f}", flush=True)


def microseconds(model: grus.Model) -> str:
    with tempfile.TemporaryDirectory() as folder:
        net = Path(folder) / "net"
        to_c99(model, net, name="net")
        number = "float" if model.spec.precision == "float32" else "int16_t"
        (net / "loop.c").write_text(LOOP.replace("NUMBER", number))
        command = ["gcc", "-std=gnu99", "-O2", "-march=native", "net.c", "loop.c", "-lm", "-o", "loop"]
        subprocess.run(command, cwd=net, check=True)
        return subprocess.run([net / "loop"], capture_output=True, text=True, check=True).stdout


def onnx_runtime(model: grus.Model) -> tuple[float, float]:
    """Microseconds a step: called with arrays, and with inputs bound beforehand."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    arrays = dict(zip("WRB", _onnx_weights(model), strict=True))
    node = helper.make_node("GRU", ["x", "W", "R", "B", "", "h"], ["", "y"], hidden_size=SIZE, linear_before_reset=1)
    x, h, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, SIZE]) for n in "xhy")
    graph = helper.make_graph([node], "g", [x, h], [y], [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    feed = {n: np.zeros((1, 1, SIZE), np.float32) for n in "xh"}
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("y")
    return _best(lambda: session.run(None, feed)), _best(lambda: session.run_with_iobinding(binding))


def _onnx_weights(model: grus.Model) -> tuple[Any, Any, Any]:
    def gates(name: str) -> Any:
        return np.concatenate([np.split(model.arrays[f"0.{name}_l0"], 3)[i] for i in (1, 0, 2)])

    return (
        gates("weight_ih")[None],
        gates("weight_hh")[None],
        np.concatenate([gates("bias_ih"), gates("bias_hh")])[None],
    )


def _best(call: Any) -> float:
    best = float("inf")
    for _ in range(50):
        begin = time.perf_counter()
        for _ in range(500):
            call()
        best = min(best, (time.perf_counter() - begin) / 500 * 1e6)
    return best


def main(path: str, past: str, whole: str) -> None:
    model = grus.load(path)
    for each in (model, quantize(model, calibration(model, past))):
        costs(each, whole)
    rng = np.random.default_rng(0)
    blocks = (GRU(SIZE, SIZE),)
    arrays = {n: rng.uniform(-0.25, 0.25, s).astype(np.float32) for n, s in parameters(blocks).items()}
    layer = grus.Model(grus.Spec(blocks), arrays)
    small = quantize(layer, rng.normal(size=(50, 2, SIZE)))
    print(f"one step at H = {SIZE}, microseconds: C {microseconds(layer)}, C int8 {microseconds(small)}")
    print("ONNX Runtime {:.1f}, with inputs bound {:.1f}".format(*onnx_runtime(layer)))


if __name__ == "__main__":
    main(*sys.argv[1:])
