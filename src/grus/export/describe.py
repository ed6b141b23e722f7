"""A chain of blocks in words, and what a step of it costs."""

from __future__ import annotations

from collections.abc import Sequence

from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual

__all__ = ["describe", "multiply_accumulates"]


def describe(blocks: Sequence[Block], indent: str) -> str:
    """The blocks, one in a line; members of a Mean that are alike are named once."""
    lines = []
    for block in blocks:
        match block:
            case Mean():
                lines.append(f"{indent}Mean of {len(block.members)}:")
                lines += _members(block, indent + "  ")
            case Bypass() | Residual():
                around = f", {block.size} features around it" if isinstance(block, Bypass) else ", added to its input"
                lines.append(f"{indent}{type(block).__name__}{around}:\n{describe(block.blocks, indent + '  ')}")
            case Linear() | Activation():
                kind = block.function if isinstance(block, Activation) else "Linear"
                lines.append(f"{indent}{kind}, {block.input_size} -> {block.output_size}")
            case Embedding():
                lines.append(f"{indent}Embedding, {block.size:,} ids -> {block.output_size}")
            case Pool():
                units = f" with {block.attention_size} units" if block.attention_size else ""
                lines.append(f"{indent}{block.function}{units} over the steps so far, {block.size} -> {block.size}")
            case GRU():
                layers = f", {block.num_layers} layers" if block.num_layers > 1 else ""
                both = ", both directions" if block.bidirectional else ""
                reset = f", reset {'after' if block.reset_after else 'before'} the product"
                lines.append(f"{indent}GRU, {block.input_size} -> {block.output_size}{layers}{both}{reset}")
    return "\n".join(lines)


def _members(block: Mean, indent: str) -> list[str]:
    lines, first = [], 0
    for index, member in enumerate(block.members):
        if index + 1 < len(block.members) and block.members[index + 1] == member:
            continue
        named = f"member {index}" if first == index else f"members {first} to {index}, each"
        lines.append(f"{indent}{named}:\n{describe(member, indent + '  ')}")
        first = index + 1
    return lines


def multiply_accumulates(blocks: Sequence[Block]) -> int:
    """How many products of weights and features a step adds up; of a bidirectional GRU, a step both ways."""
    total = 0
    for block in blocks:
        match block:
            case GRU():
                inputs = block.input_size + (block.num_layers - 1) * block.output_size
                per_direction = 3 * block.hidden_size * (inputs + block.num_layers * block.hidden_size)
                total += block.directions * per_direction
            case Linear():
                total += block.input_size * block.output_size
            case Pool():
                total += block.attention_size * (block.size + 1)
            case Bypass() | Residual():
                total += multiply_accumulates(block.blocks)
            case Mean():
                total += sum(map(multiply_accumulates, block.members))
            case Activation() | Embedding():
                pass
    return total
