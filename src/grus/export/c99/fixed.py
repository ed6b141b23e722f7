"""C of a w8a16 model: integers alone, with the bits of ``grus.quantized``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.export.c99.plan import Activate, Add, Copy, Gather, Gru, MatVec, Operation, Plan, Pooling
from grus.export.c99.text import fill, loops, numbers, used
from grus.quantized import GUARD, Dense, Recurrent, alignment, table, to_gate

__all__ = ["Fixed"]

Array = NDArray[Any]


class Fixed:
    """The same pieces as ``Single`` gives, of one plan and the model's arrays."""

    number = "int16_t"

    def __init__(self, plan: Plan, arrays: Mapping[str, Array]) -> None:
        self.plan, self.arrays = plan, arrays
        self.shifts: dict[str, Array] = {}  # tables of shifts, where features differ
        self.lines = [self._statement(op) for op in plan.operations]

    def weights(self) -> dict[str, Array]:
        """The members of the struct of weights, the widest first, so that nothing lies between them."""
        members: dict[str, Array] = {}
        for op in self.plan.operations:
            if isinstance(op, Gru):
                layer, s = self._recurrent(op), op.suffix
                members |= {f"W_{s}": layer.W, f"U_{s}": layer.U, f"W_m_{s}": layer.W_m, f"U_m_{s}": layer.U_m}
                members[f"b_{s}"] = layer.bias if op.block.reset_after else layer.bias[: 3 * op.h.size]
            if isinstance(op, MatVec):
                dense, s = Dense.of(self.arrays, op.name), op.suffix
                members |= {f"A_{s}": dense.weight, f"m_{s}": dense.m}
                if op.block.bias:
                    members[f"b_{s}"] = dense.bias
        ordered = sorted(members.items(), key=lambda item: -item[1].itemsize)
        return {name: np.ascontiguousarray(array).reshape(-1) for name, array in ordered}

    def _recurrent(self, op: Gru) -> Recurrent:
        return Recurrent.of(op.block, self.arrays, op.name, int(op.layer.removeprefix("l")))

    def functions(self) -> list[str]:
        """The static functions that the operations call, each once, and the tables of shifts."""
        found: dict[str, str] = {}
        for size in sorted({s for op in self.plan.operations for s in _products(op)}):
            body = loops("k", 0, size, "sum += w[k] * x[k];", "    ")
            found[f"dot_{size}"] = fill("fixed_dot.c", K=size, loops=body)
        for op in self.plan.operations:
            if isinstance(op, Gru):
                found[_name(op)] = _gru(op)
            if isinstance(op, MatVec):
                found[_name(op)] = _linear(op)
        tables = [
            f"static const int8_t {name}[{len(values)}] = {{\n{numbers(values)}\n}};\n"
            for name, values in self.shifts.items()
        ]
        own = [*found.values(), *tables]
        helpers = used(fill("fixed_helpers.c", table=numbers(table())), "".join([*own, *self.lines]))
        return [fill("fixed_guard.c"), *helpers, *own] if helpers else own

    def statements(self, operations: Sequence[Operation] | None = None) -> list[str]:
        """The calls of ``operations``, by default of all of the plan."""
        return self.lines if operations is None else [self._statement(op) for op in operations]

    def _statement(self, op: Operation) -> str:
        match op:
            case Gru():
                layer, s = self._recurrent(op), op.suffix
                arrays = ", ".join(f"w->{letter}_{s}" for letter in ("W", "U", "W_m", "U_m", "b"))
                return f"{_name(op)}({op.x}, {op.h}, {arrays}, {layer.W_shift}, {layer.U_shift});"
            case MatVec():
                bias = f", w->b_{op.suffix}" if op.block.bias else ""
                shift = Dense.of(self.arrays, op.name).shift
                return f"{_name(op)}({op.x}, {op.y}, w->A_{op.suffix}, w->m_{op.suffix}{bias}, {shift});"
            case Copy():
                return f"memcpy({op.y}, {op.x}, {op.x.size} * sizeof(int16_t));"
            case Activate():
                return _loop(op.y.size, f"{op.y.at('i')} = {self._activation(op)};")
            case Add():
                return self._add(op)
            case Gather() | Pooling():
                raise AssertionError("grus.quantized.layout refuses these blocks")

    def _activation(self, op: Activate) -> str:
        value = op.x.at("i")
        if op.function == "relu":
            return f"(int16_t)({value} < 0 ? 0 : {value})"
        assert op.x.exponents is not None
        function = {"tanh": "hyperbolic", "sigmoid": "sigmoid"}[op.function]
        return f"narrow({function}(limit(align({value}, {self._shift(to_gate(op.x.exponents))}))))"

    def _add(self, op: Add) -> str:
        after = int(self.arrays[op.name + "exponent"][0])
        parts = []
        for part in op.parts:
            assert part.exponents is not None
            parts.append(f"align({part.at('i')}, {self._shift(alignment(op.name, part.exponents, after))})")
        total = "\n        + ".join(parts)
        divisor = op.count << GUARD
        rounded = f"divide(sum + {divisor // 2}, {divisor})" if op.count > 1 else f"round_shift(sum, {GUARD})"
        return _loop(op.y.size, f"const int64_t sum = {total};\n    {op.y.at('i')} = narrow({rounded});")

    def _shift(self, values: Array) -> str:
        """One number where all features have it, else an element of a table."""
        if (values == values[0]).all():
            return str(int(values[0]))
        for name, known in self.shifts.items():
            if np.array_equal(known, values):
                return f"{name}[i]"
        name = f"shifts_{len(self.shifts)}"
        self.shifts[name] = values.astype(np.int8)
        return f"{name}[i]"

    def local_bytes(self) -> int:
        layers = [op for op in self.plan.operations if isinstance(op, Gru)]
        hungriest = max((op.h.size * (2 if op.block.reset_after else 4) for op in layers), default=0)
        return 2 * self.plan.scratch + hungriest


def _products(op: Operation) -> list[int]:
    if isinstance(op, Gru):
        return [op.x.size, op.h.size]
    return [op.x.size] if isinstance(op, MatVec) else []


def _name(op: Gru | MatVec) -> str:
    if isinstance(op, MatVec):
        return f"linear_{op.x.size}_{op.y.size}{'' if op.block.bias else '_no_bias'}"
    return f"gru_{op.x.size}_{op.h.size}_{'after' if op.block.reset_after else 'before'}"


def _gru(op: Gru) -> str:
    H = op.h.size
    template = f"fixed_gru_{'after' if op.block.reset_after else 'before'}.c"
    return fill(template, function=_name(op), I=op.x.size, H=H, H2=2 * H, H3=3 * H)


def _linear(op: MatVec) -> str:
    bias, plus = (", const int32_t *restrict b", " + b[j]") if op.block.bias else ("", "")
    return fill("fixed_linear.c", function=_name(op), I=op.x.size, O=op.y.size, b_parameter=bias, plus_b=plus)


def _loop(size: int, body: str) -> str:
    return f"for (i = 0; i < {size}; ++i) {{\n    {body}\n}}"
