"""What the machine can do, timed in turn with the contestants, and the least time a case needs by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cases import Case

PRODUCT = "ceiling: product"  # 1024³ in float32 by PyTorch
L2 = "ceiling: L2 read"  # by one core
L3 = "ceiling: L3 read"  # by one core
_SIZE = 1024
_ROW = 8192  # float32 a dot product: long enough to hide its call, too short for the BLAS to share it among threads
_L2_BYTES = 384 * 1024  # past any L1, within any L2
_DEFAULT_L2 = 1 << 20


def l2_size() -> int:
    """Bytes of a core's L2 cache, as Linux says; 1 MiB where it does not."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text(encoding="ascii").strip()
        return int(text.removesuffix("K")) * 1024
    except (OSError, ValueError):
        return _DEFAULT_L2


def _l3_bytes() -> int:
    return 4 * l2_size()


def prepare() -> dict[str, Callable[[], object]]:
    """The product needs ``torch.set_num_threads`` called before."""
    import torch

    a, b = torch.randn(_SIZE, _SIZE), torch.randn(_SIZE, _SIZE)
    out = torch.empty(_SIZE, _SIZE)
    return {
        PRODUCT: partial(torch.mm, a, b, out=out),
        L2: _read(_L2_BYTES, _REPEATS[L2]),
        L3: _read(_l3_bytes(), _REPEATS[L3]),
    }


_REPEATS = {L2: 32, L3: 2}  # one call from Python reads the arrays so many times


def _read(size: int, repeats: int) -> Callable[[], object]:
    """Read ``size`` bytes as two arrays, ``repeats`` times, by the dot products of their rows."""
    rows = size // (2 * 4 * _ROW)
    a, b = (np.ones((rows, _ROW), np.float32) for _ in range(2))
    again = np.broadcast_to(a, (repeats, rows, _ROW))
    return partial(np.vecdot, again, b, out=np.empty((repeats, rows), np.float32))


@dataclass(frozen=True)
class Ceilings:
    """Of ``threads`` cores together: float32 products in GFLOP/s, reading in GB/s; ``l2_bytes`` is a core's cache."""

    threads: int
    product_gflops: float
    l2_gbs: float
    l3_gbs: float
    l2_bytes: int

    @classmethod
    def of(cls, microseconds: dict[str, float], threads: int) -> Ceilings:
        read = {
            name: _REPEATS[name] * size / microseconds[name] / 1e3 * threads
            for name, size in ((L2, _L2_BYTES), (L3, _l3_bytes()))
        }
        product = 2 * _SIZE**3 / microseconds[PRODUCT] / 1e3
        return cls(threads, product, read[L2], read[L3], l2_size())


@dataclass(frozen=True)
class Limit:
    """``bound``: what the recurrence waits for, "FMA", "L2" or "L3". ``microseconds``: no faster by these ceilings."""

    bound: str
    microseconds: float

    def beside(self, microseconds: float | None) -> dict[str, object]:
        """For the results: this, and the share of it that a time reaches."""
        return asdict(self) | {"share": None if microseconds is None else self.microseconds / microseconds}


def limit(case: Case, ceilings: Ceilings) -> Limit:
    """The flops at the rate of a large product, but no step sooner than its recurrent weights can be read once.

    The backward pass reads them once more. A single step reads the input weights too.
    """
    rate = ceilings.product_gflops * 1e3  # flops a microsecond
    weights = 12 * case.H * (case.H + case.I if case.mode == "step" else case.H)  # bytes, of one layer and direction
    inside = weights <= ceilings.l2_bytes * ceilings.threads
    bandwidth = (ceilings.l2_gbs if inside else ceilings.l3_gbs) * 1e3  # bytes a microsecond
    count = case.layers * case.directions
    reading = count * case.T * weights / bandwidth
    if case.mode == "step":
        computing, passes, rest = case.flops / rate, 1, 0.0
    else:
        computing, passes = case.recurrent_flops / rate, 2 if case.mode == "train" else 1
        rest = case.flops / rate - passes * computing  # what needs no step after step
    bound = "FMA" if computing >= reading else "L2" if inside else "L3"
    return Limit(bound, passes * max(computing, reading) + rest)
