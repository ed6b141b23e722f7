"""Compiling an exported folder on this machine, and running its self-test and its function."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError

__all__ = ["Compiled", "SelfTestFailed"]

SECONDS = 120  # for a compiler or a program
DRIVER = """\
#include "{name}.h"
#include <stdio.h>
{globals}int main(void)
{{
    static {name}_state state;
    static float x[{NAME}_INPUT_SIZE], y[{NAME}_OUTPUT_SIZE];
{locals}
    {name}_init(&state);
    while (fread(x, sizeof x, 1, stdin) == 1) {{
        {step}
        fwrite(y, sizeof y, 1, stdout);
    }}
    return fflush(stdout);
}}
"""
WHOLE = """\
#include "{name}.h"
#include <stdio.h>
#define STEPS ((size_t){steps})
{globals}static float x[STEPS * {NAME}_INPUT_SIZE], y[STEPS * {NAME}_OUTPUT_SIZE], work[{NAME}_WORK_SIZE(STEPS)];
int main(void)
{{
{locals}
    if (fread(x, sizeof x, 1, stdin) != 1) {{
        return 2;
    }}
    {step}
    fwrite(y, sizeof y, 1, stdout);
    return fflush(stdout);
}}
"""
LOAD = """\
    FILE *file = fopen("{path}", "rb");
    if (file == NULL || fread(&weights, sizeof weights, 1, file) != 1 || !{name}_check(&weights)) {{
        return 2;
    }}
"""


class SelfTestFailed(InputError):
    """The self-test ran, and ended with another status than 0."""


class Compiled:
    """The export in ``folder``, in which nothing is written. ``compiler`` is a command; by default $CC, or cc.

    fixed: int8 weights. in_file: weights in a file of their own. whole: it takes whole sequences, and has no step.
    Raises InputError for a folder that is no export.
    """

    def __init__(self, folder: Path, compiler: str | None = None) -> None:
        self.folder = folder.resolve()
        self.compiler = compiler or os.environ.get("CC") or "cc"
        found = [p.stem for p in sorted(folder.glob("*.h")) if p.with_suffix(".c").is_file()]
        if len(found) != 1 or not re.fullmatch(r"[A-Za-z]\w{0,39}", found[0], re.ASCII):
            raise InputError(f"holds {len(found)} pairs of .h and .c, expected the one of an export")
        self.name = found[0]
        header = (folder / f"{self.name}.h").read_text(encoding="utf-8", errors="replace")
        self.fixed, self.in_file = f"{self.name}_quantize(" in header, f"}} {self.name}_weights;" in header
        self.whole = f"void {self.name}_run(" in header
        sizes = re.findall(rf"^#define {self.name.upper()}_(?:INPUT|OUTPUT)_SIZE (\d{{1,9}})$", header, re.M)
        if len(sizes) != 2:
            raise InputError(f"has no sizes in {self.name}.h, which every export has")
        self.input_size, self.output_size = map(int, sizes)

    @property
    def buildable(self) -> bool:
        """Whether the compiler is there."""
        words = shlex.split(self.compiler)
        return bool(words) and shutil.which(words[0]) is not None

    def self_test(self) -> None:
        """Raises SelfTestFailed where it fails, and InputError where it cannot be built or does not end."""
        with TemporaryDirectory() as place:
            program = self._build(Path(place), self.folder / f"{self.name}_test.c")
            weights = [str(self.folder / f"{self.name}.bin")] * self.in_file
            _run("the self-test", [program, *weights], place, failed=SelfTestFailed)

    def stream(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One sequence from its beginning: x [T, I] to y [T, O], a step at a time, or whole where there is no step."""
        if not len(x):
            return np.zeros((0, self.output_size), np.float32)
        with TemporaryDirectory() as place:
            driver = Path(place) / "driver.c"
            driver.write_text(self._driver(len(x)), encoding="utf-8")
            out = _run("the network", [self._build(Path(place), driver)], place, np.ascontiguousarray(x).tobytes())
        if len(out) != 4 * len(x) * self.output_size:
            raise InputError(f"the network gave {len(out):,} bytes, expected {4 * len(x) * self.output_size:,}")
        return np.frombuffer(out, np.float32).reshape(len(x), self.output_size)

    def _driver(self, steps: int) -> str:
        name, big = self.name, self.name.upper()
        arguments = "x, STEPS, y, work" if self.whole else "&state, x, y"
        call = f"{name}_{'run' if self.whole else 'step'}"
        step, locals_, globals_ = f"{call}({arguments});", "", ""
        if self.in_file:
            path = str(self.folder / f"{name}.bin").replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")
            step, locals_ = f"{call}(&weights, {arguments});", LOAD.format(path=path, name=name)
            globals_ = f"static {name}_weights weights;\n"
        if self.fixed:
            step = step.replace("x, y", "q_x, q_y")
            step = f"{name}_quantize(x, q_x);\n        {step}\n        {name}_dequantize(q_y, y);"
            locals_ = f"    static int16_t q_x[{big}_INPUT_SIZE], q_y[{big}_OUTPUT_SIZE];\n{locals_}"
        template = WHOLE if self.whole else DRIVER
        return template.format(name=name, NAME=big, steps=steps, step=step, locals=locals_, globals=globals_)

    def _build(self, work: Path, main: Path) -> str:
        if not self.buildable:
            raise InputError("there is no C compiler to verify it with: install one, or name it in $CC")
        output, sources = str(work / "program"), [str(self.folder / f"{self.name}.c"), str(main)]
        command = [
            *shlex.split(self.compiler),
            "-std=c99",
            "-O2",
            "-I",
            str(self.folder),
            *sources,
            "-lm",
            "-o",
            output,
        ]
        _run("the compiler", command, str(work))
        return output


def _run(
    what: str, command: Sequence[str], folder: str, given: bytes = b"", failed: type[InputError] = InputError
) -> bytes:
    try:
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(f"{what} did not end within {SECONDS} seconds") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise failed(f"{what} failed: {said[0] if said else f'exit status {done.returncode}'}")
    return done.stdout
