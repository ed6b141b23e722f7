"""Initial weights of a GRU, drawn in place as those of ``torch.nn.init``; each names its paper.

Each takes a GRU or GRUCell, of ``grus.torch`` or of ``torch.nn``, touches what it names and leaves the rest, and
returns the module. Raises TypeError for another module, and InputError where a weight it would write is computed from
others (parametrized) or missing.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from grus.errors import InputError
from grus.torch.cell import GRUCell
from grus.torch.gru import GRU

__all__ = ["chrono_", "orthogonal_", "uniform_", "uniform_gate_"]

Module = TypeVar("Module", bound=nn.Module)


@torch.no_grad()
def uniform_(module: Module, generator: torch.Generator | None = None) -> Module:
    """Draw every weight and bias from U(−1/√H, 1/√H): what ``reset_parameters`` does, and PyTorch by default."""
    bound = 1 / math.sqrt(_hidden_size(module))
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if module.bias else 2]
    for parameter in [parameter for kind in kinds for parameter in _parameters(module, kind)]:
        parameter.uniform_(-bound, bound, generator=generator)
    return module


@torch.no_grad()
def orthogonal_(module: Module, gain: float = 1.0, generator: torch.Generator | None = None) -> Module:
    """Make U_r, U_z and U_n each an orthogonal matrix, times ``gain``: weight_hh.

    Saxe, McClelland and Ganguli 2014, Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks, https://arxiv.org/abs/1312.6120.
    """
    hidden = _hidden_size(module)
    for parameter in _parameters(module, "weight_hh"):
        for gate in range(3):
            parameter[gate * hidden : (gate + 1) * hidden] = gain * _orthogonal(hidden, generator)
    return module


@torch.no_grad()
def chrono_(module: Module, max_steps: int, generator: torch.Generator | None = None) -> Module:
    """Spread the time scales of the units over 1 to ``max_steps``, the longest dependency expected, in steps.

    The biases of the update gate become b_iz = log u, u ~ U(1, max_steps − 1), and b_hz = 0: the gate keeps, so that a
    unit forgets at the rate 1 − σ(log u) = 1 / (1 + u) a step. Tallec and Ollivier 2018, Can recurrent neural networks
    warp time?, https://arxiv.org/abs/1804.11188, where it is the forget gate of an LSTM that keeps.
    Raises InputError when max_steps is below 2.
    """
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 2:
        raise InputError(f"max_steps is {max_steps!r}, expected a whole number from 2 on")
    for bias_ih, bias_hh in _update_biases(module):
        bias_ih.uniform_(1, max_steps - 1, generator=generator).log_()
        bias_hh.zero_()
    return module


@torch.no_grad()
def uniform_gate_(module: Module, generator: torch.Generator | None = None) -> Module:
    """Make the update gate of a state and an input of zero uniform over the units, on (1/H, 1 − 1/H).

    b_iz = log(u / (1 − u)), u ~ U(1/H, 1 − 1/H), and b_hz = 0. The uniform gate initialisation of Gu, Gulcehre, Paine,
    Hoffman and Pascanu 2020, Improving the gating mechanism of recurrent neural networks,
    https://arxiv.org/abs/1910.09890. With H = 1 the gate is 1/2.
    """
    least = 1 / max(2, _hidden_size(module))
    for bias_ih, bias_hh in _update_biases(module):
        bias_ih.uniform_(least, 1 - least, generator=generator).logit_()
        bias_hh.zero_()
    return module


def _hidden_size(module: nn.Module) -> int:
    if not isinstance(module, GRU | GRUCell | nn.GRU | nn.GRUCell):
        raise TypeError(f"module should be a GRU or a GRUCell, got {type(module).__name__}")
    return module.hidden_size


def _orthogonal(size: int, generator: torch.Generator | None) -> Tensor:
    """A matrix drawn evenly from all orthogonal ones: Q of a normal matrix, signed so that R's diagonal is positive."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return torch.mul(q, r.diagonal().sign())


def _parameters(module: nn.Module, kind: str) -> list[Tensor]:
    """The parameters whose names begin with ``kind``, one of each layer and direction."""
    suffixes = [""]
    if isinstance(module, GRU | nn.GRU):
        reverse = ("", "_reverse") if module.bidirectional else ("",)
        suffixes = [f"_l{layer}{direction}" for layer in range(module.num_layers) for direction in reverse]
    missing = [kind + suffix for suffix in suffixes if module._parameters.get(kind + suffix) is None]
    if missing:
        raise InputError(f"{missing[0]} of {_named(module)} is no parameter, expected one to write into")
    return [cast(Tensor, module._parameters[kind + suffix]) for suffix in suffixes]


def _named(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


def _update_biases(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """b_iz and b_hz [H] of each layer and direction, as views."""
    hidden = _hidden_size(module)
    own = slice(hidden, 2 * hidden)
    if not module.bias:
        raise InputError(f"{_named(module)} has no biases, expected bias=True")
    pairs = zip(_parameters(module, "bias_ih"), _parameters(module, "bias_hh"), strict=True)
    return [(bias_ih[own], bias_hh[own]) for bias_ih, bias_hh in pairs]
