"""The blocks of a spec that hold no other blocks: frozen dataclasses, each with its sizes, options and facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from grus.errors import InputError
from grus.spec.facts import Facts, Shape, stepwise
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

    def suffixes(self, layer: int) -> tuple[str, ...]:
        """What the names of a layer's arrays end with: forward, and from the last step to the first."""
        return (f"_l{layer}", f"_l{layer}_reverse")[: self.directions]

    @property
    def facts(self) -> Facts:
        inputs = self.input_size + (self.num_layers - 1) * self.output_size
        layers = f", {self.num_layers} layers" if self.num_layers > 1 else ""
        both = ", both directions" if self.bidirectional else ""
        reset = f", reset {'after' if self.reset_after else 'before'} the product"
        return Facts(
            words=f"GRU, {self.input_size} -> {self.output_size}{layers}{both}{reset}",
            products=self.directions * 3 * self.hidden_size * (inputs + self.num_layers * self.hidden_size),
            count=self.num_layers * self.directions * (4 if self.bias else 2),
            arrays=gru_parameters(self),
            states=(self.hidden_size,) * (self.num_layers * self.directions),
            accumulates=False,
            streams=not self.bidirectional,
            ids=0,
            sums=False,
            chains={},
        )


@dataclass(frozen=True)
class Linear:
    """y = x Aᵀ + b with A [output_size, input_size] (``weight``) and b [output_size] (``bias``)."""

    input_size: int
    output_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        check_sizes(self, "input_size", "output_size")
        check_flags(self, "bias")

    @property
    def facts(self) -> Facts:
        shapes = {"weight": (self.output_size, self.input_size)} | ({"bias": (self.output_size,)} if self.bias else {})
        words = f"Linear, {self.input_size} -> {self.output_size}"
        return stepwise(words, shapes, products=self.input_size * self.output_size, ids=0, sums=True)


class _AsWide:
    """As many features out as in."""

    size: int

    @property
    def input_size(self) -> int:
        return self.size

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class Activation(_AsWide):
    """A function of each element: relu, tanh or sigmoid."""

    size: int
    function: Literal["relu", "tanh", "sigmoid"]

    def __post_init__(self) -> None:
        check_sizes(self, "size")
        if self.function not in ("relu", "tanh", "sigmoid"):
            raise InputError(f"Activation.function is {self.function!r}, expected 'relu', 'tanh' or 'sigmoid'")

    @property
    def facts(self) -> Facts:
        return stepwise(f"{self.function}, {self.size} -> {self.size}", {}, products=0, ids=0, sums=False)


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

    @property
    def facts(self) -> Facts:
        words = f"Embedding, {self.size:,} ids -> {self.output_size}"
        return stepwise(words, {"weight": (self.size, self.output_size)}, products=0, ids=self.size, sums=False)


@dataclass(frozen=True)
class Pool(_AsWide):
    """What came so far as one step: y_t pools steps 0 to t, so that the last step's output pools the whole sequence.

    function: the maximum of each feature, its mean, "ends": the first half of the features as they are at step t, the
    second as they were at step 0 (where each direction of a bidirectional GRU has read all, Keras' and ONNX's last
    states), or "attention": a mean with the weights softmax(s) over the steps,
    s = q . tanh(A x + b) with A [attention_size, size] (``weight``), b (``bias``) and q (``query``), each
    [attention_size] (Yang et al. 2016, Hierarchical attention networks for document classification).
    Its state is zeros before the first step, and the number of steps (attention: the sum of the weights) is a part
    of it: [size + 1] numbers, with attention [size + 2]. ``grus.runtime.pool`` has the arithmetic.
    """

    size: int
    function: Literal["max", "mean", "ends", "attention"]
    attention_size: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, "size")
        known = self.function in ("max", "mean", "ends", "attention")
        check(self, "function", known, "'max', 'mean', 'ends' or 'attention'")
        check(self, "size", self.function != "ends" or self.size % 2 == 0, "an even number for 'ends', two halves")
        if self.function == "attention":
            check_sizes(self, "attention_size")
        else:
            check(self, "attention_size", type(self.attention_size) is int and self.attention_size == 0, "0")

    @property
    def state_size(self) -> int:
        return self.size + (2 if self.function == "attention" else 1)

    @property
    def facts(self) -> Facts:
        units = f" with {self.attention_size} units" if self.attention_size else ""
        shapes = {"weight": (self.attention_size, self.size), "bias": (self.attention_size,)}
        shapes["query"] = shapes["bias"]
        arrays = [*shapes.items()] if self.attention_size else []
        ends = "the last step of the first half, the first of the second"
        how = ends if self.function == "ends" else f"{self.function}{units} over the steps so far"
        return Facts(
            words=f"{how}, {self.size} -> {self.size}",
            products=self.attention_size * (self.size + 1),
            count=len(arrays),
            arrays=arrays,
            states=(self.state_size,),
            accumulates=True,
            streams=True,
            ids=0,
            sums=False,
            chains={},
        )


def gru_parameters(block: GRU) -> Iterator[tuple[str, Shape]]:
    """Names and shapes as in ``torch.nn.GRU``: weight_ih_l0 [3H, I], weight_hh_l0 [3H, H], bias_ih_l0 [3H], …"""
    rows = 3 * block.hidden_size
    for layer in range(block.num_layers):
        columns = block.input_size if layer == 0 else block.output_size
        for suffix in block.suffixes(layer):
            yield "weight_ih" + suffix, (rows, columns)
            yield "weight_hh" + suffix, (rows, block.hidden_size)
            if block.bias:
                yield "bias_ih" + suffix, (rows,)
                yield "bias_hh" + suffix, (rows,)
