"""``GRU``: in the place of ``torch.nn.GRU``, through Grus' kernels."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grus import kernels
from grus.errors import InputError
from grus.torch import ops

__all__ = ["GRU"]


class GRU(nn.Module):
    """Gated recurrent layers with the constructor, call, results and state_dict of ``torch.nn.GRU``.

    ``GRU(...)(x, h0) -> y, h_n`` with x [T, B, I] ([B, T, I] with ``batch_first``, [T, I] unbatched), h0 and h_n
    [num_layers · directions, B, H], y [T, B, directions · H]. Without h0 it is zeros. T = 0 and B = 0 are allowed.

    ``reset_after`` says where the reset gate acts: on the product U_n h, as in PyTorch (True), or on h, as in the
    papers (False).

    float32 on the CPU runs in the kernels, forward and backward; between the two only x, h0, the weights and y are
    kept, so do not write into y in place before the backward pass (PyTorch then raises, as it does for cuDNN), and
    there is no second derivative. float64 runs as plain PyTorch, for checks. Raises what ``torch.nn.GRU`` raises, and
    InputError for another dtype or device, TypeError for a PackedSequence. ``torch.compile`` cannot look into it:
    let it step over, ``layer.forward = torch.compiler.disable(layer.forward)``.
    """

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
    ) -> None:
        super().__init__()
        _check_options(input_size, hidden_size, num_layers, dropout)
        for name, value in {"bias": bias, "batch_first": batch_first, "reset_after": reset_after}.items():
            if not isinstance(value, bool):
                raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.reset_after = reset_after
        self._names: list[list[str]] = []  # of the parameters of each layer and direction, as all_weights returns them
        for layer in range(num_layers):
            columns = input_size if layer == 0 else hidden_size * self._directions
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: self._directions]:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (3 * hidden_size, columns)}
                shapes["weight_hh"] = (3 * hidden_size, hidden_size)
                if bias:
                    shapes |= {"bias_ih": (3 * hidden_size,), "bias_hh": (3 * hidden_size,)}
                for name, shape in shapes.items():
                    self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
                self._names.append([name + suffix for name in shapes])
        self._ready: list[list[kernels.Layer]] = [[] for _ in range(num_layers)]  # packed weights of the last inference
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight and bias from U(−1/√H, 1/√H), in the order of ``torch.nn.GRU``: same seed, same draws."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction: weight_ih, weight_hh, and with ``bias`` bias_ih, bias_hh."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ready": [[] for _ in self._ready]}

    def flatten_parameters(self) -> None:
        """Nothing to do: here for code written for ``torch.nn.GRU``."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See the class: ``input`` is x, ``hx`` is h0."""
        if isinstance(input, PackedSequence):
            raise TypeError(
                "grus.torch.GRU takes no PackedSequence yet: pad the sequences with "
                "torch.nn.utils.rnn.pad_packed_sequence, and read y of each at its own length"
            )
        if input.dim() not in (2, 3):
            raise ValueError(f"GRU: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        if hx is not None and hx.dim() != input.dim():
            kind = "batched" if batched else "unbatched"
            dims = input.dim()
            raise RuntimeError(f"For {kind} {dims}-D input, hx should also be {dims}-D but got {hx.dim()}-D tensor")
        if not batched:
            input = input.unsqueeze(0 if self.batch_first else 1)
            hx = None if hx is None else hx.unsqueeze(1)
        directions = self._weights()
        self._check(input, hx, directions[0].weight_ih)
        y, h_n = self._layers(input.transpose(0, 1) if self.batch_first else input, hx, directions)
        if not batched:
            return y.squeeze(1), h_n.squeeze(1)
        return (y.transpose(0, 1) if self.batch_first else y), h_n

    def _layers(self, x: Tensor, h0: Tensor | None, directions: list[ops.Weights]) -> tuple[Tensor, Tensor]:
        h_n = []
        for index in range(self.num_layers):
            rows = slice(index * self._directions, (index + 1) * self._directions)
            top = index == self.num_layers - 1
            # inner layers stay time major, as in torch.nn.GRU: dropout then draws the same mask for the same seed
            x, after = ops.layer(
                x,
                None if h0 is None else h0[rows],
                directions[rows],
                reset_after=self.reset_after,
                batch_major=self.batch_first and top,
                ready=self._ready[index],
            )
            h_n.append(after)
            if self.dropout and not top:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, h_n[0] if len(h_n) == 1 else torch.cat(h_n)

    def _weights(self) -> list[ops.Weights]:
        return [ops.Weights(*(weights if self.bias else (*weights, None, None))) for weights in self.all_weights]

    def _check(self, x: Tensor, h0: Tensor | None, weight: Tensor) -> None:
        if x.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if x.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"grus.torch.GRU computes in torch.float32 or torch.float64, but its weights are {x.dtype}"
            )
        if x.size(-1) != self.input_size:
            got = x.size(-1)
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {got}")
        if h0 is not None:
            batch = x.size(0) if self.batch_first else x.size(1)
            expected = (self.num_layers * self._directions, batch, self.hidden_size)
            if h0.shape != expected:
                raise RuntimeError(f"Expected hidden size {expected}, got {list(h0.shape)}")
            if h0.dtype != x.dtype:
                raise RuntimeError(f"hx has dtype {h0.dtype}, expected {x.dtype}, that of input")
        for name, tensor in (("input", x), ("hx", h0), ("its weights", weight)):
            if tensor is not None and (tensor.device.type != "cpu" or tensor.layout != torch.strided):
                raise InputError(
                    f"grus.torch.GRU runs on the CPU with dense tensors: {name} on {tensor.device}, {tensor.layout}"
                )

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def extra_repr(self) -> str:
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
        defaults["reset_after"] = True
        options = [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([str(self.input_size), str(self.hidden_size), *options])


def _check_options(input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
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
    for name, value in {"input_size": input_size, "hidden_size": hidden_size}.items():
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
