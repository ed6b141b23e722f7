"""``GRU``: in the place of ``torch.nn.GRU``, through Grus' kernels."""

from __future__ import annotations

import numbers
import warnings
from typing import Any, NoReturn, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grus.torch import ops, packed
from grus.torch.base import (
    Ready,
    Recurrent,
    cast,
    cast_weights,
    cell_shapes,
    check_hx,
    check_sizes,
    check_switches,
    compute_dtype,
)

__all__ = ["GRU"]


class GRU(Recurrent):
    """Gated recurrent layers with the constructor, call, results and state_dict of ``torch.nn.GRU``.

    ``GRU(...)(x, h0) -> y, h_n`` with x [T, B, I] ([B, T, I] with ``batch_first``, [T, I] unbatched), h0 and h_n
    [num_layers · directions, B, H], y [T, B, directions · H]. Without h0 it is zeros. T = 0 and B = 0 are allowed.
    x may be a PackedSequence, and y is one then; h0 and h_n are in the order of its unsorted sequences.

    ``reset_after`` says where the reset gate acts: on the product U_n h, as in PyTorch (True), or on h, as in the
    papers (False). ``learn_h0`` adds a parameter ``h0`` [num_layers · directions, H], zero at first, that takes the
    place of an h0 not given (Forcada and Carrasco 1995, Learning the initial state of a second-order recurrent neural
    network during regular-language inference); the state_dict then has that one key more than PyTorch's.

    float32 on the CPU runs in the kernels, forward and backward; do not write into y in place before the backward pass
    (PyTorch then raises, as it does for cuDNN). bfloat16 and float16 on the CPU are computed in float32 and rounded
    once, at the end. float64, other devices and second derivatives run as plain PyTorch, a step at a time. In an
    autocast region, input and h0 may be of other dtypes than the weights; y and h_n get the dtype of h0, without one
    that of input, as in PyTorch on a CPU. Raises what ``torch.nn.GRU`` raises, and InputError for another dtype or
    weights that do not fit. ``torch.compile`` cannot look into it: let it step over,
    ``layer.forward = torch.compiler.disable(layer.forward)``.
    """

    mode = "GRU"  # these two for code that reads them of torch.nn.GRU
    proj_size = 0
    _title = "grus.torch.GRU"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
        learn_h0: bool = False,
        **unknown: NoReturn,
    ) -> None:
        super().__init__()
        if "proj_size" in unknown:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if unknown:
            raise TypeError(f"GRU.__init__() got an unexpected keyword argument '{next(iter(unknown))}'")
        _check_dropout(dropout, num_layers)
        check_switches(bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        check_switches(reset_after=reset_after, learn_h0=learn_h0)
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.reset_after = reset_after
        self.learn_h0 = learn_h0
        self._prepare()
        for index, names in enumerate(self._names):
            columns = input_size if index < self._directions else hidden_size * self._directions
            shapes = [
                (3 * hidden_size, columns),
                (3 * hidden_size, hidden_size),
                (3 * hidden_size,),
                (3 * hidden_size,),
            ]
            for name, shape in zip(names, shapes, strict=False):
                self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        if learn_h0:
            states = torch.empty((len(self._names), hidden_size), device=device, dtype=dtype)
            self.h0 = nn.Parameter(states)
        self.reset_parameters()

    def _prepare(self) -> None:
        """What a layer has beside its options and parameters."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
        suffixes = [f"_l{layer}" for layer in range(self.num_layers)]
        if self.bidirectional:
            suffixes = [both for suffix in suffixes for both in (suffix, suffix + "_reverse")]
        # of the parameters of each layer and direction, as all_weights returns them
        self._names = [[kind + suffix for kind in kinds] for suffix in suffixes]
        first, inner = (cell_shapes(size, self.hidden_size) for size in (self.input_size, self._output_size))
        self._shapes = [first if index < self._directions else inner for index in range(len(self._names))]
        self._ready = [Ready() for _ in range(self.num_layers)]

    def reset_parameters(self) -> None:
        """Draw every weight and bias from U(−1/√H, 1/√H), in the order of ``torch.nn.GRU``: same seed, same draws.

        A learned h0 starts at zero.
        """
        super().reset_parameters()
        if self.learn_h0:
            nn.init.zeros_(self.h0)  # drawn last, so that the draws before it are the same

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction: weight_ih, weight_hh, and with ``bias`` bias_ih, bias_hh."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def flatten_parameters(self) -> None:
        """Nothing to do: here for code written for ``torch.nn.GRU``."""

    @overload
    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(self, input: PackedSequence, hx: Tensor | None = None) -> tuple[PackedSequence, Tensor]: ...

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """See the class: ``input`` is x, ``hx`` is h0."""
        check_hx("GRU", hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if not isinstance(input, Tensor):
            raise TypeError(f"GRU: input should be a Tensor or a PackedSequence, got {type(input).__name__}")
        if input.dim() not in (2, 3):
            raise ValueError(f"GRU: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        if hx is not None and hx.dim() != input.dim():
            kind, dims = "batched" if batched else "unbatched", input.dim()
            raise RuntimeError(f"For {kind} {dims}-D input, hx should also be {dims}-D but got {hx.dim()}-D tensor")
        if not batched:
            input = input.unsqueeze(0 if self.batch_first else 1)
            hx = None if hx is None else hx.unsqueeze(1)
        x = input.transpose(0, 1) if self.batch_first else input
        y, h_n = self._layers(x, hx, x.size(1), None)
        if not batched:
            return y.squeeze(1), h_n.squeeze(1)
        return (y.transpose(0, 1) if self.batch_first else y), h_n

    def _packed(self, input: PackedSequence, hx: Tensor | None) -> tuple[PackedSequence, Tensor]:
        data, batch_sizes, order, back = input
        if data.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {data.dim()}")
        rows = packed.packing(data, batch_sizes)
        if hx is not None and order is not None:
            self._check_h0(hx, rows.batch)
            hx = hx.index_select(1, order)
        y, h_n = self._layers(data, hx, rows.batch, rows)
        return PackedSequence(y, batch_sizes, order, back), h_n if back is None else h_n.index_select(1, back)

    def _layers(self, x: Tensor, h0: Tensor | None, batch: int, rows: packed.Packing | None) -> tuple[Tensor, Tensor]:
        """x [T, B, I], or [N, I] packed as ``rows`` says, to y like it and h_n."""
        cells = [self._weights(names) for names in self._names]
        given = x if h0 is None else h0
        if h0 is None and self.learn_h0:
            h0 = self.h0.unsqueeze(-2).expand(-1, batch, -1)
        self._check(x, h0, cells, self._shapes)
        if x.size(-1) != self.input_size:
            got = x.size(-1)
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {got}")
        if h0 is not None:
            self._check_h0(h0, batch)
        dtype = compute_dtype(cells[0].weight_ih)
        result = dtype if dtype == torch.float64 else given.dtype
        x, h0 = cast(x, dtype), cast(h0, dtype)
        cells = [cast_weights(cell, dtype) for cell in cells]
        if self.num_layers == 1:
            x, h_n = self._layer(x, h0, cells, 0, rows)
        else:
            x, h_n = self._stack(x, h0, cells, rows)
        return cast(x, result), cast(h_n, result)

    def _stack(
        self, x: Tensor, h0: Tensor | None, cells: list[ops.Weights], rows: packed.Packing | None
    ) -> tuple[Tensor, Tensor]:
        h_n = []
        for index in range(self.num_layers):
            own = slice(index * self._directions, (index + 1) * self._directions)
            x, after = self._layer(x, None if h0 is None else h0[own], cells[own], index, rows)
            h_n.append(after)
            if self.dropout and index < self.num_layers - 1:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, torch.cat(h_n)

    def _layer(
        self, x: Tensor, h0: Tensor | None, cells: list[ops.Weights], index: int, rows: packed.Packing | None
    ) -> tuple[Tensor, Tensor]:
        ready = self._ready[index]
        if rows is not None:
            return packed.layer(x, h0, cells, rows, reset_after=self.reset_after, ready=ready)
        # inner layers stay time major, as in torch.nn.GRU: dropout then draws the same mask for the same seed
        batch_major = self.batch_first and index == self.num_layers - 1
        return ops.layer(x, h0, cells, reset_after=self.reset_after, batch_major=batch_major, ready=ready)

    def _check_h0(self, h0: Tensor, batch: int) -> None:
        expected = (self.num_layers * self._directions, batch, self.hidden_size)
        if h0.shape != expected:
            raise RuntimeError(f"Expected hidden size {expected}, got {list(h0.shape)}")

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        return self.hidden_size * self._directions

    def extra_repr(self) -> str:
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
        defaults |= {"reset_after": True, "learn_h0": False}
        options = [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([str(self.input_size), str(self.hidden_size), *options])


def _check_dropout(dropout: float, num_layers: int) -> None:
    """The checks of ``torch.nn.GRU``, with its messages."""
    if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=3,
        )
