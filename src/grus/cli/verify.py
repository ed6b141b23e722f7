"""``grus verify``: whether an export still computes what the model does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from grus.cli import shared

EPILOG = """\
examples:
  grus verify model.safetensors model.onnx
  grus verify model.safetensors net/               a folder of C: compiled by $CC or cc, its self-test run
  grus verify gru.safetensors gru.keras

Exit status: 0 if they agree by the tolerance rule (an int8 export to the bit), 1 if they do not. What is verified is
run: a folder of C is compiled and executed.
"""


def add(verbs: Any) -> None:
    what = "Run an export beside its model on random inputs, and compare."
    parser = shared.verb(verbs, "verify", run, "run an export beside the model it was made of", what, EPILOG)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file")
    parser.add_argument("exported", type=Path, metavar="EXPORTED", help="what grus export wrote")
    parser.add_argument("--block", metavar="NAME", help="the GRU that was exported, as in grus export")
    parser.add_argument("--prefix", metavar="P", help="what stands before its names, as in grus export")


def run(options: argparse.Namespace) -> int:
    from grus.export.verify import verify
    from grus.model import load

    report = verify(load(options.model), options.exported, block=options.block, prefix=options.prefix)
    line = f"{options.exported}: {report.what}: {report.agreement}"
    if report.good:
        print(line)
        return 0
    print(f"grus: {line}: it does not compute what the model does", file=sys.stderr)
    return 1
