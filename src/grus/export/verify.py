"""Whether a file or folder that was exported still computes what a model does."""

from __future__ import annotations

import os
from pathlib import Path

from grus.errors import InputError
from grus.export.readback import Report
from grus.export.targets import TARGETS, Target
from grus.model import Model

__all__ = ["Report", "verify"]


def verify(
    model: Model, path: str | os.PathLike[str], *, block: str | None = None, prefix: str | None = None
) -> Report:
    """Compare the export at ``path`` with ``model`` on random inputs, by the tolerance rule.

    A .onnx file is run by ONNX Runtime, whole and step by step. A folder of C99 is compiled (by $CC, or cc), its
    self-test run, and then its step (or its run, of whole sequences) on inputs of ours, ids where an Embedding reads
    them: verify what you would run anyway. A .safetensors or .keras file is read back and run by Grus; ``block`` and
    ``prefix`` are those it was exported with. An int8 export is compared with the quantised model it was made of, bit
    for bit.
    Raises FileNotFoundError, or InputError where the export cannot be read, compiled or run, is of other sizes, or of
    another precision than the model.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"no file or folder {str(place)!r}")
    target = _target(place)
    if (block is not None or prefix is not None) and (target is None or "block" not in target.options):
        names = " or ".join(name for name, each in TARGETS.items() if "block" in each.options)
        raise InputError(f"block= and prefix= are for what was exported to {names}", "block", "prefix")
    try:
        if target is None:
            folders = ", ".join(t.what for t in TARGETS.values() if not t.suffix)
            *suffixes, last = (t.suffix for t in TARGETS.values() if t.suffix)
            raise InputError(
                f"is no export of Grus, expected a folder of {folders}, or {', '.join(suffixes)} or {last}"
            )
        return target.verify(model, place, {"block": block, "prefix": prefix})
    except InputError as error:
        raise InputError(f"{str(place)!r}: {str(error).removeprefix(repr(str(place)) + ': ')}") from None


def _target(path: Path) -> Target | None:
    found = [target for target in TARGETS.values() if target.holds(path)]
    assert len(found) < 2, "the targets tell their files and folders apart"
    return found[0] if found else None
