"""``grus import``: the GRUs in another library's file as a model file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grus.cli import shared
from grus.files import check_output

EPILOG = """\
examples:
  grus import weights.safetensors --prefix encoder.gru -o encoder.safetensors    a state_dict of PyTorch
  grus import model.keras --layers gru,gru_1 -o model.safetensors
  grus import model.onnx --nodes gru_1,gru_2 -o model.safetensors

Nothing in a file is executed. A .pt or .pth file is a pickle, which would be: save the state_dict as .safetensors.
"""


def add(verbs: Any) -> None:
    what = "Turn the GRUs in a .safetensors, .keras, .h5 or .onnx file into a model file, lossless or not at all."
    parser = shared.verb(verbs, "import", run, "read the GRUs in a file of PyTorch, Keras or ONNX", what, EPILOG)
    parser.add_argument("file", type=Path, metavar="FILE", help="a .safetensors, .keras, .h5 or .onnx file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model file to write")
    parser.add_argument("--prefix", metavar="P", help="of a state_dict: the GRU whose names begin so (encoder.gru)")
    what = "of a file of weights alone: made with reset_after=False, which leaves no trace in it"
    parser.add_argument("--reset-before", action="store_const", const=False, dest="reset_after", help=what)
    parser.add_argument("--nodes", type=shared.names, metavar="A,…", help="of an ONNX graph: the GRU nodes, in order")
    parser.add_argument("--layers", type=shared.names, metavar="A,…", help="of a Keras model: the GRU layers, in order")


def run(options: argparse.Namespace) -> int:
    check_output("--output", options.output, options.file, suffixes=(".safetensors",))
    from grus.export.describe import describe
    from grus.interop.files import load_file

    model = load_file(options.file, **{n: getattr(options, n) for n in ("prefix", "reset_after", "nodes", "layers")})
    model.save(options.output)
    print(f"{options.output}: {model.num_parameters:,} parameters\n{describe(model.spec.blocks, '  ')}")
    return 0
