"""``grus info``: what a model file holds, and what it costs to run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grus.cli import shared

EPILOG = """\
examples:
  grus info model.safetensors

Floating point operations count the products of weights alone, a multiplication and an addition as two. The hash is of
the spec and every weight: equal models have equal hashes, on any machine; saved states and ONNX files hold it.
"""


def add(verbs: Any) -> None:
    what = "Say what a model file holds and what it costs to run."
    parser = shared.verb(verbs, "info", run, "what a model file holds: blocks, sizes, cost, hash", what, EPILOG)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file")


def run(options: argparse.Namespace) -> int:
    from grus.errors import InputError
    from grus.export.describe import summary
    from grus.interop.files import READABLE
    from grus.model import load

    try:
        model = load(options.model)
    except InputError as error:
        foreign = "holds no model of Grus" in str(error) or options.model.suffix.lower() in READABLE
        raise InputError(f"{error}{': grus import reads weights of other libraries' * foreign}") from None
    print(f"{options.model}: {options.model.stat().st_size:,} bytes\n{summary(model)}")
    return 0
