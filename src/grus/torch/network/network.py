"""A spec as a PyTorch network: the same blocks, the same array names, ready to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from grus.errors import InputError
from grus.model import Model
from grus.spec import Block, Embedding, Linear, Spec
from grus.spec.chains import streams
from grus.spec.limits import refuse
from grus.torch.network.modules import Builder, Chain, Regularisation

__all__ = ["Network", "Regularisation", "from_model", "to_model"]


class Network(Chain):
    """The chain of ``blocks`` as a module; its state_dict has the keys and shapes of ``spec.parameters(blocks)``.

    ``regularisation`` acts while training and is no part of the model: a spec does not know it. ``dropout=p`` is short
    for ``regularisation=Regularisation(dropout=p)``. Weights start as PyTorch starts each layer, drawn from its global
    generator, and those of an Embedding as N(0, 0.1²); they are float32, as a Model's are, whatever PyTorch's default.

    ``recurrent(block, dropout)`` builds another module in the place of every GRU block, for comparisons; it has ``run``
    and ``stream`` as ``modules`` says, and its own dropout between its layers, while that on its output is the
    Network's. Such a network cannot become a Model. ``grus.torch.network.peers`` has some.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        regularisation: Regularisation | None = None,
        dropout: float = 0.0,
        recurrent: Builder | None = None,
    ) -> None:
        if regularisation is not None and dropout:
            raise InputError("dropout and regularisation are both given, expected one of them")
        super().__init__(blocks, regularisation or Regularisation(dropout=dropout), recurrent)
        self.streams = streams(blocks)

    def forward(self, x: Tensor, last: bool = False, *, lengths: Tensor | None = None) -> Tensor:
        """y [T, B, O] for x [T, B, I]; with ``last``, y [B, O] of each row's own last step.

        ``last`` saves work: behind the last block that looks back no other step is computed. ``lengths``, integers [B]
        on the CPU: row b has the first lengths[b] steps of x, the reverse direction begins at its own end, and y behind
        it may be anything. Raises InputError when x has another shape, or an id that is not in an Embedding's table;
        for lengths that are not from 0 to T; and for a row without a step although ``last`` asks for one.
        """
        inputs = self.blocks[0].input_size
        if x.ndim != 3 or x.shape[2] != inputs or (last and x.shape[0] == 0):
            raise InputError(f"x has shape {tuple(x.shape)}, expected ({'T > 0' if last else 'T'}, B, {inputs})")
        y = self.run(x, last, None if lengths is None else _checked(lengths, x, last))
        return y[-1] if last else y

    def stream(self, x: Tensor, state: Any = None) -> tuple[Tensor, list[Tensor]]:
        """y [T, B, O] for x [T, B, I] that goes on from ``state``, and the state after it.

        A state is a list of tensors in the order and shapes of ``grus.State.arrays``; None for the beginning. It has
        its history: detach it where gradients shall not go back beyond x. Raises InputError when x has another shape,
        and for a bidirectional network.
        """
        inputs = self.blocks[0].input_size
        if x.ndim != 3 or x.shape[2] != inputs:
            raise InputError(f"x has shape {tuple(x.shape)}, expected (T, B, {inputs})")
        if not self.streams:
            refuse("train stream", Spec(self.blocks))
        return super().stream(x, state)

    def tie(self, embedding: int, linear: int) -> None:
        """Let the Linear block with the index ``linear`` share the weight of the Embedding with that index.

        Both keep their names in the state_dict. The weight starts as the Linear's did: as logits that are small. Press
        and Wolf 2017, Using the output embedding to improve language models, arXiv:1608.05859.
        Raises InputError unless the two are an Embedding and a Linear with a weight of the same shape.
        """
        modules, shapes = cast(Any, self), []
        for index, kind in ((embedding, Embedding), (linear, Linear)):
            block = self.blocks[index] if 0 <= index < len(self.blocks) else None
            if not isinstance(block, kind):
                raise InputError(f"block {index} is {block}, expected a {kind.__name__}")
            shapes.append(tuple(modules[index].weight.shape))
        if shapes[0] != shapes[1]:
            raise InputError(f"the Embedding's weight is {shapes[0]}, the Linear's {shapes[1]}: expected equal shapes")
        modules[embedding].weight = modules[linear].weight


def _checked(lengths: Tensor, x: Tensor, last: bool) -> Tensor | None:
    """None where every row has all steps."""
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.shape != x.shape[1:2]:
        got = f"{lengths.dtype}{tuple(lengths.shape)}" if isinstance(lengths, Tensor) else type(lengths).__name__
        raise InputError(f"lengths is {got}, expected a tensor of integers [{x.shape[1]}]")
    if not len(lengths):
        return None
    shortest, longest = (int(end) for end in lengths.aminmax())
    if shortest < int(last) or longest > len(x):
        raise InputError(f"lengths are from {shortest} to {longest}, expected from {int(last)} to {len(x)}")
    return None if shortest == len(x) else lengths


def to_model(network: Network, spec: Spec) -> Model:
    """The network's weights, copied, with their spec. Raises InputError when the two do not fit."""
    arrays = {name: t.detach().cpu().numpy().astype(np.float32) for name, t in network.state_dict().items()}
    return Model(spec, arrays)


def from_model(model: Model) -> Network:
    """A network with a copy of the model's weights, to train on or to run in PyTorch.

    Raises InputError for a quantised model.
    """
    refuse("network", model.spec)
    network = Network(model.spec.blocks)
    network.load_state_dict({name: torch.tensor(array) for name, array in model.arrays.items()})
    return network
