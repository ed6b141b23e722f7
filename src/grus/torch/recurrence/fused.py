"""PyTorch's own recurrence: cuDNN and its like on other devices, in float64 on the CPU a loop in C++.

It takes calls that ask for nothing but what ``torch.nn.GRU`` has, all layers and both directions at once, with the very
weights, so that results, speed and the draws of dropout are those of ``torch.nn.GRU``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grus.torch.recurrence import plain, pullback
from grus.torch.recurrence.types import Extras, Weights, directions

__all__ = ["stack", "step", "takes"]


def takes(x: Tensor, extras: Sequence[Extras] | None) -> bool:
    """Whether it has all that a direction may do beyond the recurrence here: rows that end early."""
    return bool(x.numel()) and all(
        one.restart is one.drop is None and not isinstance(one.zone, Tensor) and not one.zone for one in extras or ()
    )


def stack(
    x: Tensor,
    h0: Tensor | None,
    cells: Sequence[Weights],
    layers: int = 1,
    dropout: float = 0.0,
    *,
    skip: Tensor | None = None,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """x [T, B, I] and h0 [L · D, B, H] (None: zeros) to y [T, B, D · H] and h_n, through ``layers`` layers.

    ``cells`` are the weights of each layer and direction. ``dropout`` on the output of every layer but the last is
    drawn here. ``skip`` is that of :class:`Extras`. With ``batch_sizes`` x is packed, [N, I], and so is y.
    """
    if skip is None:
        return _run(x, h0, cells, layers, dropout, batch_sizes)
    lengths = (~skip).sum(0)
    # a row of no steps is packed as one of one step, of zeros
    rows = pack_padded_sequence(plain.without(x, skip), lengths.clamp(min=1).cpu(), enforce_sorted=False)
    first = _zeros(x, cells, x.shape[1]) if h0 is None else h0
    data, h_n = _run(rows.data, first.index_select(1, rows.sorted_indices), cells, layers, dropout, rows.batch_sizes)  # type: ignore[arg-type]
    y, _ = pad_packed_sequence(rows._replace(data=data), total_length=len(x))
    none = (lengths == 0)[:, None]
    h_n = h_n.index_select(1, rows.unsorted_indices)  # type: ignore[arg-type]
    return y.masked_fill(none, 0.0), torch.where(none, first, h_n)


def step(x: Tensor, h: Tensor | None, cell: Weights) -> Tensor:
    """One step: x [B, I] and h [B, H] (None: zeros) to the next state [B, H]."""
    h = _zeros(x, [cell], len(x))[0] if h is None else h
    return torch._VF.gru_cell(x, h, *cell)  # type: ignore[arg-type]


def _zeros(x: Tensor, cells: Sequence[Weights], batch: int) -> Tensor:
    return x.new_zeros(len(cells), batch, cells[0].weight_hh.shape[1])


def _run(
    x: Tensor, h0: Tensor | None, cells: Sequence[Weights], layers: int, dropout: float, batch_sizes: Tensor | None
) -> tuple[Tensor, Tensor]:
    if h0 is None:
        h0 = _zeros(x, cells, x.shape[1] if batch_sizes is None else int(batch_sizes[0]))
    flat = [weight for cell in cells for weight in cell if weight is not None]
    backward = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, h0, *flat))
    settings = cells[0].bias_ih is not None, layers, dropout, backward or dropout > 0, len(cells) > layers
    if batch_sizes is None:
        y, h_n = torch._VF.gru(x, h0, flat, *settings, False)
    else:
        y, h_n = torch._VF.gru(x, batch_sizes, h0, flat, *settings)
    if backward and _differentiable_once(x):
        again = _Plainly(layers, len(cells), dropout, batch_sizes, y.dtype)
        return _Again.apply(again, y, h_n, x, h0, *flat)  # type: ignore[no-untyped-call, no-any-return]
    return y, h_n


def _differentiable_once(x: Tensor) -> bool:
    """Whether the library's backward pass has no derivative."""
    return x.is_cuda and torch.backends.cudnn.enabled


class _Plainly:
    """The same by plain PyTorch, a step at a time, as a function of tensors."""

    def __init__(self, layers: int, cells: int, dropout: float, batch_sizes: Tensor | None, dtype: torch.dtype) -> None:
        self.layers, self.cells, self.dropout = layers, cells, dropout
        self.batch_sizes, self.dtype = batch_sizes, dtype

    def __call__(self, x: Tensor, h0: Tensor, *flat: Tensor) -> tuple[Tensor, Tensor]:
        if self.dropout:
            raise RuntimeError(
                "GRU: the gradients of a call with dropout between layers on this device are not differentiable: "
                "call it inside torch.backends.cudnn.flags(enabled=False), or with dropout=0"
            )
        each, extras = len(flat) // self.cells, None
        cells = [Weights(*flat[i : i + each], *[None] * (4 - each)) for i in range(0, len(flat), each)]
        x, h0 = x.to(flat[0].dtype), h0.to(flat[0].dtype)
        if self.batch_sizes is not None:
            x, lengths = pad_packed_sequence(PackedSequence(x, self.batch_sizes))
            skip = torch.arange(len(x), device=x.device)[:, None] >= lengths.to(x.device)
            extras = [Extras(skip)] * (self.cells // self.layers)
        last = []
        for own, first in zip(_chunks(cells, self.layers), h0.chunk(self.layers), strict=True):
            x, h_n = plain.layer(directions(x, first, own, extras))
            last.append(h_n)
        if self.batch_sizes is not None:
            x = pack_padded_sequence(x, lengths).data
        return x.to(self.dtype), torch.cat(last).to(self.dtype)


def _chunks(cells: list[Weights], layers: int) -> list[list[Weights]]:
    size = len(cells) // layers
    return [cells[i : i + size] for i in range(0, len(cells), size)]


class _Again(torch.autograd.Function):
    """y and h_n as they are. Where their gradients are differentiated in turn or batched, plain PyTorch's go back."""

    @staticmethod
    def forward(ctx: Any, again: _Plainly, y: Tensor, h_n: Tensor, *sources: Tensor) -> tuple[Tensor, Tensor]:
        found = y.data, h_n.data  # no views, which could not be detached in place
        ctx.again = again
        ctx.save_for_backward(found[0], *sources)  # the first to see that nobody has written into it
        ctx.set_materialize_grads(False)
        return found

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None) -> Any:
        _, *sources = ctx.saved_tensors
        if not pullback.needed(dy, dh_n):
            return None, dy, dh_n, *[None] * len(sources)
        return None, None, None, *pullback.by_autograd(ctx.again, sources, (dy, dh_n), ctx.needs_input_grad[3:])
