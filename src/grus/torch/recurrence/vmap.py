"""What ``torch.vmap`` makes of a layer's two operators: one call, the vmapped dimension joined to the batch.

Each rule takes the function to call, V the size of the vmapped dimension, where each argument has it (None: nowhere)
and the arguments, and returns results and where these have it. The functions' own arguments are those of
``grus::layer`` and ``grus::layer_backward``. Only different weights call for a call each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from grus.torch.recurrence.types import BATCH, DIFFERENTIABLE, TENSORS, WEIGHTS, Backward, Direction

__all__ = ["backward", "forward"]


def forward(run: Callable[..., Any], V: int, dims: Sequence[int | None], args: Sequence[Any]) -> Any:
    if any(dim is not None for dim in dims[WEIGHTS]):
        return _one_by_one(run, V, dims, args)
    one = Direction(*args)
    folded = _fold(V, dims[TENSORS], one.tensors, [BATCH.get(name) for name in Direction._fields[TENSORS]])
    keep = one.keep if one.gates else one.keep // V  # within the memory that one call may take
    found = run(*folded, *one.settings[:-1], keep)
    return _unfold(V, found, (0 if one.batch_major else 1, 0, 1))


def backward(run: Callable[..., Any], V: int, dims: Sequence[int | None], args: Sequence[Any]) -> Any:
    if any(dim is not None for dim in dims[2:][WEIGHTS]):  # behind dy and dh_n
        return _one_by_one(run, V, dims, args)
    call = Backward.of(args)
    folded = _fold(V, dims[: len(call.tensors)], call.tensors, call.batches)
    found = run(*folded, *call._replace(groups=V * max(1, call.groups)).settings)
    # a weight has a gradient for each group, V in front of all
    names = Direction._fields[DIFFERENTIABLE]
    dims = [BATCH.get(name, 0) if want else None for name, want in zip(names, call.wanted, strict=True)]
    at = [dim if name in BATCH or call.groups else None for name, dim in zip(names, dims, strict=True)]
    return _unfold(V, found, at)[0], tuple(dims)


def _fold(V: int, dims: Sequence[int | None], tensors: Sequence[Any], at: Sequence[int | None]) -> list[Tensor | None]:
    """Each of the ``tensors`` with the vmapped dimension before that of its batch, and the two as one."""
    folded = []
    for tensor, dim, batch in zip(tensors, dims, at, strict=True):
        if tensor is not None and batch is not None:
            size = (*tensor.shape[:batch], V, *tensor.shape[batch:])
            tensor = tensor.unsqueeze(batch).expand(size) if dim is None else tensor.movedim(dim, batch)
            tensor = tensor.flatten(batch, batch + 1)
        folded.append(tensor)
    return folded


def _unfold(V: int, results: Sequence[Tensor], at: Sequence[int | None]) -> tuple[tuple[Tensor, ...], Any]:
    apart = []
    for tensor, dim in zip(results, at, strict=True):
        if dim is not None:
            shape = (*tensor.shape[:dim], V, tensor.shape[dim] // V, *tensor.shape[dim + 1 :])
            tensor = tensor.reshape(shape)
        apart.append(tensor)
    return tuple(apart), tuple(at)


def _one_by_one(run: Callable[..., Any], V: int, dims: Sequence[int | None], args: Sequence[Any]) -> Any:
    """A call for each: those of different weights have nothing to share."""
    calls = []
    for index in range(V):
        own = [a if dim is None else a.select(dim, index) for a, dim in zip(args, dims, strict=True)]
        calls.append(run(*own))
    results = tuple(torch.stack(found) for found in zip(*calls, strict=True))
    return results, (0,) * len(results)
