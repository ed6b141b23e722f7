"""Silence after speech: states that fade into denormal numbers, beside ones that do not.

    python -m benchmarks.silence

Without biases and input a state halves in every step. The silent sequence begins where the next half is denormal; a CPU
that takes an assist for every such number needs many times as long for it.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from grus.runtime import kernels
from grus.weights import GRUWeights

STEPS, ROUNDS = 500, 25


def faded(hidden: int, batch: int) -> tuple[float, float]:
    """The median over rounds of the time of silence over that of noise, and the part of the states that is denormal."""
    rng = np.random.default_rng(hidden)

    def draw(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.uniform(-0.02, 0.02, shape).astype(np.float32)

    none = np.zeros(3 * hidden, np.float32)
    layer = kernels.Layer(GRUWeights(draw(3 * hidden, hidden), draw(3 * hidden, hidden), none, none), training=False)
    noise = rng.normal(size=(STEPS, batch, hidden)).astype(np.float32)
    silence = np.zeros_like(noise)
    small = np.float32(2.0**-126)
    h = np.full((batch, hidden), small, np.float32)  # on the edge: halved in every step, no longer normal after one
    ratios = []
    for _ in range(ROUNDS):
        seconds = []
        for x, h0 in ((noise, None), (silence, h)):
            start = time.perf_counter()
            y, _ = layer.forward(x, h0)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios), float((np.abs(y) < small).mean())


def main() -> None:
    for hidden, batch in ((64, 1), (256, 1), (128, 16)):
        ratio, part = faded(hidden, batch)
        print(f"H={hidden} B={batch}: silence {ratio:.2f} times noise; {part:.0%} of the states denormal or zero")


if __name__ == "__main__":
    main()
