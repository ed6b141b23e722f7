"""A model, and a chain of blocks, in words."""

from __future__ import annotations

from collections.abc import Sequence

from grus.errors import assert_never
from grus.model import Model
from grus.spec import Block, Classify, Forecast, Language, Series, Task
from grus.spec.chains import products, state_sizes

__all__ = ["describe", "summary"]


def summary(model: Model) -> str:
    """What the model holds and what a step of it costs, a line each, and its blocks."""
    spec = model.spec
    task = "none" if spec.task is None else _task(spec.task)
    weights = sum(array.nbytes for array in model.arrays.values())
    return f"""hash          {model.hash}
precision     {spec.precision}
task          {task}
a step        takes {_input(model)}, gives {spec.output_size:,}
parameters    {model.num_parameters:,}, {weights:,} bytes
state         {_state(model)}
operations    {2 * products(spec.blocks):,} floating point operations a step
blocks
{describe(spec.blocks, "  ")}"""


def _state(model: Model) -> str:
    if not model.spec.streams:
        return "none: a bidirectional GRU reads whole sequences, and cannot be streamed"
    numbers = sum(state_sizes(model.spec.blocks))
    return f"{numbers:,} numbers a stream, {model.spec.format.state_bytes * numbers:,} bytes"


def _input(model: Model) -> str:
    if ids := model.spec.blocks[0].facts.ids:
        return f"an id from 0 to {ids - 1:,}"
    return f"{model.spec.input_size:,} number{'s' * (model.spec.input_size > 1)}"


def _task(task: Task) -> str:
    words = [type(task).__name__]
    if (read := task.facts.reads) is not None:
        unit = "channels" if isinstance(read, Series) else "ids"
        words.append(f"{type(read).__name__} of {read.size:,} {unit}")
    match task:
        case Forecast():
            shown = ["horizon", "window", "frequency", "season", "scale", "quantiles"]
        case Classify():
            names = ", ".join(name if name.isprintable() else repr(name) for name in task.classes[:8])
            names += ", …" * (len(task.classes) > 8)
            words.append(f"{len(task.classes):,} classes ({names})")
            shown = ["labels", "longest", "temperature"]
        case Language():
            shown = []
        case _:
            assert_never(task)
    return ", ".join([*words, *(f"{name} {getattr(task, name)!r}" for name in shown)])


def describe(blocks: Sequence[Block], indent: str) -> str:
    """The blocks, one in a line; chains inside one that are alike are named once."""
    lines = []
    for block in blocks:
        words, chains = block.facts.words, block.facts.chains
        lines.append(f"{indent}{words}{':' if chains else ''}")
        if list(chains) == [""]:
            lines.append(describe(chains[""], indent + "  "))
        else:
            lines += _members(list(chains.values()), indent + "  ")
    return "\n".join(lines)


def _members(members: Sequence[tuple[Block, ...]], indent: str) -> list[str]:
    lines, first = [], 0
    for index, member in enumerate(members):
        if index + 1 < len(members) and members[index + 1] == member:
            continue
        named = f"member {index}" if first == index else f"members {first} to {index}, each"
        lines.append(f"{indent}{named}:\n{describe(member, indent + '  ')}")
        first = index + 1
    return lines
