"""What ``GRU`` and ``GRUCell`` share: their draws, the dtype they compute in, what they refuse."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grus.errors import InputError
from grus.torch.recurrence import Weights

__all__ = ["Recurrent"]


Shapes = tuple[tuple[int, ...], ...]  # of the weights of a cell, as Weights has them
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Recurrent(nn.Module):
    """A module of one or more GRU cells, each with its weights under PyTorch's names."""

    hidden_size: int
    input_size: int
    _title: str  # in messages, also where a subclass has a name of its own

    def reset_parameters(self) -> None:
        """Draw every weight and bias from U(−1/√H, 1/√H), in the order of PyTorch: same seed, same draws."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def _weights(self, names: Sequence[str]) -> Weights:
        """Those of a cell; a parametrized one is computed, and no parameter."""
        found = self._parameters
        weights: list[Any] = [getattr(self, name) if (one := found.get(name)) is None else one for name in names]
        return Weights(*weights, *(() if len(weights) == 4 else (None, None)))

    def _check(self, x: Tensor, h0: Tensor | None, cells: Sequence[Weights], shapes: Sequence[Shapes]) -> None:
        """Refuse dtypes, devices, and weights of other ``shapes``, every time: the kernels rely on it.

        x and h0 may differ from the weights in an autocast region alone, as in PyTorch.
        """
        dtype = cells[0].weight_hh.dtype
        if x.dtype != dtype and not _autocast(x):
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({dtype}), or convert model: model.to({x.dtype})"
            )
        if dtype not in _DTYPES:
            raise InputError(f"{self._title}: its weights are {dtype}, expected one of {', '.join(map(str, _DTYPES))}")
        if h0 is not None and h0.dtype != x.dtype and not _autocast(h0):
            raise RuntimeError(f"hx has dtype {h0.dtype}, expected {x.dtype}, that of input")
        weight = cells[0].weight_hh
        self._check_place("input", x, weight)
        if h0 is not None:
            self._check_place("hx", h0, weight)
        for cell, expected in zip(cells, shapes, strict=True):
            for name, tensor, shape in zip(cell._fields, cell, expected, strict=True):
                if tensor is not None and not _fits(tensor, shape, weight):
                    raise self._misfit(name, tensor, shape, weight)

    def _check_weights(self, weights: Sequence[tuple[str, Tensor, tuple[int, ...]]], cell: Weights) -> None:
        """The same for other weights, with their names and shapes."""
        for name, tensor, shape in weights:
            if not _fits(tensor, shape, cell.weight_hh):
                raise self._misfit(name, tensor, shape, cell.weight_hh)

    def _misfit(self, name: str, tensor: Tensor, shape: tuple[int, ...], weight: Tensor) -> InputError:
        return InputError(
            f"{self._title}: {name} is {list(tensor.shape)}, {tensor.dtype} on {tensor.device}, expected "
            f"{list(shape)}, {weight.dtype} on {weight.device}"
        )

    def _check_place(self, name: str, tensor: Tensor, weight: Tensor) -> None:
        if tensor.layout != torch.strided:
            raise InputError(f"{self._title}: {name} is {tensor.layout}, expected a dense tensor")
        if not _together(tensor, weight):
            raise InputError(f"{self._title}: {name} is on {tensor.device}, expected {weight.device}, as its weights")


def _fits(tensor: Tensor, shape: tuple[int, ...], weight: Tensor) -> bool:
    return tensor.shape == shape and tensor.dtype is weight.dtype and _together(tensor, weight)


def _together(tensor: Tensor, other: Tensor) -> bool:
    return (tensor.is_cpu and other.is_cpu) or tensor.device == other.device  # is_cpu alone takes a tenth of the time


def cell_shapes(input_size: int, hidden_size: int) -> Shapes:
    """Of weight_ih, weight_hh, bias_ih and bias_hh."""
    rows = 3 * hidden_size
    return (rows, input_size), (rows, hidden_size), (rows,), (rows,)


def _autocast(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and torch._C._is_any_autocast_enabled()


def check_hx(kind: str, hx: Any) -> None:
    """Refuse anything else as hx; a pair is what an LSTM takes."""
    if hx is not None and not isinstance(hx, Tensor):
        raise TypeError(f"{kind}: hx should be a Tensor or None, got {type(hx).__name__}")


def compute_dtype(weight: Tensor) -> torch.dtype:
    """On the CPU float32 in the place of half precision, whose results are rounded once, at the end."""
    return torch.float32 if weight.is_cpu and weight.dtype != torch.float64 else weight.dtype


def cast(tensor: Tensor | None, dtype: torch.dtype) -> Any:
    return tensor if tensor is None or tensor.dtype == dtype else tensor.to(dtype)


def cast_weights(weights: Weights, dtype: torch.dtype) -> Weights:
    return weights if weights.weight_hh.dtype == dtype else Weights(*(cast(weight, dtype) for weight in weights))


def check_sizes(**sizes: int) -> None:
    """The checks of ``torch.nn.GRU``, with its messages."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")


def check_switches(**switches: bool) -> None:
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")


def check_dropout(dropout: float, num_layers: int) -> None:
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


def check_probabilities(**probabilities: float) -> None:
    for name, value in probabilities.items():
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(f"{name} should be a number, got: {type(value).__name__}")
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}, expected a probability from 0 to 1")
