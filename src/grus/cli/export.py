"""``grus export``: a model as ONNX, as C99, or its GRUs as weights of PyTorch or Keras."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import shared
from grus.cli.forecast import data as forecast_data
from grus.errors import InputError
from grus.export.targets import TARGETS, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grus.model import Model

EPILOG = """\
examples:
  grus export model.safetensors --to onnx -o model.onnx
  grus export model.safetensors --to c -o net/
  grus export model.safetensors --to c -o net/ --int8 --calibrate steps.csv --int8-model small.safetensors
  grus export model.safetensors --to torch --block 0 --prefix encoder.gru -o weights.safetensors
  grus export model.safetensors --to keras -o model.keras

What is written is compared with the model at once: an ONNX file is run before it is kept, C is compiled and its
self-test run where there is a compiler ($CC, or cc), weights are read back. Exit status 1 where they do not agree.
onnx and c are the whole network; torch and keras hold GRUs alone, and --block names one of a larger network. The C is a
function of one step, or with a bidirectional GRU of a whole sequence; with a model of text its vocabulary comes along.
--calibrate takes inputs as the model will meet them: lines of numbers as for grus stream, a .npy file [T, I] or
[T, B, I], or for a forecaster a table of series as for grus forecast predict.
"""

SERIES = 64  # of a table, at most, to calibrate with
STEPS = 96  # the last of each


def add(verbs: Any) -> None:
    what = "Write a model as something else that runs, and compare it with the model."
    parser = shared.verb(verbs, "export", run, "a model as ONNX, C99, or weights of PyTorch or Keras", what, EPILOG)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file")
    kinds = ", ".join(f"{to} ({each.what}{'' if each.suffix else ', a folder'})" for to, each in TARGETS.items())
    parser.add_argument("--to", choices=tuple(TARGETS), required=True, help=f"what to write: {kinds}")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="PATH", help="the file, or for c the folder"
    )
    parser.add_argument("--opset", type=shared.positive, metavar="N", help="of the ONNX file (default: 17)")
    parser.add_argument("--block", metavar="NAME", help="one GRU of the network, named as its arrays are: 0, 1.0, …")
    parser.add_argument("--prefix", metavar="P", help="what stands before the names in the state_dict")
    group = parser.add_argument_group("C99")
    group.add_argument("--name", metavar="NAME", help="what every name begins with (default: the folder's)")
    group.add_argument("--weights", choices=("source", "file"), help="in the source (default), or in a file beside it")
    group.add_argument("--int8", action="store_true", default=None, help="int8 weights and 16-bit activations")
    group.add_argument(
        "--calibrate", type=Path, metavar="FILE", help="inputs that say how large numbers are, for --int8"
    )
    group.add_argument("--int8-model", type=Path, metavar="MODEL", help="also write the quantised model")
    forecast_data.add_columns(parser)


def run(options: argparse.Namespace) -> int:
    target = TARGETS[options.to]
    _check(options, target)

    from grus.model import load

    model = load(options.model)
    given = {o: v for o in target.options if o != "int8" and (v := getattr(options, o)) is not None}
    if options.int8:
        from grus.calibration import quantize

        x = calibration(model, options.calibrate, options)
        model, given["examples"] = quantize(model, x), x[:, 0]
    told = target.write(model, options.output, given)
    if options.int8_model is not None:
        model.save(options.int8_model)
        print(f"{options.int8_model}: the quantised model")
    tried = target.tried(model, options.output, given)
    if not tried.good:
        print(f"grus: {options.output}: {tried.said}: do not use it", file=sys.stderr)
        return 1
    print(f"{options.output}: {'; '.join(filter(None, (told, tried.said)))}")
    return 0


def _check(options: argparse.Namespace, target: Target) -> None:
    for name in dict.fromkeys(option for each in TARGETS.values() for option in each.options):
        if getattr(options, name) is not None and name not in target.options:
            takers = " and ".join(to for to, each in TARGETS.items() if name in each.options)
            raise InputError(f"--{name} is for --to {takers}, not for --to {options.to}")
    if options.int8 and options.calibrate is None:
        raise InputError("--int8 needs --calibrate FILE: a few inputs as the model will meet them")
    for option in ("calibrate", "int8_model"):
        if getattr(options, option) is not None and not options.int8:
            raise InputError(f"--{option.replace('_', '-')} is for --int8")
    if target.suffix:
        shared.check_output("--output", options.output, options.model, suffixes=(target.suffix,))
    shared.check_output(
        "--int8-model", options.int8_model, options.model, options.calibrate, suffixes=(".safetensors",)
    )


def calibration(model: Model, path: Path, options: argparse.Namespace) -> NDArray[Any]:
    """x [T, B, I] of a file: lines of numbers, a NumPy array, or a table of series for a forecaster."""
    from grus.spec import Classify, Forecast, Language

    match model.spec.task:
        case Forecast():
            return _features(model, path, options)
        case Classify() | Language() | None:
            return _numbers(model, path)


def _numbers(model: Model, path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    if path.suffix.lower() == ".npy":
        return _array(path)

    from grus.inputs.lines import lines, stacked

    with open(path, "rb") as file:
        return stacked(list(lines(file, model.spec.input_size, str(path))), str(path))


def _array(path: Path) -> NDArray[Any]:
    import numpy as np

    try:  # mapped: what its header says of its size is compared with the file before anything is made
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, SyntaxError, TypeError) as error:
        raise InputError(f"{str(path)!r} is not a NumPy file, or is damaged: {error}") from None
    if x.dtype.kind not in "fiu" or x.ndim not in (2, 3):
        raise InputError(f"{str(path)!r} holds {x.dtype}{x.shape}, expected numbers [T, I] or [T, B, I]")
    return np.array(x[:, None] if x.ndim == 2 else x)


def _features(model: Model, path: Path, options: argparse.Namespace) -> NDArray[Any]:
    import numpy as np

    from grus.tasks.forecast.predict import task_of
    from grus.tasks.forecast.prepare import panel_for
    from grus.tasks.forecast.windows import Windows

    task = task_of(model)
    panel = panel_for(task, forecast_data.read(path, options), None)
    chosen = np.arange(0, len(panel.ids), max(1, -(-len(panel.ids) // SERIES)))
    return Windows(panel, task).features(chosen, panel.steps, min(STEPS, task.window, panel.steps))
