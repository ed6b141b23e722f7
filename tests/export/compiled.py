"""Exports compiled and run: on this machine by gcc and clang, and for a Cortex-M4 in an emulator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).parent
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
BOARD = ["-mcpu=cortex-m4", "-mthumb", "--specs=rdimon.specs", str(HERE / "cortex_m" / "start.c")]
BOARD += ["-T", str(HERE / "cortex_m" / "memory.ld")]
EMULATOR = "qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none"
EMULATOR += " -semihosting-config enable=on,target=native -kernel"

# Reads steps of float32 from input.bin until there are no more; writes each output, then the state.
STREAM = """
#include "{name}.h"
#include <stdio.h>
int main(void)
{{
    static {name}_state state;
    static float x[{NAME}_INPUT_SIZE], y[{NAME}_OUTPUT_SIZE];
    {locals}
    FILE *in = fopen("input.bin", "rb"), *out = fopen("output.bin", "wb");
    if (in == NULL || out == NULL) {{
        return 1;
    }}
    {name}_init(&state);
    while (fread(x, sizeof x, 1, in) == 1) {{
        {step}
        fwrite(y, sizeof y, 1, out);
    }}
    fwrite(&state, sizeof state, 1, out);
    fclose(in);
    return fclose(out);
}}
"""


class Target(NamedTuple):
    """A compiler with its options, and what runs what it makes."""

    name: str
    command: list[str]
    runner: list[str]
    needs: tuple[str, ...]

    @property
    def mark(self) -> Any:
        missing = [tool for tool in self.needs if shutil.which(tool) is None]
        return pytest.param(
            self, id=self.name, marks=[pytest.mark.skip(reason=f"{missing[0]} is not installed")] if missing else []
        )

    def build(self, folder: Path, *sources: str, output: str, strict: bool = True) -> Path:
        program = folder / output
        paths = [str(folder / s) for s in sources]
        command = [*self.command, *(STRICT if strict else ["-std=c99"]), *paths, "-lm", "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]
        return program

    def run(self, program: Path, *, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        command = [*self.runner, str(program)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=program.parent)


GCC = Target("gcc", ["gcc", "-O2", "-march=native"], [], ("gcc",))
CLANG = Target("clang", ["clang", "-O2", "-march=native"], [], ("clang",))
CHECKED = Target(  # what C does not define ends the program: overflows, shifts, places outside of an array
    "gcc-checked",
    ["gcc", "-O1", "-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"],
    [],
    ("gcc",),
)
CORTEX_M = Target(
    "cortex-m4", ["arm-none-eabi-gcc", "-O2", *BOARD], EMULATOR.split(), ("arm-none-eabi-gcc", "qemu-system-arm")
)
CORTEX_M_FPU = Target(
    "cortex-m4-fpu",
    ["arm-none-eabi-gcc", "-O2", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", *BOARD],
    EMULATOR.split(),
    ("arm-none-eabi-gcc", "qemu-system-arm"),
)


def targets(*chosen: Target) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("target", [t.mark for t in chosen])


def stream(
    target: Target, folder: Path, name: str, x: NDArray[np.float32], outputs: int, *, fixed: bool, timeout: float = 100
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """The outputs [T, O] of an export in ``folder`` for x [T, I], and its state at the end, all numbers in a row."""
    locals_, step = "", f"{name}_step(&state, x, y);"
    if fixed:
        locals_ = "static int16_t q_x[{0}_INPUT_SIZE], q_y[{0}_OUTPUT_SIZE];".format(name.upper())
        step = f"{name}_quantize(x, q_x); {name}_step(&state, q_x, q_y); {name}_dequantize(q_y, y);"
    text = STREAM.format(name=name, NAME=name.upper(), locals=locals_, step=step)
    (folder / "stream.c").write_text(text)
    np.ascontiguousarray(x, "<f4").tofile(folder / "input.bin")
    program = target.build(folder, f"{name}.c", "stream.c", output=f"stream-{target.name}", strict=False)
    done = target.run(program, timeout=timeout)
    assert done.returncode == 0, (done.stdout + done.stderr)[:4000]
    data = (folder / "output.bin").read_bytes()
    size, number = 4 * outputs * len(x), np.dtype("<i2" if fixed else "<f4")
    state = data[size:] if len(data) - size > 1 else b""  # one unused byte where no block remembers anything
    return np.frombuffer(data[:size], "<f4").reshape(len(x), outputs), np.frombuffer(state, number)
