"""Other recurrent layers in the place of a Network's GRU blocks, for comparisons: ``Network(blocks, recurrent=lstm…)``.

Each is built from a GRU block and its dropout between layers. Rows that end early are padded, and each is turned around
at its own end for the reverse direction: PyTorch's gradient through packed sequences takes a time that grows with the
square of T on a CPU (2.13, 330 steps: 3 to 30 times as long), and is there for comparison alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from grus.errors import InputError
from grus.spec import GRU, parameters
from grus.torch.network.modules import final_step

__all__ = ["lstm_of_equal_parameters", "spread_lstm_", "torch_gru", "torch_gru_packed"]


class _Peer(nn.Module):
    """``layer`` for a GRU block: what it lacks in features the output gets as zeros."""

    def __init__(self, layer: nn.GRU | nn.LSTM, block: GRU, packed: bool = False) -> None:
        super().__init__()
        self.layer, self.output_size, self._packed = layer, block.output_size, packed

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        if lengths is not None and self._packed:  # a packed row has a step at least
            packed, _ = self.layer(pack_padded_sequence(x, lengths.cpu().clamp(min=1), enforce_sorted=False))
            y, _ = pad_packed_sequence(packed, total_length=len(x))
        elif lengths is not None and self.layer.bidirectional:
            y = self._both_ways(x, lengths.to(x.device))
        else:  # what stands behind a row's end changes nothing before it
            y, _ = self.layer(x)
        return self._padded(final_step(y, lengths) if last else y)

    def _both_ways(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The layer's output, every row read backward from its own end; behind it may be anything."""
        layer, steps = self.layer, torch.arange(len(x), device=x.device)[:, None]
        turned = torch.where(steps < lengths, lengths - 1 - steps, steps)[..., None]

        def turn(y: Tensor) -> Tensor:
            return y.gather(0, turned.expand(-1, -1, y.shape[2]))

        for index in range(layer.num_layers):
            if index:
                x = F.dropout(x, layer.dropout, self.training)
            forward, backward = layer.all_weights[2 * index : 2 * index + 2]
            x = torch.cat([self._one_way(x, forward), turn(self._one_way(turn(x), backward))], dim=2)
        return x

    def _one_way(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        zero = x.new_zeros(1, x.shape[1], self.layer.hidden_size)
        bias, options = self.layer.bias, (1, 0.0, self.training, False, False)  # one layer in one direction, time first
        if isinstance(self.layer, nn.LSTM):
            return torch.lstm(x, (zero, zero), tuple(weights), bias, *options)[0]
        return torch.gru(x, zero, tuple(weights), bias, *options)[0]

    def stream(self, x: Tensor, state: Iterator[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """The state of a GRU is h of each layer; of an LSTM h of each layer, and then c of each."""
        layers = self.layer.num_layers
        given = (
            None if state is None else [torch.stack([next(state) for _ in range(layers)]) for _ in range(self._parts)]
        )
        y, after = self.layer(x, given if given is None or self._parts > 1 else given[0])
        parts = after if self._parts > 1 else (after,)
        return self._padded(y), [each for part in parts for each in part.unbind()]

    @property
    def _parts(self) -> int:
        return 2 if isinstance(self.layer, nn.LSTM) else 1

    def _padded(self, y: Tensor) -> Tensor:
        return F.pad(y, (0, self.output_size - y.shape[-1]))


def torch_gru(block: GRU, dropout: float) -> _Peer:
    """``torch.nn.GRU``. Raises InputError for a block with the reset before the product, which it does not have."""
    if not block.reset_after:
        raise InputError("torch.nn.GRU has the reset after the product alone, the block has it before")
    return _Peer(nn.GRU(block.input_size, block.hidden_size, **_options(block, dropout)), block)


def torch_gru_packed(block: GRU, dropout: float) -> nn.Module:
    """As :func:`torch_gru`, with unequal lengths through ``pack_padded_sequence``, as PyTorch's documentation does."""
    peer = torch_gru(block, dropout)
    return _Peer(peer.layer, block, packed=True)


def lstm_of_equal_parameters(block: GRU, dropout: float) -> nn.Module:
    """``torch.nn.LSTM`` with as many units as bring it nearest to the parameters of ``block``; about √3/2 of its units.

    The features it has less are zeros in its output, so that the blocks behind it stay as they are.
    """
    wanted = _count((block,))
    units = min(range(1, block.hidden_size + 1), key=lambda units: abs(_lstm_parameters(block, units) - wanted))
    return _Peer(nn.LSTM(block.input_size, units, **_options(block, dropout)), block)


@torch.no_grad()
def spread_lstm_(layer: nn.LSTM) -> nn.LSTM:
    """Let an LSTM begin as ``init.orthogonal_`` and ``init.uniform_gate_`` let a GRU, in place; returns it.

    Each gate's recurrent matrix is orthogonal (Saxe et al. 2014, https://arxiv.org/abs/1312.6120). The forget gate of a
    state and an input of zero is uniform over the units: b_f = log(u / (1 − u)), u ~ U(1/H, 1 − 1/H) (Gu et al. 2020,
    https://arxiv.org/abs/1910.09890). The input gate lets in as much as it forgets, b_i = −b_f (Tallec and Ollivier
    2018, https://arxiv.org/abs/1804.11188), as 1 − z does in a GRU. With H = 1 both gates are 1/2.
    Raises InputError for an LSTM without biases, or one with projections, whose recurrent matrices are not square.
    """
    if not layer.bias or layer.proj_size:
        raise InputError(f"{layer} has {'projections' if layer.bias else 'no biases'}, expected one with biases alone")
    hidden, least = layer.hidden_size, 1 / max(2, layer.hidden_size)
    for _, weight_hh, bias_ih, bias_hh in layer.all_weights:
        for gate in weight_hh.chunk(4):  # gates: input, forget, candidate, output
            nn.init.orthogonal_(gate)
        forget = torch.empty(hidden).uniform_(least, 1 - least).logit_()
        bias_ih[: 2 * hidden] = torch.cat([-forget, forget])
        bias_hh[: 2 * hidden] = 0
    return layer


def _options(block: GRU, dropout: float) -> dict[str, object]:
    between = dropout if block.num_layers > 1 else 0.0
    return {
        "num_layers": block.num_layers,
        "bias": block.bias,
        "bidirectional": block.bidirectional,
        "dropout": between,
        "dtype": torch.float32,
    }


def _count(blocks: tuple[GRU, ...]) -> int:
    return sum(int(torch.Size(shape).numel()) for shape in parameters(blocks).values())


def _lstm_parameters(block: GRU, units: int) -> int:
    """An LSTM has four products where a GRU of as many units has three."""
    like = GRU(block.input_size, units, block.num_layers, block.bias, block.bidirectional)
    return _count((like,)) * 4 // 3
