"""The blocks of a spec as PyTorch modules; ``grus.torch.network`` puts them together.

Each has ``run(x, last, lengths)``, x [T, B, I] to y [T, B, O], or with ``last`` to [1, B, O], the output of each row's
own last step; ``lengths`` [B] is on the CPU, None where every row has all steps, and what stands behind a row's end
may be anything, in and out. ``stream(x, state)`` goes on from a state: it takes the block's tensors from the iterator
(None: the beginning) and returns y and the tensors after it, in the order and shapes of ``grus.State.arrays``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grus.errors import InputError
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual
from grus.spec.chains import last_to_look_back
from grus.torch.gru import GRU as Layer
from grus.torch.network.pool import Pool as PoolModule

__all__ = ["Builder", "Chain", "Regularisation", "final_step"]

Builder = Callable[[GRU, float], nn.Module]


@dataclass(frozen=True)
class Regularisation:
    """What acts in training alone, each a probability; no part of a model.

    dropout: on the output of every GRU layer; with ``locked`` one mask for a whole sequence (Gal and Ghahramani 2016,
    arXiv:1512.05287). word_dropout: on whole rows of an embedding, the same words for a whole batch (likewise).
    input_dropout, recurrent_dropout, weight_drop: as in :class:`grus.torch.GRU`.
    """

    dropout: float = 0.0
    locked: bool = False
    word_dropout: float = 0.0
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_drop: float = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "locked"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise InputError(f"{name} is {value!r}, expected a number from 0 to below 1")
        if type(self.locked) is not bool:
            raise InputError(f"locked is {self.locked!r}, expected True or False")


def final_step(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each row's own last step of x [T, B, F], as [1, B, F]."""
    if lengths is None:
        return x[-1:]
    lengths = lengths.to(x.device)
    return x[lengths - 1, torch.arange(x.shape[1], device=x.device)][None]


def _dropped(y: Tensor, probability: float, locked: bool, training: bool) -> Tensor:
    if not probability or not training:
        return y
    return y * F.dropout(y.new_ones(1, *y.shape[1:]), probability) if locked else F.dropout(y, probability)


class Chain(nn.ModuleList):
    """Blocks one after the other."""

    def __init__(self, blocks: Sequence[Block], options: Regularisation, recurrent: Builder | None) -> None:
        super().__init__(_module(block, options, recurrent) for block in blocks)
        self.blocks = tuple(blocks)
        self.last_recurrent = last_to_look_back(blocks)

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        if last and self.last_recurrent < 0:
            x, lengths = final_step(x, lengths), None
        for index, module in enumerate(self):
            x = cast(Any, module).run(x, last and index >= self.last_recurrent, lengths)
            if last and index == self.last_recurrent:
                lengths = None  # one step is left
        return x

    def stream(self, x: Tensor, state: Iterable[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        iterator, after = None if state is None else iter(state), []
        for module in self:
            x, own = cast(Any, module).stream(x, iterator)
            after += own
        return x, after


class _Stepwise(nn.Module):
    """A block without a state: ``forward`` is all it does."""

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        return self(final_step(x, lengths) if last else x)  # type: ignore[no-any-return]

    def stream(self, x: Tensor, state: Iterator[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        return self(x), []


class _GRU(Layer):
    def __init__(self, block: GRU, options: Regularisation) -> None:
        super().__init__(
            block.input_size,
            block.hidden_size,
            block.num_layers,
            bias=block.bias,
            dropout=options.dropout if block.num_layers > 1 and not options.locked else 0.0,
            bidirectional=block.bidirectional,
            reset_after=block.reset_after,
            dtype=torch.float32,
            input_dropout=options.input_dropout,
            recurrent_dropout=options.recurrent_dropout,
            weight_drop=options.weight_drop,
        )
        self.output_dropout, self.locked = options.dropout, options.locked

    def _layer(self, x: Tensor, h0: Tensor | None, cells: Any, index: int, call: Any) -> tuple[Tensor, Tensor]:
        y, h_n = super()._layer(x, h0, cells, index, call)
        between = self.locked and index < self.num_layers - 1
        return _dropped(y, self.output_dropout, True, self.training) if between else y, h_n

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        y, _ = self(x, lengths=lengths)
        y = final_step(y, lengths) if last else y
        return _dropped(y, self.output_dropout, self.locked, self.training)

    def stream(self, x: Tensor, state: Iterator[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        y, h_n = self(x, None if state is None else torch.stack([next(state) for _ in range(self.num_layers)]))
        return _dropped(y, self.output_dropout, self.locked, self.training), list(h_n.unbind())


class _InPlaceOfGRU(nn.Module):
    """A module that ``recurrent`` built, with the dropout around it that a GRU block has."""

    def __init__(self, inner: nn.Module, options: Regularisation) -> None:
        super().__init__()
        if options.recurrent_dropout or options.weight_drop:
            raise InputError("recurrent_dropout and weight_drop act inside a GRU, but recurrent builds another module")
        self.inner, self.options = cast(Any, inner), options

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        return self._output(self.inner.run(self._input(x), last, lengths))

    def stream(self, x: Tensor, state: Iterator[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        y, after = self.inner.stream(self._input(x), state)
        return self._output(y), after

    def _input(self, x: Tensor) -> Tensor:
        return _dropped(x, self.options.input_dropout, True, self.training)

    def _output(self, y: Tensor) -> Tensor:
        return _dropped(y, self.options.dropout, self.options.locked, self.training)


class _Embedding(_Stepwise):
    def __init__(self, block: Embedding, word_dropout: float) -> None:
        super().__init__()
        self.size, self.word_dropout = block.size, word_dropout
        self.weight = nn.Parameter(torch.empty(block.size, block.output_size, dtype=torch.float32))
        # small beside what is learned: else rare words would stay the noise they began as
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        given = x[..., 0]
        ids = given.long()
        if ids.numel():
            least, most = (int(end) for end in ids.aminmax())
            if least < 0 or most >= self.size or not (given.dtype == ids.dtype or torch.equal(ids.to(x.dtype), given)):
                raise InputError(f"x has an id that is no integer from 0 to {self.size - 1}, the rows of the Embedding")
        y = F.embedding(ids, self.weight)
        if self.word_dropout and self.training:
            kept = F.dropout(self.weight.new_ones(self.size), self.word_dropout)
            y = y * kept[ids][..., None]
        return y


class _Linear(nn.Linear, _Stepwise):
    def __init__(self, block: Linear) -> None:
        nn.Linear.__init__(self, block.input_size, block.output_size, bias=block.bias, dtype=torch.float32)


class _Activation(_Stepwise):
    def __init__(self, block: Activation) -> None:
        super().__init__()
        self.function = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[block.function]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class _Bypass(Chain):
    def __init__(self, block: Bypass, options: Regularisation, recurrent: Builder | None) -> None:
        super().__init__(block.blocks, options, recurrent)
        self.size = block.size

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        through, around = x[..., : -self.size], x[..., -self.size :]
        around = final_step(around, lengths) if last else around
        return torch.cat([super().run(through, last, lengths), around], dim=-1)

    def stream(self, x: Tensor, state: Iterable[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        y, after = super().stream(x[..., : -self.size], state)
        return torch.cat([y, x[..., -self.size :]], dim=-1), after


class _Residual(Chain):
    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        return (final_step(x, lengths) if last else x) + super().run(x, last, lengths)

    def stream(self, x: Tensor, state: Iterable[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        y, after = super().stream(x, state)
        return x + y, after


class _Mean(nn.ModuleList):
    def __init__(self, block: Mean, options: Regularisation, recurrent: Builder | None) -> None:
        super().__init__(Chain(member, options, recurrent) for member in block.members)

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        return torch.stack([cast(Chain, member).run(x, last, lengths) for member in self]).mean(dim=0)

    def stream(self, x: Tensor, state: Iterator[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        results = [cast(Chain, member).stream(x, state) for member in self]
        return torch.stack([y for y, _ in results]).mean(dim=0), [each for _, after in results for each in after]


def _module(block: Block, options: Regularisation, recurrent: Builder | None) -> nn.Module:
    match block:
        case GRU():
            if recurrent is None:
                return _GRU(block, options)
            return _InPlaceOfGRU(recurrent(block, options.dropout), options)
        case Linear():
            return _Linear(block)
        case Activation():
            return _Activation(block)
        case Embedding():
            return _Embedding(block, options.word_dropout)
        case Pool():
            return PoolModule(block.size, block.function, block.attention_size)
        case Bypass():
            return _Bypass(block, options, recurrent)
        case Residual():
            return _Residual(block.blocks, options, recurrent)
        case Mean():
            return _Mean(block, options, recurrent)
