"""How a call is timed, and how contestants take turns."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence

_SAMPLE = 1e-3  # seconds: long enough that reading the clock costs nothing
_WARM = 3e-3


def microseconds(run: Callable[[], object], seconds: float) -> float:
    """The median time of a call over about ``seconds``, warmed up first: threads woken, caches filled.

    A call that takes longer than that runs once to warm up and once to be timed.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        call, end = _time(run, 1), time.perf_counter() + _WARM
        while call < seconds:
            call = _time(run, 1)
            if time.perf_counter() > end:
                break
        calls = max(1, round(_SAMPLE / call))
        samples = min(200, max(1, round(seconds / (calls * call))))
        return statistics.median(_time(run, calls) for _ in range(samples)) * 1e6
    finally:
        if enabled:
            gc.enable()


def _time(run: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def take_turns(
    names: Sequence[str], visit: Callable[[str], float | None], rounds: int, rest: float, order: random.Random
) -> dict[str, list[float]]:
    """``visit`` every contestant once a round, in random order, after ``rest`` seconds of quiet.

    The rest lets the threads of the last one stop spinning. A contestant whose visit gives None is out.
    """
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in order.sample(sorted(times), len(times)):
            time.sleep(rest)
            value = visit(name)
            if value is None:
                del times[name]
            else:
                times[name].append(value)
    return times


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
