"""``grus info``: what a model file holds, and what it costs to run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import shared
from grus.errors import assert_never

if TYPE_CHECKING:
    from grus.model import Model
    from grus.spec import Task

EPILOG = """\
examples:
  grus info model.safetensors

Floating point operations count the products of weights alone, a multiplication and an addition as two. The hash is of
the spec and every weight: equal models have equal hashes, on any machine; saved states and ONNX files hold it.
"""


def add(verbs: Any) -> None:
    what = "Say what a model file holds and what it costs to run."
    parser = shared.verb(
        verbs, "info", run, "what a model file holds: blocks, sizes, cost of a step, hash", what, EPILOG
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file")


def run(options: argparse.Namespace) -> int:
    from grus.cli.import_file import READABLE
    from grus.errors import InputError
    from grus.model import load

    try:
        model = load(options.model)
    except InputError as error:
        foreign = "holds no model of Grus" in str(error) or options.model.suffix.lower() in READABLE
        raise InputError(f"{error}{': grus import reads weights of other libraries' * foreign}") from None
    print(text(model, options.model))
    return 0


def text(model: Model, path: Path) -> str:
    from grus.export.describe import describe
    from grus.spec.chains import products

    spec = model.spec
    task = "none" if spec.task is None else _task(spec.task)
    weights = sum(array.nbytes for array in model.arrays.values())
    return f"""{path}: {path.stat().st_size:,} bytes
hash          {model.hash}
precision     {spec.precision}
task          {task}
a step        takes {_input(model)}, gives {spec.output_size:,}
parameters    {model.num_parameters:,}, {weights:,} bytes
state         {_state(model)}
operations    {2 * products(spec.blocks):,} floating point operations a step
blocks
{describe(spec.blocks, "  ")}"""


def _state(model: Model) -> str:
    from grus.spec.chains import state_sizes

    if not model.spec.streams:
        return "none: a bidirectional GRU reads whole sequences, and cannot be streamed"
    numbers = sum(state_sizes(model.spec.blocks))
    return f"{numbers:,} numbers a stream, {model.spec.format.state_bytes * numbers:,} bytes"


def _input(model: Model) -> str:
    if ids := model.spec.blocks[0].facts.ids:
        return f"an id from 0 to {ids - 1:,}"
    return f"{model.spec.input_size:,} number{'s' * (model.spec.input_size > 1)}"


def _task(task: Task) -> str:
    from grus.spec import Classify, Forecast, Language, Series

    words = [type(task).__name__]
    if (read := task.facts.reads) is not None:
        unit = "channels" if isinstance(read, Series) else "ids"
        words.append(f"{type(read).__name__} of {read.size:,} {unit}")
    match task:
        case Forecast():
            shown = ["horizon", "window", "frequency", "season", "scale", "quantiles"]
        case Classify():
            names = ", ".join(task.classes[:8]) + ", …" * (len(task.classes) > 8)
            words.append(f"{len(task.classes):,} classes ({names})")
            shown = ["labels", "longest", "temperature"]
        case Language():
            shown = []
        case _:
            assert_never(task)
    return ", ".join([*words, *(f"{name} {getattr(task, name)!r}" for name in shown)])
