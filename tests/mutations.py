"""Good files with some bytes changed, for the tests of what reads them and for ``fuzz.py``."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable

BIG = [0, 1, 2, 255, 256, 2**15, 2**16, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**53, 2**63 - 1, 10**10]


def mutated(data: bytes, draw: random.Random, kinds: int = 8) -> bytes:
    """Some bytes replaced, left out, put in or moved, most of them near the beginning, where sizes stand.

    ``kinds`` leaves out the last ways of doing so.
    """
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        at = draw.randrange(len(changed) if draw.random() < 0.5 else min(len(changed), 600))
        match draw.randrange(kinds):
            case 0:
                changed[at] = draw.randrange(256)
            case 1:
                changed[at] ^= 1 << draw.randrange(8)
            case 2:
                del changed[at : at + draw.choice([1, 2, 8, 100])]
            case 3:
                changed[at:at] = draw.randbytes(draw.choice([1, 4, 8]))
            case 4:
                changed[at : at + 8] = draw.choice([bytes(8), b"\xff" * 8, b"\x7f" + b"\xff" * 7])
            case 5:
                changed[at : at + 8] = struct.pack("<Q", draw.choice(BIG))
            case 6:
                other = draw.randrange(len(changed))
                changed[at:at] = changed[other : other + draw.choice([4, 16, 64])]
            case 7:
                del changed[max(1, at) :]
        changed = changed or bytearray(b"x")
    return bytes(changed)


def with_member(data: bytes, draw: random.Random, change: Callable[[str, bytes], bytes]) -> bytes:
    """A .keras file with change(name, content) in the place of one of its members, and checksums that are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = draw.choice(["config.json", "model.weights.h5"])
    members[name] = change(name, members[name])
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as file:
        for member, content in members.items():
            file.writestr(member, content)
    return result.getvalue()
