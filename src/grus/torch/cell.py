"""``GRUCell``: in the place of ``torch.nn.GRUCell``, through Grus' kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from grus.torch import recurrence
from grus.torch.base import (
    Recurrent,
    cast,
    cast_weights,
    cell_shapes,
    check_hx,
    check_sizes,
    check_switches,
    compute_dtype,
)
from grus.torch.recurrence import Weights, fused, short

__all__ = ["GRUCell"]


class GRUCell(Recurrent):
    """One step of a GRU, with the constructor, call, result and state_dict of ``torch.nn.GRUCell``.

    ``GRUCell(...)(x, h) -> h'`` with x [B, I] and h, h' [B, H], or x [I] and h, h' [H]. Without h it is zeros.
    ``reset_after``, dtypes and errors are those of :class:`grus.torch.GRU`, and so are the bits: a sequence, cell by
    cell, is what the layer makes of it at once.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    _title = "grus.torch.GRUCell"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
    ) -> None:
        super().__init__()
        check_switches(bias=bias, reset_after=reset_after)
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.reset_after = reset_after
        self._prepare()
        for name, shape in zip(Weights._fields, self._shapes[0], strict=True):
            wanted = bias or name.startswith("weight")
            self.register_parameter(
                name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) if wanted else None
            )
        self.reset_parameters()

    def _prepare(self) -> None:
        """What a cell has beside its options and parameters."""
        self._shapes = [cell_shapes(self.input_size, self.hidden_size)]

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """See the class: ``input`` is x, ``hx`` is h."""
        if isinstance(input, Tensor) and (hx is None or isinstance(hx, Tensor)):
            weights = [*map(self._parameters.get, Weights._fields)]
            if (after := short.step(input, hx, weights, self)) is not None:
                return after
        if not isinstance(input, Tensor):
            raise TypeError(f"GRUCell: input should be a Tensor, got {type(input).__name__}")
        check_hx("GRUCell", hx)
        if input.dim() not in (1, 2):
            raise ValueError(f"GRUCell: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if hx is not None and hx.dim() not in (1, 2):
            raise ValueError(f"GRUCell: Expected hidden to be 1D or 2D, got {hx.dim()}D instead")
        batched = input.dim() == 2
        if hx is not None and hx.dim() != input.dim():
            kind, dims = "batched" if batched else "unbatched", input.dim()
            raise RuntimeError(f"For {kind} {dims}-D input, hx should also be {dims}-D but got {hx.dim()}-D tensor")
        if not batched:
            input, hx = input.unsqueeze(0), None if hx is None else hx.unsqueeze(0)
        cell = self._weights(Weights._fields)
        self._check_sizes(input, hx)
        self._check(input, hx, [cell], self._shapes)
        h = self._step(input, hx, cell)
        return h if batched else h.squeeze(0)

    def _step(self, x: Tensor, h: Tensor | None, cell: Weights) -> Tensor:
        dtype, given = compute_dtype(cell.weight_hh), x if h is None else h
        x, h, cell = cast(x, dtype), cast(h, dtype), cast_weights(cell, dtype)
        if self.reset_after and x.numel() and recurrence.route(x, h, cell.weight_hh) == "fused":
            return fused.step(x, h, cell)
        first = None if h is None else h.unsqueeze(0)
        _, h_n = recurrence.layer(x.unsqueeze(0), first, [cell], reset_after=self.reset_after)
        return cast(h_n, dtype if dtype == torch.float64 else given.dtype).squeeze(0)  # type: ignore[no-any-return]

    def _check_sizes(self, x: Tensor, h: Tensor | None) -> None:
        if x.size(1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.size(1)} expected {self.input_size}")
        if h is None:
            return
        if h.size(0) != x.size(0):
            raise RuntimeError(f"Input batch size {x.size(0)} doesn't match hidden0 batch size {h.size(0)}")
        if h.size(1) != self.hidden_size:
            raise RuntimeError(f"hidden0 has inconsistent hidden_size: got {h.size(1)}, expected {self.hidden_size}")

    def extra_repr(self) -> str:
        options = [f"{name}=False" for name in ("bias", "reset_after") if not getattr(self, name)]
        return ", ".join([str(self.input_size), str(self.hidden_size), *options])
