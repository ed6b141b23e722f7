"""``GRU``: in the place of ``torch.nn.GRU``, through Grus' kernels."""

from __future__ import annotations

from typing import Any, Literal, NoReturn, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.utils.rnn import PackedSequence

from grus.torch import packed, recurrence
from grus.torch.base import (
    Recurrent,
    cast,
    cast_weights,
    cell_shapes,
    check_dropout,
    check_hx,
    check_probabilities,
    check_sizes,
    check_switches,
    compute_dtype,
)
from grus.torch.recurrence import Extras, Gates, Norms, Weights, fused, short
from grus.torch.recurrence.packing import Ready
from grus.torch.rows import WHOLE, Call, Rows, check_lengths, check_resets

__all__ = ["GRU", "OPTIONS"]

# what torch.nn.GRU does not have, with the values that make a GRU like it
OPTIONS: dict[str, Any] = {
    "reset_after": True,
    "learn_h0": False,
    "layer_norm": False,
    "zoneout": 0.0,
    "input_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "weight_drop": 0.0,
    "save_gates": None,
}


_PLAIN = Call()


class GRU(Recurrent):
    """Gated recurrent layers with the constructor, call, results and state_dict of ``torch.nn.GRU``.

    ``GRU(...)(x, h0) -> y, h_n`` with x [T, B, I] ([B, T, I] with ``batch_first``, [T, I] unbatched), h0 and h_n
    [num_layers · directions, B, H], y [T, B, directions · H]. Without h0 it is zeros. T = 0 and B = 0 are allowed.
    x may be a PackedSequence, and y is one then; h0 and h_n are in the order of its unsorted sequences.

    The call takes, by keyword:

    - ``lengths``, integers [B] from 0 to T: row b ends after ``lengths[b]`` steps. y is zero behind, h_n is each row's
      own last state, and the reverse direction begins at the row's own end.
    - ``resets``, bool [T, B] (laid out as x): before step t of row b the state begins anew, from zeros or the learned
      h0. The reverse direction begins anew at the same boundary, on its way from t to t − 1.
    - ``return_gates=True``: a third result, one :class:`Gates` of r, z and n [T, B, H] (laid out as y) for each layer
      and direction, in the order of h_n; differentiable, zero behind a row's end. z is the gate before zoneout.

    Options beyond PyTorch's, keyword-only. What is random is drawn from PyTorch's generator, in training alone:

    - ``reset_after``: the reset gate acts on the product U_n h, as in PyTorch (True), or on h, as in the papers.
    - ``learn_h0``: a parameter ``h0`` [num_layers · directions, H], zero at first, takes the place of an h0 not given.
      Forcada and Carrasco 1995, Learning the initial state of a second-order recurrent neural network during
      regular-language inference.
    - ``layer_norm``: W x and U h are normalised before their biases are added, r and z together over 2H values, n
      over H, and scaled by the gains ``norm_ih_l0`` and ``norm_hh_l0`` … [3H]. Ba, Kiros and Hinton 2016, Layer
      normalization, https://arxiv.org/abs/1607.06450.
    - ``zoneout``, a probability: a unit keeps its state for a step; in evaluation each keeps that part of it. Krueger
      et al. 2017, Zoneout: regularizing RNNs by randomly preserving hidden activations,
      https://arxiv.org/abs/1606.01305.
    - ``input_dropout`` and ``recurrent_dropout``, probabilities: one mask for a whole sequence on the input of every
      layer, and one on the state where U sees it, scaled by 1 / (1 − p). Gal and Ghahramani 2016, A theoretically
      grounded application of dropout in recurrent neural networks, https://arxiv.org/abs/1512.05287.
    - ``weight_drop``, a probability: dropout on U, weight by weight, one mask a call. Merity, Keskar and Socher 2018,
      Regularizing and optimizing LSTM language models, https://arxiv.org/abs/1708.02182.
    - ``save_gates``: keep the gates of all steps for the backward pass (True: quicker), of none (False: least memory),
      or of as many as fit a fixed budget (None).

    float32 on the CPU runs in the kernels, forward and backward; do not write into y in place before the backward pass
    (PyTorch then raises, as it does for cuDNN). bfloat16 and float16 on the CPU are computed in float32 and rounded
    once, at the end. float64 and other devices run as ``torch.nn.GRU`` does (cuDNN on CUDA); with options that it does
    not have, and in second derivatives, as plain PyTorch, a step at a time. In an autocast region, input and h0 may be
    of other dtypes than the weights; y and h_n get the dtype that ``torch.nn.GRU`` gives them. Raises what it raises,
    and InputError for another dtype or weights that do not fit.
    """

    mode = "GRU"  # these two for code that reads them of torch.nn.GRU
    proj_size = 0
    _title = "grus.torch.GRU"
    h0: Tensor  # where it is learned

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
        layer_norm: bool = False,
        zoneout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        save_gates: bool | None = None,
        **unknown: NoReturn,
    ) -> None:
        super().__init__()
        if "proj_size" in unknown:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if unknown:
            raise TypeError(f"GRU.__init__() got an unexpected keyword argument '{next(iter(unknown))}'")
        check_dropout(dropout, num_layers)
        check_switches(bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        check_switches(reset_after=reset_after, learn_h0=learn_h0, layer_norm=layer_norm)
        if save_gates is not None and not isinstance(save_gates, bool):
            raise TypeError(f"save_gates should be of type bool, or None, got: {type(save_gates).__name__}")
        check_probabilities(zoneout=zoneout, input_dropout=input_dropout)
        check_probabilities(recurrent_dropout=recurrent_dropout, weight_drop=weight_drop)
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
        self.layer_norm = layer_norm
        self.zoneout = float(zoneout)
        self.input_dropout = float(input_dropout)
        self.recurrent_dropout = float(recurrent_dropout)
        self.weight_drop = float(weight_drop)
        self.save_gates = save_gates
        self._prepare()
        cells = zip(self._names, self._shapes, strict=True)
        own = [pair for names, shapes in cells for pair in zip(names, shapes, strict=False)]
        for name, shape in [*own, *self._beyond]:  # PyTorch's first, to be drawn as PyTorch draws them
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()
        self.flatten_parameters()

    def _prepare(self) -> None:
        """What a layer has beside its options and parameters."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
        suffixes = [f"_l{layer}" for layer in range(self.num_layers)]
        if self.bidirectional:
            suffixes = [both for suffix in suffixes for both in (suffix, suffix + "_reverse")]
        # of the parameters of each layer and direction, as all_weights returns them
        self._names = [[kind + suffix for kind in kinds] for suffix in suffixes]
        self._gains = [[f"norm_ih{suffix}", f"norm_hh{suffix}"] for suffix in suffixes] if self.layer_norm else []
        inputs = self.input_size, self.hidden_size * self._directions
        first, inner = (cell_shapes(size, self.hidden_size) for size in inputs)
        self._shapes = [first if index < self._directions else inner for index in range(len(self._names))]
        self._beyond: list[tuple[str, tuple[int, ...]]] = [
            (name, (3 * self.hidden_size,)) for names in self._gains for name in names
        ]  # and their shapes
        if self.learn_h0:
            self._beyond.append(("h0", (len(self._names), self.hidden_size)))
        self._ready = [Ready() for _ in range(self.num_layers)]

    def reset_parameters(self) -> None:
        """Draw every weight and bias from U(−1/√H, 1/√H), in the order of ``torch.nn.GRU``: same seed, same draws.

        A learned h0 starts at zero, the gains of layer normalisation at one.
        """
        super().reset_parameters()
        if self.learn_h0:
            nn.init.zeros_(self.h0)  # drawn behind the others, so that their draws are the same
        for name in (name for names in self._gains for name in names):
            nn.init.ones_(getattr(self, name))

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction: weight_ih, weight_hh, and with ``bias`` bias_ih, bias_hh."""
        return [[getattr(self, name) for name in names] for names in self._names]

    # what torch.nn.RNNBase reads; a parametrized weight is None
    _flat_weights_names = property(lambda self: [name for own in self._names for name in own])
    _flat_weights = property(lambda self: [*map(self._parameters.get, self._flat_weights_names)])

    def flatten_parameters(self) -> None:
        """Move the weights into one piece of memory where cuDNN wants that; it is done when they come to a device."""
        nn.RNNBase.flatten_parameters(self)  # type: ignore[arg-type]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.flatten_parameters()
        return self

    @overload
    def forward(
        self,
        input: Tensor,
        hx: Tensor | None = None,
        *,
        lengths: Any = None,
        resets: Tensor | None = None,
        return_gates: Literal[False] = False,
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self,
        input: Tensor,
        hx: Tensor | None = None,
        *,
        lengths: Any = None,
        resets: Tensor | None = None,
        return_gates: Literal[True],
    ) -> tuple[Tensor, Tensor, tuple[Gates, ...]]: ...

    @overload
    def forward(self, input: PackedSequence, hx: Tensor | None = None) -> tuple[PackedSequence, Tensor]: ...

    def forward(
        self,
        input: Any,
        hx: Tensor | None = None,
        *,
        lengths: Any = None,
        resets: Tensor | None = None,
        return_gates: bool = False,
    ) -> Any:
        """See the class: ``input`` is x, ``hx`` is h0."""
        if (
            isinstance(input, Tensor)
            and (hx is None or isinstance(hx, Tensor))
            and lengths is resets is None
            and return_gates is False
            and self._is_plain()
            and (result := short.layer(input, hx, [*map(self._parameters.get, self._names[0])], self._ready[0], self))
        ):
            return result
        check_hx("GRU", hx)
        if isinstance(input, PackedSequence):
            packed.refuse(lengths=lengths, resets=resets, return_gates=return_gates or None)
            return self._packed(input, hx)
        if not isinstance(input, Tensor):
            raise TypeError(f"GRU: input should be a Tensor or a PackedSequence, got {type(input).__name__}")
        if return_gates is not False and return_gates is not True:
            raise TypeError(f"GRU: return_gates should be of type bool, got {type(return_gates).__name__}")
        dims = input.dim()
        if dims not in (2, 3):
            raise ValueError(f"GRU: Expected input to be 2D or 3D, got {dims}D instead")
        batched = dims == 3
        if hx is not None and hx.dim() != dims:
            kind = "batched" if batched else "unbatched"
            raise RuntimeError(f"For {kind} {dims}-D input, hx should also be {dims}-D but got {hx.dim()}-D tensor")
        if not batched:
            input = input.unsqueeze(0 if self.batch_first else 1)
            hx = None if hx is None else hx.unsqueeze(1)
        x = input.transpose(0, 1) if self.batch_first else input
        call = _PLAIN
        if lengths is not None or resets is not None or return_gates:
            skip = None if lengths is None else check_lengths(lengths, x, batched)
            resets = None if resets is None else check_resets(resets, x, batched, self.batch_first)
            rows = WHOLE if skip is None and resets is None else Rows(skip, resets)
            call = Call(rows, gates=[] if return_gates else None)
        y, h_n = self._layers(x, hx, call)
        outer, h_n = self._outer(y, batched), h_n if batched else h_n.squeeze(1)
        if call.gates is None:
            return outer, h_n
        return outer, h_n, tuple(Gates(*(self._outer(cast(g, y.dtype), batched) for g in own)) for own in call.gates)

    def _is_plain(self) -> bool:
        """One layer in one direction, and no option that an inference without h0 would meet."""
        if self.num_layers > 1 or self.bidirectional or self._beyond or self.zoneout:
            return False
        return not self.training or not (self.input_dropout or self.recurrent_dropout or self.weight_drop)

    def _outer(self, y: Tensor, batched: bool) -> Tensor:
        """y [T, B, …] as the caller has x."""
        if not batched:
            return y.squeeze(1)
        return y.transpose(0, 1) if self.batch_first else y

    def _packed(self, input: PackedSequence, hx: Tensor | None) -> tuple[PackedSequence, Tensor]:
        data, batch_sizes, order, back = input
        if data.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {data.dim()}")
        packing = packed.packing(data, batch_sizes)
        if hx is not None and order is not None:
            self._check_h0(hx, packing.batch)
            hx = hx.index_select(1, order)
        y, h_n = self._layers(data, hx, Call(packing=packing))
        return PackedSequence(y, batch_sizes, order, back), h_n if back is None else h_n.index_select(1, back)

    def _layers(self, x: Tensor, h0: Tensor | None, call: Call) -> tuple[Tensor, Tensor]:
        """x [T, B, I] to y [T, B, D·H] and h_n; packed, x is [N, I] and y [N, D·H]."""
        cells = [self._weights(names) for names in self._names]
        given, packing = x if h0 is None else h0, call.packing
        self._check(x, h0, cells, self._shapes)
        if self._beyond:
            self._check_weights([(name, getattr(self, name), shape) for name, shape in self._beyond], cells[0])
        batch = x.size(1) if packing is None else packing.batch
        if h0 is None and self.learn_h0:
            h0 = self.h0.unsqueeze(-2).expand(-1, batch, -1)
        if (got := x.size(-1)) != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {got}")
        if h0 is not None:
            self._check_h0(h0, batch)
        result = dtype if (dtype := compute_dtype(cells[0].weight_hh)) == torch.float64 else given.dtype
        x, h0 = cast(x, dtype), cast(h0, dtype)
        cells = [cast_weights(cell, dtype) for cell in cells]
        if self._is_torch_s(x, call) and recurrence.route(x, h0, cells[0].weight_hh) == "fused":
            dropout = self.dropout if self.training and self.num_layers > 1 else 0.0
            sizes = None if packing is None else packing.batch_sizes
            return fused.stack(x, h0, cells, self.num_layers, dropout, skip=call.rows.skip, batch_sizes=sizes)
        if packing is not None:
            x = packing.pad(x)
            if packing.lengths is not None:
                call = call._replace(rows=Rows(check_lengths(packing.lengths, x, True)))
        x, h_n = self._layer(x, h0, cells, 0, call) if self.num_layers == 1 else self._stack(x, h0, cells, call)
        return cast(x if packing is None else packing.pack(x), result), cast(h_n, result)

    def _is_torch_s(self, x: Tensor, call: Call) -> bool:
        """Whether a call is one that ``torch.nn.GRU`` could be asked for."""
        if not self.reset_after or self.layer_norm or self.zoneout or call.gates is not None or x.numel() == 0:
            return False
        drops = self.input_dropout or self.recurrent_dropout or self.weight_drop
        return call.rows.resets is None and not (self.training and drops)

    def _stack(self, x: Tensor, h0: Tensor | None, cells: list[Weights], call: Call) -> tuple[Tensor, Tensor]:
        h_n, packing = [], call.packing
        for index in range(self.num_layers):
            own = slice(index * self._directions, (index + 1) * self._directions)
            x, after = self._layer(x, None if h0 is None else h0[own], cells[own], index, call)
            h_n.append(after)
            if self.dropout and self.training and index < self.num_layers - 1:
                # drawn for packed data as it lies, as in torch.nn.GRU: the same mask for the same seed
                x = dropped(x, self.dropout) if packing is None else packing.pad(dropped(packing.pack(x), self.dropout))
        return x, torch.cat(h_n)

    def _layer(
        self, x: Tensor, h0: Tensor | None, cells: list[Weights], index: int, call: Call
    ) -> tuple[Tensor, Tensor]:
        if self.training:
            if self.input_dropout:
                x = x * dropped(x.new_ones(x.shape[1:]), self.input_dropout)
            if self.weight_drop:
                cells = [cell._replace(weight_hh=dropped(cell.weight_hh, self.weight_drop)) for cell in cells]
        directions = range(index * self._directions, (index + 1) * self._directions)
        extras = norms = None
        if call.rows is not WHOLE or self.zoneout or (self.training and self.recurrent_dropout):
            extras = [self._extras(x, call.rows, of, of != directions.start) for of in directions]
        if self.layer_norm:
            norms = [Norms(*(cast(getattr(self, name), x.dtype) for name in self._gains[of])) for of in directions]
        return recurrence.layer(
            x,
            h0,
            cells,
            reset_after=self.reset_after,
            # inner layers stay time major, as in torch.nn.GRU: dropout then draws the same mask for the same seed
            batch_major=self.batch_first and index == self.num_layers - 1,
            save_gates=self.save_gates,
            extras=extras,
            norms=norms,
            gates=call.gates,
            ready=self._ready[index],
        )

    def _extras(self, x: Tensor, rows: Rows, index: int, reverse: bool) -> Extras:
        """Of the direction ``index`` of all; the masks are drawn here."""
        (steps, batch, _), hidden = x.shape, self.hidden_size
        start = zone = drop = None
        if self.learn_h0 and rows.resets is not None:
            start = cast(self.h0, x.dtype)[index].expand(batch, hidden)
        if self.zoneout and self.training:
            zone = torch.bernoulli(x.new_full((), self.zoneout).expand(steps, batch, hidden))
        if self.recurrent_dropout and self.training:
            drop = dropped(x.new_ones(batch, hidden), self.recurrent_dropout)
        return Extras(rows.skip, rows.restart(reverse), start, self.zoneout if zone is None else zone, drop)

    def _check_h0(self, h0: Tensor, batch: int) -> None:
        expected = (self.num_layers * self._directions, batch, self.hidden_size)
        if h0.shape != expected:
            raise RuntimeError(f"Expected hidden size {expected}, got {list(h0.shape)}")

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def extra_repr(self) -> str:
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
        defaults |= OPTIONS
        options = [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([str(self.input_size), str(self.hidden_size), *options])
