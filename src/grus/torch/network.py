"""A spec as a PyTorch network: the same blocks, the same array names, ready to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from grus.errors import InputError
from grus.model import Model
from grus.spec import GRU, Activation, Block, Bypass, Linear, Mean, Residual, Spec
from grus.torch.layer import GRU as Layer

__all__ = ["Network", "from_model", "to_model"]


class Network(nn.ModuleList):
    """The chain of ``blocks`` as a module; its state_dict has the keys and shapes of ``spec.parameters(blocks)``.

    ``dropout`` acts on the output of every GRU layer while training. It is no part of the model: a spec does not know
    it. Weights start as PyTorch starts each layer, drawn from its global generator; they are float32, as a Model's
    are, whatever PyTorch's default is.
    """

    def __init__(self, blocks: Sequence[Block], *, dropout: float = 0.0) -> None:
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is {dropout!r}, expected a number from 0 to below 1")
        super().__init__(_module(block, dropout) for block in blocks)
        self.blocks = tuple(blocks)
        recurrent = [index for index, block in enumerate(blocks) if _is_recurrent(block)]
        self.last_recurrent = recurrent[-1] if recurrent else -1

    def forward(self, x: Tensor, last: bool = False) -> Tensor:
        """y [T, B, O] for x [T, B, I]; with ``last``, y [B, O] of the last step alone.

        ``last`` saves work: behind the last recurrent block no other step is computed.
        Raises InputError when x has another shape, or no step although ``last`` asks for one.
        """
        if x.ndim != 3 or x.shape[2] != self.blocks[0].input_size or (last and x.shape[0] == 0):
            steps = "T > 0" if last else "T"
            raise InputError(f"x has shape {tuple(x.shape)}, expected ({steps}, B, {self.blocks[0].input_size})")
        y = self.run(x, last)
        return y[-1] if last else y

    def run(self, x: Tensor, last: bool) -> Tensor:
        """As forward, but with ``last`` the one step keeps its axis: [1, B, O]."""
        for index, module in enumerate(self):
            if last and index > self.last_recurrent:
                x = x[-1:]
            x = cast(Any, module).run(x, last and index >= self.last_recurrent)
        return x


class _GRU(Layer):
    def __init__(self, block: GRU, dropout: float) -> None:
        super().__init__(
            block.input_size,
            block.hidden_size,
            block.num_layers,
            bias=block.bias,
            dropout=dropout if block.num_layers > 1 else 0.0,
            bidirectional=block.bidirectional,
            reset_after=block.reset_after,
            dtype=torch.float32,
        )
        self.output_dropout = dropout

    def run(self, x: Tensor, last: bool) -> Tensor:
        y, _ = self(x)
        y = y[-1:] if last else y
        return nn.functional.dropout(y, self.output_dropout, self.training) if self.output_dropout else y


class _Linear(nn.Linear):
    def run(self, x: Tensor, last: bool) -> Tensor:
        return self(x)  # type: ignore[no-any-return]


class _Activation(nn.Module):
    def __init__(self, block: Activation) -> None:
        super().__init__()
        self.function = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[block.function]

    def run(self, x: Tensor, last: bool) -> Tensor:
        return self.function(x)


class _Bypass(Network):
    def __init__(self, block: Bypass, dropout: float) -> None:
        super().__init__(block.blocks, dropout=dropout)
        self.size = block.size

    def run(self, x: Tensor, last: bool) -> Tensor:
        through, around = x[..., : -self.size], x[..., -self.size :]
        return torch.cat([super().run(through, last), around[-1:] if last else around], dim=-1)


class _Residual(Network):
    def __init__(self, block: Residual, dropout: float) -> None:
        super().__init__(block.blocks, dropout=dropout)

    def run(self, x: Tensor, last: bool) -> Tensor:
        return (x[-1:] if last else x) + super().run(x, last)


class _Mean(nn.ModuleList):
    def __init__(self, block: Mean, dropout: float) -> None:
        super().__init__(Network(member, dropout=dropout) for member in block.members)

    def run(self, x: Tensor, last: bool) -> Tensor:
        return torch.stack([cast(Network, member).run(x, last) for member in self]).mean(dim=0)


def _module(block: Block, dropout: float) -> nn.Module:
    match block:
        case GRU():
            return _GRU(block, dropout)
        case Linear():
            return _Linear(block.input_size, block.output_size, bias=block.bias, dtype=torch.float32)
        case Activation():
            return _Activation(block)
        case Bypass():
            return _Bypass(block, dropout)
        case Residual():
            return _Residual(block, dropout)
        case Mean():
            return _Mean(block, dropout)


def _is_recurrent(block: Block) -> bool:
    match block:
        case GRU():
            return True
        case Bypass() | Residual():
            return any(map(_is_recurrent, block.blocks))
        case Mean():
            return any(_is_recurrent(inner) for member in block.members for inner in member)
        case _:
            return False


def to_model(network: Network, spec: Spec) -> Model:
    """The network's weights, copied, with their spec. Raises InputError when the two do not fit."""
    arrays = {name: t.detach().cpu().numpy().astype(np.float32) for name, t in network.state_dict().items()}
    return Model(spec, arrays)


def from_model(model: Model) -> Network:
    """A network with a copy of the model's weights, to train on or to run in PyTorch.

    Raises InputError for a quantised model.
    """
    if model.spec.precision != "float32":
        raise InputError(f"the model is quantised ({model.spec.precision}): take the float32 model it was made of")
    network = Network(model.spec.blocks)
    network.load_state_dict({name: torch.tensor(array) for name, array in model.arrays.items()})
    return network
