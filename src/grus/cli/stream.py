"""``grus stream``: steps from standard input, each answered before the next is read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import shared
from grus.errors import InputError
from grus.files import check_output, write_whole

if TYPE_CHECKING:
    from grus.runtime.session import Session
    from grus.runtime.state import State

EPILOG = """\
examples:
  grus stream model.safetensors < steps.csv
  sensor | grus stream model.safetensors --state sensor.state | actuator

A line is a step: the numbers the network takes, with commas or spaces between them, or as a JSON list; the answer is of
the same kind. A model with a task takes and gives what its network does: scaled features, or the ids of tokens.
"""


def add(verbs: Any) -> None:
    what = "Read steps from standard input and answer each at once, in constant memory."
    parser = shared.verb(verbs, "stream", run, "run a model on lines of numbers, each answered at once", what, EPILOG)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file")
    parser.add_argument("--state", type=Path, metavar="FILE", help="begin with its state, and keep the last there")


def run(options: argparse.Namespace) -> int:
    check_output("--state", options.state, options.model)

    import numpy as np

    from grus.inputs.lines import lines, written
    from grus.model import load
    from grus.runtime.session import Session

    model = load(options.model)
    session = Session(model)
    state = _begin(session, options.state)
    whole = True
    try:
        for line in lines(sys.stdin.buffer, model.spec.input_size, "standard input"):
            try:
                y, state = session.step(line.values[None], state)
            except InputError as error:
                raise InputError(f"{line.where}: {error}") from None
            if whole and not all(np.isfinite(a).all() for a in state.arrays):
                whole = False
                print(f"grus: since {line.where} the state holds NaN, and so do answers from it on", file=sys.stderr)
            sys.stdout.write(written(y[0], line.between) + "\n")
            sys.stdout.flush()
    finally:  # what was answered is not lost by a bad line or by Ctrl-C
        if options.state is not None:
            write_whole(options.state, session.state_to_bytes(state))
    return 0


def _begin(session: Session, path: Path | None) -> State:
    if path is None or not path.exists():
        return session.initial_state(1)
    begin = session.initial_state(1)
    most = 1000 * len(session.state_to_bytes(begin))  # a file of a few streams is told apart from one of no state
    if path.stat().st_size > most:
        raise InputError(f"--state {str(path)!r} has {path.stat().st_size:,} bytes, which no stream's state has")
    try:
        state = session.state_from_bytes(path.read_bytes())
    except InputError as error:
        raise InputError(f"--state {str(path)!r}: {error}") from None
    if state.arrays and state.batch != 1:
        raise InputError(f"--state {str(path)!r} is of {state.batch} streams, expected one")
    return state
