"""``grus language generate``: text from a model, shown as it comes. Never needs PyTorch."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from grus.cli import shared

EPILOG = """\
example: grus language generate model.safetensors --prompt "To be, " --length 2000 --temperature 0.8 --seed 1

A temperature below 1 keeps to what is likely, 0 takes the likeliest every time; above 1 it dares more.
"""


def add(verbs: Any) -> None:
    parser = shared.verb(verbs, "generate", run, "write on from a prompt", "Continue a text, piece by piece.", EPILOG)
    shared.add_model(parser, "language")
    what = r"how the text begins (default: with nothing); \n, \t and \\ are a line end, a tab and a backslash"
    parser.add_argument("--prompt", type=shared.escaped, default="", metavar="TEXT", help=what)
    parser.add_argument("--length", type=shared.positive, default=500, metavar="N", help="tokens drawn (default: 500)")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="R", help="0: the likeliest (default: 1.0)")
    parser.add_argument("--top-k", type=shared.positive, metavar="K", help="draw from the likeliest K only")
    what = "draw from the fewest whose probabilities sum to P (default: %(default)s, from all)"
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help=what)
    parser.add_argument("--seed", type=int, metavar="N", help="for the same text again (default: another every time)")
    what = "end where this would come; may be given several times"
    parser.add_argument("--stop", type=shared.escaped, action="append", metavar="TEXT", help=what)
    shared.add_threads(parser)


def run(options: argparse.Namespace) -> int:
    from grus.model import load
    from grus.tasks.language.generate import generate

    shared.set_threads(options.threads)
    model = load(options.model)
    how = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "seed", "stop")}
    pieces = generate(model, options.prompt, options.length, **how)
    _show(options.prompt)
    for piece in pieces:
        _show(piece)
    print()
    return 0


def _show(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end="", flush=True)  # "?" where a terminal lacks it
