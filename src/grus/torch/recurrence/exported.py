"""A layer as the GRU operator of ONNX, for ``torch.onnx.export``, by either of its ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.onnx import ops

from grus.errors import InputError
from grus.torch.recurrence.types import Direction

__all__ = ["layer", "refuse"]

_NO_ONNX = "torch.onnx.export: ONNX's GRU operator has no {}: {}"
_DIRECTIONS = {(False,): "forward", (True,): "reverse", (False, True): "bidirectional"}


def refuse(what: str, instead: str) -> None:
    """Raise InputError, which names what ONNX's operator cannot say, and what to do."""
    raise InputError(_NO_ONNX.format(what, instead))


def layer(directions: Sequence[Direction]) -> tuple[Tensor, Tensor]:
    """y [T, B, D·H] and h_n [D, B, H]: one node, whose outputs are Y [T, D, B, H] and Y_h.

    Raises InputError for what the operator has no word for.
    """
    for one in directions:
        _check(one)
    first = directions[0]
    biases = [(one.bias_ih, one.bias_hh) for one in directions]
    lengths = None if first.skip is None else (~first.skip).sum(0, dtype=torch.int32)
    h0 = None if first.h0 is None else torch.stack([one.h0 for one in directions])  # type: ignore[misc]
    inputs = (
        first.x,
        torch.stack([_in_order(one.weight_ih) for one in directions]),
        torch.stack([_in_order(one.weight_hh) for one in directions]),
        None if first.bias_ih is None else torch.stack([torch.cat([*map(_in_order, pair)]) for pair in biases]),
        lengths,
        h0,
    )
    before, direction = int(first.reset_after), _DIRECTIONS[tuple(one.reverse for one in directions)]
    if torch.compiler.is_exporting():
        (steps, batch, _), many, hidden = first.x.shape, len(directions), first.weight_hh.shape[1]
        attributes: Any = {"hidden_size": hidden, "linear_before_reset": before, "direction": direction}
        shapes = (steps, many, batch, hidden), (many, batch, hidden)
        kind = first.x.dtype
        Y, h_n = ops.symbolic_multi_out("GRU", inputs, attributes, dtypes=(kind, kind), shapes=shapes)
    else:
        Y, h_n = _Node.apply(*inputs, before, direction)  # type: ignore[no-untyped-call]
    if lengths is not None and h0 is not None:  # ONNX Runtime gives zeros for a row without steps
        h_n = torch.where(torch.eq(lengths, 0)[:, None], h0, h_n)
    return (Y.squeeze(1) if len(directions) == 1 else Y.transpose(1, 2).flatten(2)), h_n


def _check(one: Direction) -> None:
    if one.gain is not None:
        refuse("layer normalisation (layer_norm=True)", "write the recurrence out, or run the model with Grus")
    if one.zone_mask is not None or one.zone:
        refuse(f"zoneout (zoneout={one.zone or 'drawn, in training'})", "train without it, or run the model with Grus")
    if one.drop is not None:
        refuse("dropout on the state (recurrent_dropout, in training)", "model.eval() before the export")
    if one.restart is not None:
        refuse("resets (resets=...)", "give each sequence a row of its own")
    if one.gates:
        refuse("gates among its outputs (return_gates=True)", "export without them")


def _in_order(weight: Tensor | None) -> Tensor:
    """r, z, n along the first dimension to z, r, n."""
    assert weight is not None
    r, z, n = weight.chunk(3)
    return torch.cat([z, r, n])


class _Node(torch.autograd.Function):
    """What TorchScript's exporter meets. As with ``symbolic_multi_out``, only the shapes are those of the layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, U: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
        (steps, batch, _), (many, _, hidden) = x.shape, U.shape
        return x.new_zeros(steps, many, batch, hidden), x.new_zeros(many, batch, hidden)

    @staticmethod
    def symbolic(g: Any, *inputs: Any) -> Any:
        *tensors, before, direction = inputs
        size = tensors[2].type().sizes()[-1]  # in a trace shapes are tensors
        attributes = {"hidden_size_i": size, "linear_before_reset_i": before, "direction_s": direction}
        return g.op("GRU", *(_nothing(g) if each is None else each for each in tensors), outputs=2, **attributes)


def _nothing(g: Any) -> Any:
    none = g.op("prim::Constant")
    none.setType(torch._C.OptionalType.ofTensor())
    return none
