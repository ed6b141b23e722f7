"""Tests with the extension that ``make sanitize`` builds: ``python tests/sanitized.py EXTENSION ARGUMENTS_OF_PYTEST``.

It takes the place of the installed one before anything asks for that.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

NAME = "grus.runtime._native"


def main(extension: str, *arguments: str) -> int:
    spec = spec_from_file_location(NAME, Path(extension).resolve())
    assert spec is not None and spec.loader is not None
    module = sys.modules[NAME] = module_from_spec(spec)
    spec.loader.exec_module(module)
    from grus.runtime import kernels

    assert kernels._native is module
    return int(pytest.main(list(arguments)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
