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

__all__ = ["backward", "forward"]

_TENSORS = 12  # x, h0, W, U, b_i, b_h, gain, start, skip, restart, zone, drop
_BATCH = (1, 0, *[None] * 5, 0, 1, 1, 1, 0)  # the dimension of the batch of each


def forward(run: Callable[..., Any], V: int, dims: Sequence[int | None], args: Sequence[Any]) -> Any:
    if any(dim is not None for dim in dims[2:7]):
        return _one_by_one(run, V, dims, args)
    folded = _fold(V, dims[:_TENSORS], args[:_TENSORS], _BATCH)
    batch_major, gates, keep = args[-3:]
    own = keep if gates else keep // V  # within the memory that one call may take
    found = run(*folded, *args[_TENSORS:-1], own)
    return _unfold(V, found, (0 if batch_major else 1, 0, 1))


def backward(run: Callable[..., Any], V: int, dims: Sequence[int | None], args: Sequence[Any]) -> Any:
    *settings, by_x, by_weights, groups = args[_TENSORS + 4 :]
    if any(dim is not None for dim in dims[4:9]):
        return _one_by_one(run, V, dims, args)
    along = 0 if settings[3] else 1  # of y: batch_major or not
    at = (along, 0, *_BATCH, along, 1)
    folded = _fold(V, dims[: len(at)], args[: len(at)], at)
    found = run(*folded, *settings, by_x, by_weights, V * max(1, groups))  # the weights have a gradient for each group
    by_h0, by_start = (None if tensor is None else 0 for tensor in (args[3], args[9]))
    (dx, dh0, dstart), own = _unfold(V, (*found[:2], found[7]), (1 if by_x else None, by_h0, by_start))
    of_weights = [0 if gradient.numel() else None for gradient in found[2:7]]
    weights = _unfold(V, found[2:7], of_weights)[0] if groups else found[2:7]
    return (dx, dh0, *weights, dstart), (*own[:2], *of_weights, own[2])


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
