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
from grus.files import check_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grus.model import Model

EPILOG = """\
examples:
  grus export model.safetensors --to onnx -o model.onnx
  grus export model.safetensors --to c -o net/ --int8 --calibrate steps.csv --int8-model small.safetensors
  grus export model.safetensors --to torch --block 0 --prefix encoder.gru -o weights.safetensors

What is written is run or read back at once and compared with the model: exit status 1 where they do not agree.
--calibrate takes inputs as the model will meet them: lines of numbers as for grus stream, a .npy file [T, I] or
[T, B, I], or for a forecaster a table of series as for grus forecast predict.
"""


def add(verbs: Any) -> None:
    what = "Write a model as something else that runs, and compare it with the model."
    parser = shared.verb(verbs, "export", run, "a model as ONNX, C99, or weights of PyTorch or Keras", what, EPILOG)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file")
    kinds = ", ".join(f"{to} ({each.what}{'' if each.suffix else ', a folder'})" for to, each in TARGETS.items())
    parser.add_argument("--to", choices=tuple(TARGETS), required=True, help=f"what to write: {kinds}")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PATH", help="the file, or for c a folder")
    parser.add_argument("--opset", type=shared.positive, metavar="N", help="of the ONNX file (default: 17)")
    parser.add_argument("--block", metavar="NAME", help="one GRU of the network, named as its arrays are: 0, 1.0, …")
    parser.add_argument("--prefix", metavar="P", help="what stands before the names in the state_dict")
    group = parser.add_argument_group("C99")
    group.add_argument("--name", metavar="NAME", help="what every name begins with (default: the folder's)")
    group.add_argument("--weights", choices=("source", "file"), help="in the source (default), or in a file beside it")
    group.add_argument("--int8", action="store_true", default=None, help="int8 weights and 16-bit activations")
    group.add_argument("--calibrate", type=Path, metavar="FILE", help="for --int8: inputs as the model will meet")
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
        check_output("--output", options.output, options.model, suffixes=(target.suffix,))
    check_output("--int8-model", options.int8_model, options.model, options.calibrate, suffixes=(".safetensors",))


def calibration(model: Model, path: Path, options: argparse.Namespace) -> NDArray[Any]:
    """x [T, B, I] of a file: lines of numbers, a NumPy array, or a table of series for a forecaster."""
    from grus.spec import Classify, Forecast, Language

    match model.spec.task:
        case Forecast():
            from grus.tasks.forecast.predict import sample

            return sample(model, forecast_data.read(path, options))
        case Classify() | Language() | None:
            from grus.inputs.lines import read

            return read(path, model.spec.input_size)
