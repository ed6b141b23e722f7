"""A sequence through a Session at once, a step at a time and in two pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus import Session, State


def run_streamed_and_cut(session: Session, x: NDArray[Any]) -> tuple[NDArray[np.float32], State]:
    """y and the state after x [T, B, I], T > 4, having checked that all three ways give the same bits."""
    y, end = session.run(x)
    state = session.initial_state(x.shape[1])
    for t in range(len(x)):
        one, state = session.step(x[t], state)
        assert one.tobytes() == y[t].tobytes()
    assert state == end
    first, middle = session.run(x[:4])
    rest, last = session.run(x[4:], middle)
    assert np.concatenate([first, rest]).tobytes() == y.tobytes() and last == end
    return y, end
