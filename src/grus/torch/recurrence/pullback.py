"""Gradients through plain PyTorch: where they are differentiated in turn or batched, and where the kernels have none.

A function takes tensors, its sources, some of them None, and gives a sequence of tensors, its results.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from grus.torch.recurrence import plain
from grus.torch.recurrence.types import Backward, Direction

__all__ = ["by_autograd", "by_vjp", "explained", "gates", "needed", "of_backward", "results"]

Function = Callable[..., Sequence[Tensor]]
Make = Callable[..., Sequence[Direction]]
Gradients = list[Tensor | None]


_REMEDY = (
    "grus.torch needs its input, its weights and y as they were for the backward pass: write into a copy, y.clone(), "
    "or out of place (y = y * 2, not y.mul_(2)), and let optimisers step after it."
)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Where saved tensors come back: what to do where one has been written into."""
    try:
        yield
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            raise RuntimeError(f"{error} {_REMEDY}") from None
        raise


def needed(*by_results: Tensor | None) -> bool:
    """Whether a backward pass of the kernels has to come here: its gradients are differentiated in turn, or batched."""
    batched, legacy = torch._C._functorch.is_batchedtensor, torch._C._functorch.is_legacy_batchedtensor
    return torch.is_grad_enabled() or any(g is not None and (batched(g) or legacy(g)) for g in by_results)


def results(make: Make, with_gates: bool = False) -> Function:
    """y as it lies in memory, h_n [D, B, H] and the gates as a function of what ``make`` makes directions of."""

    def function(*sources: Any) -> Sequence[Tensor]:
        directions = make(*sources)
        y, h_n = plain.layer(directions)
        return directions[0].turned(y), h_n, *(plain.gates(directions, y) if with_gates else ())

    return function


def gates(make: Make) -> Function:
    """r, z and n of each direction as a function of y as it lies in memory, and of the same."""

    def function(y: Tensor, *sources: Any) -> Sequence[Tensor]:
        directions = make(*sources)
        return plain.gates(directions, directions[0].turned(y))

    return function


def of_backward(call: Backward, back: Callable[..., Gradients]) -> Callable[..., tuple[Tensor, ...]]:
    """What ``grus::layer_backward`` gives as a function of dy, dh_n and what the direction is differentiated by."""

    def function(dy: Tensor | None, dh_n: Tensor | None, *tensors: Any) -> tuple[Tensor, ...]:
        empty, found = call.y.new_empty(0), []
        whole = call._replace(dy=dy, dh_n=dh_n, direction=call.direction.by(*tensors))
        for part in whole.parts():
            one = part.direction
            by = part.dy, None if part.dh_n is None else part.dh_n[None]
            own: Any = zip(one.differentiable, back(results(one.alone), one.differentiable, by), strict=True)
            full = [torch.zeros_like(t) if g is None and t is not None else g for t, g in own]
            found.append([g if want else empty for g, want in zip(full, call.wanted, strict=True)])
        return call.joined(found)

    return function


def by_vjp(function: Function, sources: Sequence[Tensor | None], by: Sequence[Tensor | None]) -> Gradients:
    """The gradients by the sources from those by the results (None: zero), in their turn differentiable."""
    given = [tensor is not None for tensor in sources]

    def of_tensors(*tensors: Tensor) -> Any:
        rest = iter(tensors)
        return tuple(function(*(next(rest) if there else None for there in given)))

    found, back = torch.func.vjp(of_tensors, *(tensor for tensor in sources if tensor is not None))  # type: ignore[misc]
    full = tuple(torch.zeros_like(a) if g is None else g for a, g in zip(found, by, strict=True))
    gradients = iter(back(full))
    return [next(gradients) if there else None for there in given]


def by_autograd(
    function: Function,
    sources: Sequence[Tensor | None],
    by: Sequence[Tensor | None],
    wanted: Sequence[bool] | None = None,
) -> Gradients:
    """The same, differentiable in their turn where gradients are enabled; None where none is wanted or depended on.

    For eager code it is the quicker of the two, and AOTAutograd fixes sizes where it meets ``torch.func``.
    """
    again = torch.is_grad_enabled()
    wanted = [True] * len(sources) if wanted is None else wanted
    pairs = zip(sources, wanted, strict=True)
    with torch.enable_grad():
        # views, so that what one source is to another in the graph does not count
        own = [
            t if t is None or not want else t.view_as(t) if again and t.requires_grad else t.detach().requires_grad_()
            for t, want in pairs
        ]
        found = [(a, g) for a, g in zip(function(*own), by, strict=True) if g is not None and a.requires_grad]
        if not found:  # where T = 0 a result may depend on nothing
            return [None] * len(own)
        inputs = [t for t, want in zip(own, wanted, strict=True) if want and t is not None]
        outputs, given = [a for a, _ in found], [g for _, g in found]
        gradients = iter(torch.autograd.grad(outputs, inputs, given, create_graph=again, allow_unused=True))
    return [next(gradients) if want and t is not None else None for t, want in zip(own, wanted, strict=True)]
