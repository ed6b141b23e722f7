"""A chain of blocks in words."""

from __future__ import annotations

from collections.abc import Sequence

from grus.spec import Block

__all__ = ["describe"]


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
