"""C of a float32 model: its weights as they lie in memory, its functions, and the calls of one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import assert_never
from grus.export.c99.plan import Activate, Add, Copy, Gather, Gru, MatVec, Operation, Plan, Pooling
from grus.export.c99.text import fill, loops, used
from grus.spec import GRU

__all__ = ["Single"]

Array = NDArray[Any]


class Single:
    """What ``files`` puts together: the weights of one plan, the functions it calls, the calls of one step."""

    number = "float"

    def __init__(self, plan: Plan, arrays: Mapping[str, Array]) -> None:
        self.plan, self.arrays = plan, arrays

    def weights(self) -> dict[str, Array]:
        """The members of the struct of weights: matrices transposed, biases that only meet in a sum added."""
        members: dict[str, Array] = {}
        for op in self.plan.operations:
            match op:
                case Gru():
                    for letter, kind in (("W", "ih"), ("U", "hh")):
                        members[f"{letter}_{op.suffix}"] = self.arrays[f"{op.name}weight_{kind}_{op.layer}"].T
                    if op.block.bias:
                        b_i, b_h = (self.arrays[f"{op.name}bias_{kind}_{op.layer}"] for kind in ("ih", "hh"))
                        members[f"b_{op.suffix}"] = _biases(op.block, b_i, b_h)
                case MatVec():
                    members[f"A_{op.suffix}"] = self.arrays[op.name + "weight"].T
                    if op.block.bias:
                        members[f"b_{op.suffix}"] = self.arrays[op.name + "bias"]
                case Gather():
                    members[f"E_{op.suffix}"] = self.arrays[op.name + "weight"]
                case Pooling():
                    if op.block.function == "attention":
                        members[f"A_{op.suffix}"] = self.arrays[op.name + "weight"].T
                        for letter, n in (("b", "bias"), ("q", "query")):
                            members[f"{letter}_{op.suffix}"] = self.arrays[op.name + n]
                case Copy() | Activate() | Add():
                    pass
                case _:
                    assert_never(op)
        return {name: np.ascontiguousarray(array, np.float32).reshape(-1) for name, array in members.items()}

    def functions(self) -> list[str]:
        """The static functions that the plan's operations call, each once."""
        found: dict[str, str] = {}
        for op in self.plan.operations:
            match op:
                case Gru():
                    found[_name(op)] = _gru(op)
                case MatVec():
                    found[_name(op)] = _linear(op)
                case Gather():
                    found[_name(op)] = fill("single_embedding.c", function=_name(op), S=op.block.size, O=op.y.size)
                case Pooling():
                    found[_name(op)] = _pool(op)
                case Copy() | Activate() | Add():
                    pass
                case _:
                    assert_never(op)
        own = list(found.values())
        return [*used(fill("single_sigmoid.c"), "".join([*own, *self.statements()])), *own]

    def statements(self, operations: Sequence[Operation] | None = None) -> list[str]:
        """The calls of ``operations``, by default of all of the plan."""
        return [_statement(op) for op in (self.plan.operations if operations is None else operations)]

    def local_bytes(self) -> int:
        """Of the arrays on the stack: the scratch of a step, or the states of a run, and the hungriest function's."""
        own = sum(self.plan.states.values()) if self.plan.whole else self.plan.scratch
        return 4 * (own + max(map(_locals, self.plan.operations), default=0))


def _biases(block: GRU, b_i: Array, b_h: Array) -> Array:
    both, gates = b_i + b_h, 2 * block.hidden_size
    return np.concatenate([both[:gates], b_i[gates:], b_h[gates:]]) if block.reset_after else both


def _locals(op: Operation) -> int:
    """How many numbers are in the arrays of the function that does it."""
    match op:
        case Gru():
            return 4 * op.h.size
        case Pooling():
            return op.block.attention_size
        case MatVec() | Gather() | Copy() | Activate() | Add():
            return 0


def _name(op: Gru | MatVec | Gather | Pooling) -> str:
    match op:
        case Gather():
            return f"embedding_{op.block.size}_{op.y.size}"
        case Pooling():
            attention = f"_{op.block.attention_size}" if op.block.attention_size else ""
            return f"pool_{op.block.function}_{op.block.size}{attention}"
        case MatVec():
            return f"linear_{op.x.size}_{op.y.size}{'' if op.block.bias else '_no_bias'}"
        case Gru():
            bias = "" if op.block.bias else "_no_bias"
            return f"gru_{op.x.size}_{op.h.size}_{'after' if op.block.reset_after else 'before'}{bias}"


def _start(bias: bool, *parts: tuple[str, str]) -> str:
    """What sums begin with: (array, where in b), or zeros."""
    if bias:
        lines = [f"memcpy({array}, {where}, sizeof {array});" for array, where in parts if where]
        lines += [f"memset({array}, 0, sizeof {array});" for array, where in parts if not where]
    else:
        lines = [f"memset({array}, 0, sizeof {array});" for array, _ in parts]
    return "\n    ".join(lines)


def _gru(op: Gru) -> str:
    H, after = op.h.size, op.block.reset_after
    deep = " " * 8
    return fill(
        f"single_gru_{'after' if after else 'before'}.c",
        function=_name(op),
        b_parameter=", const float *restrict b" if op.block.bias else "",
        start=_start(op.block.bias, ("a", "b"), ("u", f"b + {3 * H}" if after else "")),
        input_loops=loops("j", 0, 3 * H, "a[j] += w[j] * v;", deep),
        gate_loops=loops("j", 0, 2 * H, "a[j] += w[j] * v;", deep),
        candidate_loops=loops("j", 0, H, f"u[j] += w[{2 * H} + j] * v;", deep),
        I=op.x.size,
        H=H,
        H2=2 * H,
        H3=3 * H,
    )


def _linear(op: MatVec) -> str:
    size = op.y.size
    start = f"memcpy(y, b, {size} * sizeof *y);" if op.block.bias else f"memset(y, 0, {size} * sizeof *y);"
    return fill(
        "single_linear.c",
        function=_name(op),
        b_parameter=", const float *restrict b" if op.block.bias else "",
        start=start,
        loops=loops("j", 0, size, "y[j] += w[j] * v;", " " * 8),
        I=op.x.size,
        O=size,
    )


def _pool(op: Pooling) -> str:
    block, deep = op.block, " " * 8
    values: dict[str, object] = {"function": _name(op), "N": block.size}
    match block.function:
        case "max":
            return fill("single_pool_max.c", **values)
        case "ends":
            return fill("single_pool_ends.c", **values, H=block.size // 2)
        case "mean":
            lines = (
                loops("j", 0, block.size, "h[j] += x[j];", "    "),
                loops("j", 0, block.size, "y[j] = h[j] / steps;", "    "),
            )
            return fill("single_pool_mean.c", **values, sum_loops=lines[0], mean_loops=lines[1])
        case "attention":
            return fill(
                "single_pool_attention.c",
                **values,
                U=block.attention_size,
                N1=block.size + 1,
                loops=loops("j", 0, block.attention_size, "u[j] += w[j] * v;", deep),
                sum_loops=loops("j", 0, block.size, "h[j] = kept * h[j] + weight * x[j];", "    "),
                mean_loops=loops("j", 0, block.size, f"y[j] = h[j] / h[{block.size}];", "    "),
            )


def _statement(op: Operation) -> str:
    match op:
        case Gru():
            return f"{_name(op)}({op.x}, {op.h}, w->W_{op.suffix}, w->U_{op.suffix}{_bias(op)});"
        case MatVec():
            return f"{_name(op)}({op.x}, {op.y}, w->A_{op.suffix}{_bias(op)});"
        case Gather():
            return f"{_name(op)}({op.x}, {op.y}, w->E_{op.suffix});"
        case Pooling():
            arrays = "".join(f", w->{letter}_{op.suffix}" for letter in "Abq") if op.block.attention_size else ""
            return f"{_name(op)}({op.x}, {op.h}, {op.y}{arrays});"
        case Copy():
            return f"memcpy({op.y}, {op.x}, {op.x.size} * sizeof(float));"
        case Activate():
            value = op.x.at("i")
            call = {
                "relu": f"{value} <= 0.0f ? 0.0f : {value}",
                "tanh": f"tanhf({value})",
                "sigmoid": f"sigmoid({value})",
            }
            return _loop(op.y.size, f"{op.y.at('i')} = {call[op.function]};")
        case Add():
            total = " + ".join(part.at("i") for part in op.parts)
            mean = f"({total}) / {op.count}.0f" if op.count > 1 else total
            return _loop(op.y.size, f"{op.y.at('i')} = {mean};")


def _bias(op: Gru | MatVec) -> str:
    return f", w->b_{op.suffix}" if op.block.bias else ""


def _loop(size: int, body: str) -> str:
    return f"for (i = 0; i < {size}; ++i) {{\n    {body}\n}}"
