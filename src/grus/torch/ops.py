"""One bidirectional or one-way layer of a GRU as a differentiable function of tensors.

float32 goes through the kernels; their backward recomputes the gates, so that autograd keeps nothing but inputs,
weights and output. float64 is plain PyTorch, step by step, differentiable as often as one likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from grus import kernels
from grus.weights import GRUWeights

__all__ = ["Weights", "layer"]


class Weights(NamedTuple):
    """One direction: W [3H, I], U [3H, H] and the biases [3H], None for a layer without."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


def layer(
    x: Tensor,
    h0: Tensor | None,
    directions: Sequence[Weights],
    *,
    reset_after: bool = True,
    batch_major: bool = False,
    ready: list[kernels.Layer] | None = None,
) -> tuple[Tensor, Tensor]:
    """x [T, B, I] and h0 [D, B, H] (None: zeros) to y [T, B, D·H] and h_n [D, B, H], D directions.

    The second direction walks backwards in time. ``batch_major`` lays y out in memory as [B, T, D·H]. ``ready`` is a
    list to find packed weights in, and to leave them in, from one inference to the next.
    """
    if x.dtype == torch.float64:
        return _plain_layer(x, h0, directions, reset_after)
    weights = [tensor for direction in directions for tensor in direction]
    options = _Options(reset_after, batch_major)
    tensors = [tensor for tensor in (x, h0, *weights) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        y, h_n = _Layer.apply(options, x, h0, *weights)  # type: ignore[no-untyped-call]
    else:
        y, h_n = _forward(options, x, h0, _ready(directions, options, ready))
    return options.time_major(y), h_n


class _Options(NamedTuple):
    reset_after: bool
    batch_major: bool

    def time_major(self, y: Tensor) -> Tensor:
        """y as it lies in memory, seen as [T, B, D·H]."""
        return y.transpose(0, 1) if self.batch_major else y


def _features_contiguous(tensor: Tensor) -> Tensor:
    tensor = tensor.resolve_neg()  # a lazily negated tensor's memory has the other sign
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _numpy(tensor: Tensor) -> Any:
    """The same memory as a NumPy array, its last axis contiguous; a copy only where that axis is not."""
    return _features_contiguous(tensor.detach()).numpy()


def _pack(
    options: _Options, weights: Sequence[Tensor | None], *, training: bool = False, keep: bool = False
) -> list[kernels.Layer]:
    packed = []
    for index in range(0, len(weights), 4):
        W, U, b_i, b_h = weights[index : index + 4]
        assert W is not None and U is not None
        zeros = torch.zeros_like(W[:, 0])
        b_i, b_h = zeros if b_i is None else b_i, zeros if b_h is None else b_h
        own = GRUWeights(_numpy(W), _numpy(U), _numpy(b_i), _numpy(b_h), options.reset_after)
        packed.append(kernels.Layer(own, training=training, keep=keep))
    return packed


def _ready(directions: Sequence[Weights], options: _Options, ready: list[kernels.Layer] | None) -> list[kernels.Layer]:
    """The packed weights for an inference: those in ``ready`` while they are the same.

    They are compared bit by bit, which costs less than a step, for no counter sees what is written through ``.data``.
    """
    weights = [tensor for direction in directions for tensor in direction]
    if ready is None or not all(tensor is None or tensor.is_contiguous() for tensor in weights):
        return _pack(options, weights)
    found = list(ready)
    same = (_same(packed, weights, options) for packed, weights in zip(found, directions, strict=False))
    if not (len(found) == len(directions) and all(same)):
        found = ready[:] = _pack(options, weights, keep=True)
    return found


def _same(packed: kernels.Layer, weights: Weights, options: _Options) -> bool:
    made_for = (packed.hidden_size, packed.input_size, packed.reset_after)
    wanted = (weights.weight_hh.shape[1], weights.weight_ih.shape[1], options.reset_after)
    return made_for == wanted and packed.holds_at(*(0 if t is None else t.data_ptr() for t in weights))


def _forward(options: _Options, x: Tensor, h0: Tensor | None, layers: list[kernels.Layer]) -> tuple[Tensor, Tensor]:
    """y as it lies in memory, and h_n [D, B, H]."""
    (steps, batch, _), hidden = x.shape, layers[0].hidden_size
    width = len(layers) * hidden
    shape = (batch, steps, width) if options.batch_major else (steps, batch, width)
    y = torch.empty(shape, dtype=torch.float32, device="cpu")
    h_n = torch.empty((len(layers), batch, hidden), dtype=torch.float32, device="cpu")
    if not steps or not batch:
        return y, h_n.zero_() if h0 is None else h_n.copy_(h0)
    x, h0 = _features_contiguous(x), None if h0 is None else _features_contiguous(h0)
    y_t, y_b = (width, steps * width) if options.batch_major else (batch * width, width)
    for d, packed in enumerate(layers):
        packed.forward_at(
            steps,
            batch,
            (x.data_ptr(), x.stride(0), x.stride(1)),
            (0, 0) if h0 is None else (h0.data_ptr() + 4 * d * h0.stride(0), h0.stride(1)),
            (y.data_ptr() + 4 * d * hidden, y_t, y_b),
            h_n.data_ptr() + 4 * d * batch * hidden,
            d == 1,
        )
    return y, h_n


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: _Options, x: Tensor, h0: Tensor | None, *weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        ctx.options, ctx.layers = options, _pack(options, weights, training=True)
        y, h_n = _forward(options, x, h0, ctx.layers)
        ctx.save_for_backward(x, h0, y, *weights)
        ctx.set_materialize_grads(False)  # an output the loss does not use has the gradient None
        return y, h_n

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None) -> Any:
        _, by_x, by_h0, *by_weights = ctx.needs_input_grad
        wanted = (by_x, by_h0, any(by_weights))
        work = (ctx.options, ctx.layers, wanted)
        return None, *_Gradient.apply(work, dy, dh_n, *ctx.saved_tensors)  # type: ignore[no-untyped-call]


class _Gradient(torch.autograd.Function):
    """A function of its own, so that its derivative is an error and not a silent zero."""

    @staticmethod
    def forward(
        ctx: Any,
        work: tuple[_Options, list[kernels.Layer], tuple[bool, bool, bool]],
        dy: Tensor | None,
        dh_n: Tensor | None,
        x: Tensor,
        h0: Tensor | None,
        y: Tensor,
        *weights: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        options, layers, wanted = work
        inputs, outputs = _numpy(x), _numpy(options.time_major(y))
        by_output = None if dy is None else _numpy(options.time_major(dy))
        dx: Tensor | None = None
        dh0: list[Tensor] = []
        dweights: list[Tensor | None] = []
        for d, packed in enumerate(layers):
            own = slice(d * packed.hidden_size, (d + 1) * packed.hidden_size)
            gradients = packed.backward(
                inputs,
                None if h0 is None else _numpy(h0[d]),
                outputs[:, :, own],
                None if by_output is None else by_output[:, :, own],
                None if dh_n is None else _numpy(dh_n[d]),
                reverse=d == 1,
                input_gradient=wanted[0],
                weight_gradients=wanted[2],
            )
            if gradients.dx is not None:
                by_own = torch.from_numpy(gradients.dx)
                dx = by_own if dx is None else dx.add_(by_own)
            dh0.append(torch.from_numpy(gradients.dh0))
            biases = gradients[4:] if weights[4 * d + 2] is not None else (None, None)
            dweights += [None if g is None else torch.from_numpy(g) for g in (*gradients[2:4], *biases)]
        return dx, torch.stack(dh0) if wanted[1] else None, *dweights

    @staticmethod
    def backward(ctx: Any, *_: Tensor | None) -> Any:
        raise RuntimeError("grus.torch.GRU has no second derivative in float32: use float64, which has")


def _plain_layer(
    x: Tensor, h0: Tensor | None, directions: Sequence[Weights], reset_after: bool
) -> tuple[Tensor, Tensor]:
    hidden = directions[0].weight_hh.shape[1]
    sequences, last = [], []
    for d, weights in enumerate(directions):
        h = x.new_zeros(x.shape[1], hidden) if h0 is None else h0[d]
        projected = torch.nn.functional.linear(x, weights.weight_ih, weights.bias_ih)
        states = []
        for a in reversed(projected.unbind()) if d == 1 else projected.unbind():
            h = _plain_step(a, h, weights.weight_hh, weights.bias_hh, reset_after)
            states.append(h)
        last.append(h)
        empty = projected[:, :, :hidden]  # where T = 0: differentiable like any other
        sequences.append(torch.stack(states[::-1] if d == 1 else states) if states else empty)
    return torch.cat(sequences, -1), torch.stack(last)


def _plain_step(a: Tensor, h: Tensor, U: Tensor, b_h: Tensor | None, reset_after: bool) -> Tensor:
    """One step of ``grus.reference``: a = W x + b_i [B, 3H] and h [B, H] to the next h."""
    hidden = h.shape[-1]
    linear = torch.nn.functional.linear
    a_r, a_z, a_n = a.chunk(3, -1)
    if reset_after:
        u_r, u_z, u_n = linear(h, U, b_h).chunk(3, -1)
        r = torch.sigmoid(a_r + u_r)
        n = torch.tanh(a_n + r * u_n)
    else:
        u_r, u_z = linear(h, U[: 2 * hidden], None if b_h is None else b_h[: 2 * hidden]).chunk(2, -1)
        r = torch.sigmoid(a_r + u_r)
        n = torch.tanh(a_n + linear(r * h, U[2 * hidden :], None if b_h is None else b_h[2 * hidden :]))
    z = torch.sigmoid(a_z + u_z)
    return (1 - z) * n + z * h
