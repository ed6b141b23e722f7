"""The files of an export, put together as text and bytes."""

from __future__ import annotations

import re
import struct
import textwrap
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.export.agreement import Expected
from grus.export.c99.base import Base
from grus.export.c99.conversions import classes, vocabulary
from grus.export.c99.plan import Operation
from grus.export.c99.readme import readme
from grus.export.c99.text import fill, numbers
from grus.export.describe import describe
from grus.quantized import to_integers

__all__ = ["Export"]

Array = NDArray[Any]

MAGIC = 0x53555247  # "GRUS"
STEP = """\
 * A {name}_state holds all that one stream remembers; it is the caller's, and may be copied and saved as it is.
 * Nothing else changes, so that any number of streams and threads may run at once."""
WHOLE = """\
 * The network reads a sequence in both directions, so that there is no step: it is given as a whole.
 * Nothing is kept from call to call, so that any number of threads may run at once."""
PASS = {  # what a pass is given: its parameter, and what stands there in the call
    "w": ("const {name}_weights *w", "w"),
    "s": ("states *s", "&s"),
    "x": ("const float *restrict x", "x + t * {X}"),
    "y": ("float *restrict y", "y + t * {Y}"),
    "scratch": ("float *restrict scratch", "work + t * {K}"),
}
C_TYPES = {"float32": "float", "int8": "int8_t", "int32": "int32_t"}


class Export(Base):
    """``files`` gives the name and bytes of all that is written."""

    def files(self) -> dict[str, bytes]:
        texts = {
            f"{self.name}.h": self.header(),
            f"{self.name}.c": self.source(),
            f"{self.name}_test.c": self.test(),
            "README.md": readme(self),
        }
        files = {name: text.encode() for name, text in texts.items()}
        words = vocabulary(self.model.spec.task)
        if words is not None:
            files[f"{self.name}_vocab.txt"] = words
        return files | {f"{self.name}.bin": self.blob()} if self.in_file else files

    def fill(self, template: str, **values: object) -> str:
        return fill(template, name=self.name, NAME=self.name.upper(), version=self.version, **values)

    def header(self) -> str:
        whole, big = self.plan.whole, self.name.upper()
        sizes = f"#define {big}_STATE_BYTES {self.state_bytes}"
        if whole:
            sizes = f"#define {big}_WORK_SIZE(steps) ({self.work} * (size_t)(steps)) /* floats */"
        return self.fill(
            "header.h",
            what="whole sequences" if whole else "one step",
            about=WHOLE if whole else STEP.format(name=self.name),
            both=", both ways" if whole else "",
            blocks=describe(self.model.spec.blocks, " *   "),
            input_size=self.model.spec.input_size,
            output_size=self.model.spec.output_size,
            sizes=sizes,
            weight_bytes=self.weight_bytes,
            macs=self.plan.multiply_accumulates,
            task=classes(self.model.spec.task, self.name),
            weights=self.fill("header_weights.h", members=self._members()) if self.in_file else "",
            interface=self.fill(
                "header_run.h" if whole else "header_step.h",
                state=self._states(),
                w_parameter=self._w_parameter,
                number=self.code.number,
            ),
            conversions=self.fill("header_conversions.h") if self.fixed else "",
        )

    def _states(self) -> str:
        members = [f"    {self.code.number} {name}[{size}];" for name, size in self.plan.states.items()]
        return "\n".join(members) or "    unsigned char none; /* no block remembers anything */"

    @property
    def _w_parameter(self) -> str:
        return f"const {self.name}_weights *w, " if self.in_file else ""

    def _members(self) -> str:
        lines = [f"    {C_TYPES[a.dtype.name]} {name}[{a.size}];" for name, a in self.weights.items()]
        return "\n".join(lines + ([f"    uint8_t padding[{self.padding}];"] if self.padding else []))

    def source(self) -> str:
        functions = "\n".join(self.code.functions())
        text = self.fill(
            "source.c",
            functions=functions,
            weights=self._check() if self.in_file else self._constants(),
            public=self._run() if self.plan.whole else self._step(),
        )
        return text + ("\n" + self._conversions() if self.fixed else "")

    def _constants(self) -> str:
        if not self.weights:
            return ""
        values = [f"    {{ /* {name} */\n{numbers(a, '        ')}\n    }}" for name, a in self.weights.items()]
        inside = ",\n".join(values)
        return f"static const struct weights {{\n{self._members()}\n}} weights = {{\n{inside}\n}};\n"

    def _check(self) -> str:
        blob = self.blob()
        checksum = struct.unpack_from("<I", blob, 4)[0]
        return self.fill("source_check.c", bytes=len(blob), magic=MAGIC, checksum=checksum)

    def _step(self) -> str:
        statements = self.code.statements()
        lines = []
        if self.plan.scratch:
            lines.append(f"{self.code.number} scratch[{self.plan.scratch}]; /* what blocks hand on */")
        lines += self._locals(statements)
        lines += [""] if lines else []
        lines += ["(void)s;"] if not self.plan.states else []
        lines += ["(void)w;"] if self.in_file and not self.weights else []
        body = textwrap.indent("\n".join([*lines, *statements]), "    ")
        return self.fill("source_step.c", w_parameter=self._w_parameter, number=self.code.number, body=body)

    def _locals(self, statements: list[str]) -> list[str]:
        lines = []
        if not self.in_file and any("w->" in s for s in statements):
            lines.append("const struct weights *const w = &weights;")
        if any("for (i" in s for s in statements):
            lines.append("size_t i;")
        return lines

    def _run(self) -> str:
        """The public function over whole sequences, and before it a function for each pass."""
        passes, loops = [], []
        for number, (reverse, operations) in enumerate(self.plan.passes):
            text, call = self._pass(f"pass_{number}", reverse, operations)
            passes.append(text)
            head = "for (t = steps; t-- > 0;)" if reverse else "for (t = 0; t < steps; ++t)"
            loops.append(f"    {head} {{\n        {call}\n    }}")
        return self.fill(
            "source_run.c",
            state=self._states(),
            passes="\n".join(passes),
            w_parameter=self._w_parameter,
            loops="\n".join(loops),
        )

    def _pass(self, function: str, reverse: bool, operations: list[Operation]) -> tuple[str, str]:
        """The function for one step of a pass, and the call of it."""
        statements = self.code.statements(operations)
        used = [name for name in PASS if any(re.search(rf"\b{name}\b", s) for s in statements)]
        if not self.in_file and "w" in used:
            used.remove("w")
        sizes = {"X": self.model.spec.input_size, "Y": self.model.spec.output_size, "K": self.work}
        types, values = zip(*(PASS[name] for name in used), strict=True)
        lines = self._locals(statements)
        return self.fill(
            "source_pass.c",
            order="from the last step to the first" if reverse else "from the first step to the last",
            function=function,
            parameters=", ".join(types).format(name=self.name),
            body=textwrap.indent("\n".join([*lines, *[""] * bool(lines), *statements]), "    "),
        ), f"{function}({', '.join(values).format(**sizes)});"

    def _conversions(self) -> str:
        one = np.float32(1)
        assert self.plan.output is not None
        return self.fill(
            "fixed_public.c",
            input_scale=numbers(np.ldexp(one, self.model.arrays["input.exponent"].astype(int)), " " * 8),
            output_scale=numbers(np.ldexp(one, -self.plan.output), " " * 8),
        )

    def blob(self) -> bytes:
        """The weights file: little-endian, as the struct lies in memory."""
        little = (np.asarray(a, a.dtype.newbyteorder("<")).tobytes() for a in self.weights.values())
        data = b"".join(little) + bytes(self.padding)
        return struct.pack("<II", MAGIC, zlib.crc32(data)) + data

    def test(self) -> str:
        x = self.examples
        start = f'    if (!load(argc > 1 ? argv[1] : "{self.name}.bin")) {{\n        return 2;\n    }}\n'
        values: dict[str, object] = {
            "steps": len(x),
            "input": _rows(x),
            "load": self.fill("test_load.c") if self.in_file else "",
            "main": "int main(int argc, char **argv)" if self.in_file else "int main(void)",
            "begin": start if self.in_file else "",
            "w": "&weights, " if self.in_file else "",
        }
        expected = Expected(self.model, x[:, None])
        if self.fixed:
            assert self.plan.output is not None
            y = expected.right[:, 0].astype(np.float32)
            return self.fill("test_fixed.c", expected=_rows(to_integers(y, self.plan.output)), **values)
        template = "test_whole.c" if self.plan.whole else "test_single.c"
        right = expected.right[:, 0].astype(np.float32)
        allowed = ",\n".join(f"    {one:.6g}" for one in expected.allowed)
        return self.fill(template, expected=_rows(right), allowed=allowed, **values)


def _rows(array: Array) -> str:
    return ",\n".join(f"    {{\n{numbers(row, ' ' * 8)}\n    }}" for row in array)
