"""W x of a layer with layer normalisation: one product and one pass over it, through the kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from grus.runtime import kernels
from grus.runtime.normalise import normalise, normalise_back
from grus.torch.recurrence import plain, pullback

__all__ = ["project"]


def project(x: Tensor, W: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """x [T, B, I], float32 on the CPU, to gain times W x normalised, plus bias [T, B, 3H]."""
    tensors = [tensor for tensor in (x, W, gain, bias) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _Projection.apply(x, W, gain, bias)  # type: ignore[no-untyped-call, no-any-return]
    return _forward(x, W, gain, bias)[0]


def _array(tensor: Tensor) -> Any:
    return tensor.detach().resolve_neg().contiguous().numpy()


def _forward(x: Tensor, W: Tensor, gain: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The result, and W x [T · B, 3H]."""
    with kernels.limited():
        product = kernels.Dense(_array(W))(_array(x).reshape(-1, x.shape[-1]))
        result = normalise(product, _array(gain), None if bias is None else _array(bias))
    return torch.from_numpy(result).view(*x.shape[:-1], len(gain)), torch.from_numpy(product)


def _plain(x: Tensor, W: Tensor, gain: Tensor, bias: Tensor | None) -> tuple[Tensor]:
    return (plain.normalised(linear(x, W), gain, bias),)


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
        result, product = _forward(x, W, gain, bias)
        ctx.save_for_backward(x, W, gain, bias, product)
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, W, gain, bias, product = ctx.saved_tensors
        if pullback.needed(dy):
            return tuple(pullback.by_autograd(_plain, (x, W, gain, bias), (dy,), ctx.needs_input_grad))
        with kernels.limited():
            arrays = normalise_back(product.numpy(), _array(gain), _array(dy).reshape(-1, len(gain)))
        by_product, by_gain, by_bias = map(torch.from_numpy, arrays)
        dx, dW, dgain, dbias = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            by_x = (by_product @ W).view(x.shape) if dx else None
            by_W = by_product.T @ x.reshape(-1, x.shape[-1]) if dW else None
        return by_x, by_W, by_gain if dgain else None, by_bias if dbias else None
