"""The least time a case needs by the machine's ceilings. Where the truth is not known, the less."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from benchmarks.cases import Case
from benchmarks.ceilings import Ceilings


@dataclass(frozen=True)
class Limit:
    """``bound``: what the recurrence waits for, FMA, L1, L2 or L3. ``microseconds``: no faster by these ceilings."""

    bound: str
    microseconds: float

    def beside(self, microseconds: float | None) -> dict[str, object]:
        """For the results: this, and the share of it that a time reaches."""
        return asdict(self) | {"share": None if microseconds is None else self.microseconds / microseconds}


def limit(case: Case, ceilings: Ceilings) -> Limit:
    """The flops at the rate of multiply-adds, but no step sooner than its recurrent weights can be read once.

    The backward pass reads them once more. While a core waits for them it computes nothing else. A call of one step
    reads the input weights too. A sequence starts from zeros, forwards and backwards, so that one step of it needs no
    product with the recurrent weights.
    """
    rate = ceilings.fma_gflops * 1e3  # flops a microsecond
    weights = 3 * case.H * (case.H + case.I if case.mode == "step" else case.H)  # of one layer and direction
    step = {"FMA": 2 * case.B * weights / rate, **_reading(4 * weights, ceilings)}
    bound = max(step, key=step.__getitem__)
    if case.mode == "step":
        return Limit(bound, step[bound])
    steps = (case.T - 1) * case.layers * case.directions
    least = steps * step[bound] + case.projection_flops / rate
    if case.mode == "train":  # the way back, and what needs no step after step: dU, dx and dW
        least += steps * (step[bound] + step["FMA"]) + 2 * case.projection_flops / rate
    return Limit(bound, least)


def _reading(size: int, ceilings: Ceilings) -> dict[str, float]:
    """Microseconds that each cache takes to hand on what it must of ``size`` bytes, divided among the cores.

    At best a core's L1 and L2 keep what they hold from step to step, and the caches work at the same time.
    """
    l1, l2 = ceilings.threads * ceilings.l1_bytes, ceilings.threads * ceilings.l2_bytes
    missing = {1: size, 2: size - l1, 3: size - l1 - l2}
    return {f"L{level}": max(0, rest) / ceilings.gbs(level) / 1e3 for level, rest in missing.items()}
