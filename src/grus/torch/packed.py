"""A layer over a PackedSequence: rows of many lengths, sorted by length, time step by time step without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from grus.errors import InputError
from grus.torch import ops
from grus.torch.base import Ready

__all__ = ["Packing", "layer", "packing"]


class Packing(NamedTuple):
    """Where each of the N rows of packed data lies in T·B rows of padded data, step t of sequence b at t·B + b."""

    steps: int
    batch: int
    places: tuple[Tensor, Tensor] | None  # [N] each: in the order of time, and each sequence reversed; None: as it is
    last: Tensor | None  # [B]: of each sequence's last step in that order


def packing(data: Tensor, batch_sizes: Tensor) -> Packing:
    """The packing of ``data`` [N, I], of which ``batch_sizes[t]`` rows belong to step t.

    Raises InputError where the sizes are not those of a PackedSequence of ``data``.
    """
    steps, batch, total = len(batch_sizes), int(batch_sizes[:1].sum()), int(batch_sizes.sum())
    if steps == 0 or int(batch_sizes[-1]) < 1 or bool((batch_sizes.diff() > 0).any()):
        raise InputError(f"batch_sizes of a PackedSequence fall from step to step to 1 or more, got {batch_sizes}")
    if total != data.shape[0]:
        raise InputError(f"a PackedSequence has {data.shape[0]} rows of data, expected {total}, its batch_sizes' sum")
    if total == steps * batch:
        return Packing(steps, batch, None, None)
    rows = torch.arange(batch)
    lengths = (batch_sizes[:, None] > rows).sum(0)
    time = torch.repeat_interleave(torch.arange(steps), batch_sizes)
    row = torch.arange(total) - torch.repeat_interleave(batch_sizes.cumsum(0) - batch_sizes, batch_sizes)
    places = (time * batch + row, (lengths[row] - 1 - time) * batch + row)
    device = data.device
    return Packing(
        steps, batch, (places[0].to(device), places[1].to(device)), ((lengths - 1) * batch + rows).to(device)
    )


def layer(
    data: Tensor,
    h0: Tensor | None,
    directions: Sequence[ops.Weights],
    packing: Packing,
    *,
    reset_after: bool,
    ready: Ready,
) -> tuple[Tensor, Tensor]:
    """``data`` [N, I] and h0 [D, B, H] to y [N, D·H] and h_n [D, B, H], taken where each sequence ends.

    Each direction runs forward in time over its own padded copy, the second one's with every sequence reversed within
    its length, so that the padding comes after all that counts.
    """
    shape = (packing.steps, packing.batch, -1)
    if packing.places is None or packing.last is None:
        y, h_n = ops.layer(data.reshape(shape), h0, directions, reset_after=reset_after, ready=ready)
        return y.reshape(len(data), -1), h_n
    sequences, ends = [], []
    for d, weights in enumerate(directions):
        places = packing.places[d]
        padded = data.new_zeros(packing.steps * packing.batch, data.shape[1]).index_copy(0, places, data)
        own = Ready(ready[d : d + 1])
        y, _ = ops.layer(
            padded.view(shape), None if h0 is None else h0[d : d + 1], [weights], reset_after=reset_after, ready=own
        )
        ready[d : d + 1] = own
        y = y.reshape(-1, y.shape[-1])
        sequences.append(y.index_select(0, places))
        ends.append(y.index_select(0, packing.last))
    return torch.cat(sequences, -1), torch.stack(ends)
