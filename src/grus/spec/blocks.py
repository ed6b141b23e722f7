"""The blocks of a spec that hold no other blocks: frozen dataclasses, each with its sizes and options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from grus.errors import InputError
from grus.spec.fields import check, check_flags, check_sizes

__all__ = ["GRU", "Activation", "Embedding", "Linear", "Pool", "gru_parameters"]

MAX_LAYERS = 256  # a hostile file cannot make the list of a block's parameters endless


@dataclass(frozen=True)
class GRU:
    """Gated recurrent layers, one above the other: [T, B, input_size] to [T, B, hidden_size · directions]."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    bidirectional: bool = False
    reset_after: bool = True

    def __post_init__(self) -> None:
        check_sizes(self, "input_size", "hidden_size", "num_layers")
        if self.num_layers > MAX_LAYERS:
            raise InputError(f"GRU.num_layers is {self.num_layers}, expected at most {MAX_LAYERS}")
        check_flags(self, "bias", "bidirectional", "reset_after")

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        return self.hidden_size * self.directions


@dataclass(frozen=True)
class Linear:
    """y = x Aᵀ + b with A [output_size, input_size] (``weight``) and b [output_size] (``bias``)."""

    input_size: int
    output_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        check_sizes(self, "input_size", "output_size")
        check_flags(self, "bias")


@dataclass(frozen=True)
class Activation:
    """A function of each element: relu, tanh or sigmoid."""

    size: int
    function: Literal["relu", "tanh", "sigmoid"]

    def __post_init__(self) -> None:
        check_sizes(self, "size")
        if self.function not in ("relu", "tanh", "sigmoid"):
            raise InputError(f"Activation.function is {self.function!r}, expected 'relu', 'tanh' or 'sigmoid'")

    @property
    def input_size(self) -> int:
        return self.size

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class Embedding:
    """y = row x of A [size, output_size] (``weight``): x is an id, an integer from 0 to size - 1 held as float32."""

    size: int
    output_size: int

    def __post_init__(self) -> None:
        check_sizes(self, "size", "output_size")  # every id below MAX_SIZE is exact in float32

    @property
    def input_size(self) -> int:
        return 1


@dataclass(frozen=True)
class Pool:
    """What came so far as one step: y_t pools steps 0 to t, so that the last step's output pools the whole sequence.

    function: the maximum of each feature, its mean, or "attention": a mean with the weights softmax(s) over the steps,
    s = q . tanh(A x + b) with A [attention_size, size] (``weight``), b (``bias``) and q (``query``), each
    [attention_size] (Yang et al. 2016, Hierarchical attention networks for document classification).
    Its state is zeros before the first step, and the number of steps (attention: the sum of the weights) is a part
    of it: [size + 1] numbers, with attention [size + 2]. ``grus.runtime.pool`` has the arithmetic.
    """

    size: int
    function: Literal["max", "mean", "attention"]
    attention_size: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, "size")
        check(self, "function", self.function in ("max", "mean", "attention"), "'max', 'mean' or 'attention'")
        if self.function == "attention":
            check_sizes(self, "attention_size")
        else:
            check(self, "attention_size", type(self.attention_size) is int and self.attention_size == 0, "0")

    @property
    def input_size(self) -> int:
        return self.size

    @property
    def output_size(self) -> int:
        return self.size

    @property
    def state_size(self) -> int:
        return self.size + (2 if self.function == "attention" else 1)


def gru_parameters(block: GRU) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes as in ``torch.nn.GRU``: weight_ih_l0 [3H, I], weight_hh_l0 [3H, H], bias_ih_l0 [3H], …"""
    rows = 3 * block.hidden_size
    for layer in range(block.num_layers):
        columns = block.input_size if layer == 0 else block.output_size
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: block.directions]:
            yield "weight_ih" + suffix, (rows, columns)
            yield "weight_hh" + suffix, (rows, block.hidden_size)
            if block.bias:
                yield "bias_ih" + suffix, (rows,)
                yield "bias_hh" + suffix, (rows,)
