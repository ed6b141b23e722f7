"""``grus import``: the GRUs in another library's file as a model file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import shared
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.model import Model

EPILOG = """\
examples:
  grus import weights.safetensors --prefix encoder.gru -o encoder.safetensors    a state_dict of PyTorch
  grus import model.keras -o model.safetensors
  grus import model.onnx --nodes gru_1,gru_2 -o model.safetensors

Nothing in a file is executed. A .pt or .pth file is a pickle, which would be: save the state_dict as .safetensors.
"""

PICKLE = (
    "is a pickle, which may run code when it is read: where you trust it, load it with PyTorch and save "
    "module.state_dict() with safetensors.torch.save_file"
)
REFUSED = dict.fromkeys((".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin"), PICKLE)
REFUSED |= dict.fromkeys((".h5", ".hdf5"), "is Keras' former format: load it with Keras 3 and save it as .keras")
REFUSED |= dict.fromkeys((".msgpack", ".orbax"), "is of Flax: load it there, and call grus.interop.flax.load(params)")

READABLE = (".keras", ".onnx", *REFUSED)  # and .safetensors: what is of another library, if only to be refused


def add(verbs: Any) -> None:
    what = "Turn the GRUs in a .safetensors, .keras or .onnx file into a model file, lossless or not at all."
    parser = shared.verb(verbs, "import", run, "read the GRUs in a file of PyTorch, Keras or ONNX", what, EPILOG)
    parser.add_argument("file", type=Path, metavar="FILE", help="a .safetensors, .keras or .onnx file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model file to write")
    parser.add_argument("--prefix", metavar="P", help="of a state_dict: the GRU whose names begin so (encoder.gru)")
    what = "of a state_dict: made with reset_after=False of grus.torch, which leaves no trace in it"
    parser.add_argument("--reset-before", action="store_true", default=None, help=what)
    parser.add_argument("--nodes", type=shared.names, metavar="A,…", help="of an ONNX graph: the GRU nodes, in order")


def run(options: argparse.Namespace) -> int:
    shared.check_output("--output", options.output, options.file, suffixes=(".safetensors",))
    model = _read(options.file, options)
    model.save(options.output)

    from grus.export.describe import describe

    print(f"{options.output}: {model.num_parameters:,} parameters\n{describe(model.spec.blocks, '  ')}")
    return 0


def _read(path: Path, options: argparse.Namespace) -> Model:
    from grus.interop import keras, onnx, torch

    kind = path.suffix.lower()
    if kind in REFUSED:
        raise InputError(f"{str(path)!r} {REFUSED[kind]}")
    for option, given, needed in (
        ("--prefix", options.prefix, ".safetensors"),
        ("--reset-before", options.reset_before, ".safetensors"),
        ("--nodes", options.nodes, ".onnx"),
    ):
        if given is not None and kind != needed:
            raise InputError(f"{option} is for {needed} files, and {str(path)!r} is none")
    match kind:
        case ".safetensors":
            return torch.load_file(path, options.prefix, reset_after=not options.reset_before)
        case ".keras":
            return keras.load_file(path)
        case ".onnx":
            return onnx.load_file(path, options.nodes)
        case _:
            raise InputError(f"{str(path)!r}: cannot read {kind!r}, expected .safetensors, .keras or .onnx")
