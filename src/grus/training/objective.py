"""What a training minimises: the one interface between the loop and a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from grus.torch.network import Network

__all__ = ["Objective", "Part"]


@dataclass(frozen=True)
class Part:
    """A micro-batch of this process.

    count: what its losses are normalised by (tokens, sequences), at least 0; known before the forward pass.
    total: the sum, not the mean, of its losses as a scalar, given the network, on whose device it must be; it must use
        every weight.
    """

    count: float
    total: Callable[[Network], Tensor]


class Objective(Protocol):
    """A step's gradient is that of Σ totals / Σ counts, over the parts of all processes.

    A checkpoint taken before a step must lead to that step's bits, so everything here is a pure function of the step
    and of what is carried.
    """

    def parts(self, step: int) -> Sequence[Part]:
        """This process's share of that step; several parts accumulate their gradients, none is allowed too."""
        ...

    def carried(self) -> dict[str, NDArray[Any]]:
        """What goes from step to step beside the weights, as hidden states do; {} for nothing.

        Asked for before every step. The arrays must not be written to afterwards: a total may replace them only.
        """
        ...

    def restore(self, carried: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`carried` gave."""
        ...
