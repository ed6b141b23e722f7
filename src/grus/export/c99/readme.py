"""The README.md of an export: what it costs, how it is built and called, and what is left to the caller."""

from __future__ import annotations

from grus.errors import assert_never
from grus.export.c99.base import Base
from grus.export.c99.conversions import said, vocabulary
from grus.export.c99.text import fill
from grus.spec import Categorical, Classify, Forecast, Language, Task

__all__ = ["readme"]


def readme(export: Base) -> str:
    spec, whole = export.model.spec, export.plan.whole
    kind = "int8 weights, 16-bit states and activations" if export.fixed else "float32"
    return fill(
        "README.md",
        name=export.name,
        NAME=export.name.upper(),
        version=export.version,
        what="Whole sequences" if whole else "One step",
        kind=kind,
        meaning=_meaning(export),
        weights=f"{export.weight_bytes:,}",
        where=f"in {export.name}.bin" if export.in_file else f"constants in {export.name}.c",
        table=" (of it 1,538 a table of tanh)"
        if export.fixed and "tanh_table" in "".join(export.code.functions())
        else "",
        memory=_memory(export),
        call="run" if whole else "step",
        both=", both ways" if whole else "",
        stack=f"{export.code.local_bytes():,}",
        macs=f"{export.plan.multiply_accumulates:,}",
        usage=_usage(export),
        files="".join(f"| `{name}` | {what} |\n" for name, what in _files(export)),
        range=_range(export),
        task=_task(spec.task, export),
    )


def _files(export: Base) -> list[tuple[str, str]]:
    more = [(f"{export.name}.bin", "the weights")] if export.in_file else []
    words = vocabulary(export.model.spec.task)
    return more if words is None else [*more, (f"{export.name}_vocab.txt", "the tokens, a line for each id")]


def _memory(export: Base) -> str:
    if export.plan.whole:
        size = 4 * export.work
        return f"| RAM: work memory | {size:,} bytes a step of the sequence, given by the caller |"
    return f"| RAM: state | {export.state_bytes:,} bytes a stream ({sum(export.plan.states.values()):,} numbers) |"


def _meaning(export: Base) -> str:
    sizes = export.model.spec.input_size, export.model.spec.output_size
    if export.plan.whole:
        return (
            f"The network reads a sequence both ways, so that it is given as a whole: x is [steps][{sizes[0]}] and\n"
            f"y is [steps][{sizes[1]}]. x, y and work must not overlap. Nothing is kept from one call to the next."
        )
    return (
        f"x has {sizes[0]} numbers, y has {sizes[1]}. A state belongs to one stream; it may be copied, and saved as\n"
        "bytes for a machine of the same byte order. x, y and the state must not overlap."
    )


def _usage(export: Base) -> str:
    name, big = export.name, export.name.upper()
    lines = [f"{name}_state state;"]
    if export.plan.whole:
        lines = [f"float *work = malloc({big}_WORK_SIZE(steps) * sizeof *work); /* or an array */"]
    w = ""
    if export.in_file:
        lines = [f"static {name}_weights weights; /* filled from {name}.bin */", *lines, ""]
        lines += [f"if (!{name}_check(&weights)) {{ /* not these weights */ }}"]
        w = "&weights, "
    if export.plan.whole:
        return "\n".join([*lines, f"{name}_run({w}x, steps, y, work);"])
    lines += [f"{name}_init(&state);", "/* for every step */"]
    if export.fixed:
        lines[0:0] = [f"int16_t q_x[{big}_INPUT_SIZE], q_y[{big}_OUTPUT_SIZE];"]
        lines += [f"{name}_quantize(x, q_x);", f"{name}_step({w}&state, q_x, q_y);", f"{name}_dequantize(q_y, y);"]
    else:
        lines += [f"{name}_step({w}&state, x, y);"]
    return "\n".join(lines)


def _range(export: Base) -> str:
    """How large inputs may be where they are 16 bits."""
    if not export.fixed:
        return ""
    limits = [32768 * 2.0 ** -int(e) for e in export.model.arrays["input.exponent"]]
    least, most = min(limits), max(limits)
    size = f"{least:g}" if least == most else f"{least:g} to {most:g}, depending on the feature,"
    return (
        f"\nBetween `{export.name}_quantize` and `{export.name}_dequantize` there are integers alone. Inputs beyond "
        f"{size} in size\nsaturate, and `{export.name}_quantize` returns how many did; NaN counts, too, and becomes 0."
    )


def _task(task: Task | None, export: Base) -> str:
    """What lies before and after the network, in numbers where the spec has them."""
    match task:
        case None:
            return (
                "Nothing that Grus knows of: the model has no task, so that x and y are what it was trained on, in "
                "their own units."
            )
        case Classify() | Language():
            return said(task, export.name)
        case Forecast():
            return _forecast(task)
        case _:
            assert_never(task)


def _forecast(task: Forecast) -> str:
    return fill(
        "README_forecast.md",
        scale="log y" if task.scale == "log" else "y",
        listed=_listed(task),
        smoothing=task.smoothing,
        shrinkage=task.shrinkage,
        horizon=task.horizon,
        quantiles=", ".join(map(repr, task.quantiles)),
        count=len(task.quantiles),
        calibrated=_calibrated(task),
        last="; on the log scale exp of that" if task.scale == "log" else "",
    )


def _listed(task: Forecast) -> str:
    """The features of a step, as ``grus.tasks.forecast.windows`` makes them."""
    season = min(task.season, task.horizon)
    features = [
        (task.lags, "(y - level - season) / scale, of this step and those before"),
        (1, "log(scale / unit) + 3"),
        (1, f"log(1 + min(values seen, {task.window})) / 4"),
        (1, "the share of the first features that is known"),
        (1, "1 where y is known"),
    ]
    if task.season > 1:
        features.append((season, "the seasonal pattern 1 step ahead, 2 steps, and so on, / scale"))
        features.append((1, "how strong the pattern is"))
        features.append((1, f"(y - y {task.season} steps before) / scale"))
    for c in (*task.past, *task.future, *task.static):
        if isinstance(c, Categorical):
            features.append((len(c.categories), f"{c.name}: 1 for its own of {', '.join(c.categories)}; else 0"))
        else:
            features.append((1, f"{c.name}: (value - {c.mean!r}) / {c.std!r}"))
    features += [(task.horizon, f"{c.name} of each of the {task.horizon} steps ahead, likewise") for c in task.future]
    lines, at = [], 0
    for size, text in features:
        lines.append(f"- x[{at}]: {text}" if size == 1 else f"- x[{at}] to x[{at + size - 1}]: {text}")
        at += size
    return "\n".join(lines)


def _calibrated(task: Forecast) -> str:
    if not task.calibration:
        return ""
    factors = ", ".join(f"{c:.6g}" for c in task.calibration)
    return f"\nthen each one's distance from the median is multiplied by {factors}, and they are sorted again;"
