"""Streams in one Session that join, leave, change places, and are saved and restored, at random.

python tests/many_streams.py

runs 1,000 streams over 10,000 steps and compares every output of each with the stream run alone, bit for bit.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grus import Model, Session, Spec
from grus.runtime.state import State
from grus.spec import GRU, Activation, Linear, Mean, Residual, parameters

Array = NDArray[np.float32]


@dataclass
class Count:
    joined: int = 0
    left: int = 0
    moved: int = 0
    restored: int = 0
    checked: int = 0
    most: int = 0
    steps: int = 0


@dataclass
class Stream:
    """One stream: inputs of its own, and what it was answered."""

    seed: int
    size: int
    y: list[Array] = field(default_factory=list)

    def x(self, t: int) -> Array:
        """[16, size]: the inputs of 16 steps, of which t picks the block."""
        return np.random.default_rng([self.seed, t]).normal(size=(16, self.size)).astype(np.float32)

    def next(self) -> Array:
        t = len(self.y)
        if t % 16 == 0:
            self.block = self.x(t // 16)
        row: Array = self.block[t % 16]
        return row

    def check(self, session: Session) -> None:
        """Its answers are those of an undisturbed run."""
        if not self.y:
            return
        x = np.concatenate([self.x(t) for t in range((len(self.y) + 15) // 16)])[: len(self.y)]
        alone, _ = session.run(x[:, None])
        assert np.stack(self.y).tobytes() == alone[:, 0].tobytes(), f"stream {self.seed} differs from its own run"


def shuffled(session: Session, size: int, *, streams: int, steps: int, seed: int) -> Count:
    """Run ``steps`` steps of at most ``streams`` streams at a time. Raises AssertionError where one differs."""
    rng, count = np.random.default_rng(seed), Count(steps=steps)
    here: list[Stream] = []
    away: list[tuple[list[Stream], bytes]] = []  # saved, to come back
    state = session.initial_state(0)
    for _ in range(steps):
        draw = rng.random()
        if draw < 0.2 or not here:  # others join, at a random place
            new = [Stream(count.joined + i, size) for i in range(rng.integers(1, 2 + max(1, streams // 8)))]
            new = new[: streams - len(here) - sum(len(s) for s, _ in away)]
            count.joined += len(new)
            here, state = _into(rng, here, state, new, session.initial_state(len(new)))
        elif draw < 0.3:  # some leave for good
            gone = rng.random(len(here)) < 0.08
            for i in np.flatnonzero(gone):
                here[i].check(session)
                count.checked += 1
            count.left += int(gone.sum())
            here, state = [s for s, g in zip(here, gone, strict=True) if not g], state.rows(np.flatnonzero(~gone))
        elif draw < 0.4:
            order = rng.permutation(len(here))
            here, state = [here[i] for i in order], state.rows(order)
            count.moved += 1
        elif draw < 0.5:  # some are saved and go
            chosen = rng.random(len(here)) < 0.2
            out = state.rows(np.flatnonzero(chosen))
            away.append(([s for s, c in zip(here, chosen, strict=True) if c], session.state_to_bytes(out)))
            here, state = [s for s, c in zip(here, chosen, strict=True) if not c], state.rows(np.flatnonzero(~chosen))
        elif away:  # some that were saved come back
            back, data = away.pop(rng.integers(len(away)))
            here, state = _into(rng, here, state, back, session.state_from_bytes(data))
            count.restored += len(back)
        count.most = max(count.most, len(here))
        if here:
            y, state = session.step(np.stack([s.next() for s in here]), state)
            for stream, y_t in zip(here, y, strict=True):
                stream.y.append(y_t)
    for stream in (*here, *(s for group, _ in away for s in group)):
        stream.check(session)
        count.checked += 1
    return count


def _into(
    rng: np.random.Generator, here: list[Stream], state: State, new: list[Stream], added: State
) -> tuple[list[Stream], State]:
    """Streams put between others, at a random place."""
    at = int(rng.integers(len(here) + 1))
    left, right = state.rows(np.arange(at)), state.rows(np.arange(at, len(here)))
    return [*here[:at], *new, *here[at:]], State.join([left, added, right])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    size = 12
    member = (GRU(size, 32), Residual((GRU(32, 32, reset_after=False),)), Linear(32, 4))
    blocks = (Mean((member, member)), Activation(4, "tanh"))
    rng = np.random.default_rng(0)
    arrays = {n: rng.uniform(-0.5, 0.5, s).astype(np.float32) for n, s in parameters(blocks).items()}
    begin = time.perf_counter()
    count = shuffled(Session(Model(Spec(blocks), arrays)), size, streams=1000, steps=10_000, seed=0)
    print(f"{count}: every bit equal, in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
