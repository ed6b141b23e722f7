"""One bidirectional or one-way layer of a GRU as a differentiable function of tensors.

float32 goes through the kernels. Their backward pass has the gates of the last steps and computes those of the others
once more, so that beyond inputs, weights and output it keeps no more than a fixed amount. float64 is plain PyTorch, a
step at a time, and so are second derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from grus import kernels

__all__ = ["Weights", "layer"]

SAVED_FLOATS = 3 << 19  # of gates that a layer and direction keeps for the backward pass, at least: 6 MB


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
    save_gates: bool | None = None,
    ready: list[kernels.Layer] | None = None,
) -> tuple[Tensor, Tensor]:
    """x [T, B, I] and h0 [D, B, H] (None: zeros) to y [T, B, D·H] and h_n [D, B, H], D directions.

    The second direction walks backwards in time. ``batch_major`` lays y out in memory as [B, T, D·H]. ``ready`` is a
    list to find packed weights in, and to leave them in, from one inference to the next. ``save_gates`` keeps the gates
    of all steps for the backward pass (True), of none (False), or of as many of the last as take no more memory than
    the weights, their gradient and an optimiser's two moments, or 6 MB (None).
    """
    if x.dtype == torch.float64:
        return _plain_layer(x, h0, directions, reset_after)
    weights = [tensor for direction in directions for tensor in direction]
    options = _Options(reset_after, batch_major, save_gates)
    tensors = [tensor for tensor in (x, h0, *weights) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        y, h_n = _Layer.apply(options, x, h0, *weights)  # type: ignore[no-untyped-call]
    else:
        y, h_n = _forward(options, x, h0, _ready(directions, options, ready))
    return options.time_major(y), h_n


class _Options(NamedTuple):
    reset_after: bool
    batch_major: bool
    save_gates: bool | None = None

    def time_major(self, y: Tensor) -> Tensor:
        """y as it lies in memory, seen as [T, B, D·H]."""
        return y.transpose(0, 1) if self.batch_major else y


def _features_contiguous(tensor: Tensor) -> Tensor:
    tensor = tensor.resolve_neg()  # a lazily negated tensor's memory has the other sign
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _pack(
    options: _Options, weights: Sequence[Tensor | None], *, training: bool = False, keep: bool = False
) -> list[kernels.Layer]:
    packed = []
    for index in range(0, len(weights), 4):
        own = [None if w is None else w.detach().resolve_neg().contiguous() for w in weights[index : index + 4]]
        W, U = own[:2]
        assert W is not None and U is not None
        addresses = [0 if w is None else w.data_ptr() for w in own]
        sizes = W.shape[1], U.shape[1]
        packed.append(
            kernels.Layer.at(*sizes, tuple(addresses), options.reset_after, training=training, keep=keep)  # type: ignore[arg-type]
        )
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


def _sequence(tensor: Tensor | None, offset: int = 0) -> tuple[int, int, int]:
    """Address, strides in time and batch of [T, B, ...], from column ``offset`` on."""
    if tensor is None:
        return 0, 0, 0
    return tensor.data_ptr() + 4 * offset, tensor.stride(0), tensor.stride(1)


def _first_state(h0: Tensor | None, direction: int) -> tuple[int, int]:
    if h0 is None:
        return 0, 0
    return h0.data_ptr() + 4 * direction * h0.stride(0), h0.stride(1)


def _forward(
    options: _Options,
    x: Tensor,
    h0: Tensor | None,
    layers: list[kernels.Layer],
    gates: Sequence[kernels.Gates | None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """y as it lies in memory, and h_n [D, B, H]."""
    (steps, batch, _), hidden = x.shape, layers[0].hidden_size
    width = len(layers) * hidden
    shape = (batch, steps, width) if options.batch_major else (steps, batch, width)
    y = torch.empty(shape, dtype=torch.float32, device="cpu")
    h_n = torch.empty((len(layers), batch, hidden), dtype=torch.float32, device="cpu")
    if not steps or not batch:
        return y, h_n.zero_() if h0 is None else h_n.copy_(h0)
    x, h0 = _features_contiguous(x), None if h0 is None else _features_contiguous(h0)
    out = options.time_major(y)
    for d, packed in enumerate(layers):
        last = h_n.data_ptr() + 4 * d * batch * hidden
        own = _sequence(out, d * hidden)
        packed.forward_at(steps, batch, _sequence(x), _first_state(h0, d), own, last, d == 1, gates[d])
    return y, h_n


def _room(options: _Options, layer: kernels.Layer, steps: int, batch: int) -> kernels.Gates | None:
    """Room for as many steps' gates as may be kept from the forward to the backward pass."""
    if not steps or not batch:
        return None
    weights = 3 * layer.hidden_size * (layer.input_size + layer.hidden_size)
    floats = max(SAVED_FLOATS, 4 * weights)
    save = steps if options.save_gates else min(steps, floats // (4 * batch * layer.hidden_size))
    return layer.gates(steps, batch, save=save) if save and options.save_gates is not False else None


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: _Options, x: Tensor, h0: Tensor | None, *weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        layers = _pack(options, weights, training=True)
        gates = [_room(options, packed, *x.shape[:2]) for packed in layers]
        y, h_n = _forward(options, x, h0, layers, gates)
        ctx.options, ctx.layers, ctx.gates = options, layers, gates
        ctx.save_for_backward(x, h0, y, *weights)
        ctx.set_materialize_grads(False)  # an output the loss does not use has the gradient None
        return y, h_n

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None) -> Any:
        x, h0, y, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradients will be differentiated in their turn
            return None, *_plain_gradients(ctx.options, ctx.needs_input_grad[1:], (dy, dh_n), x, h0, weights)
        return None, *_gradients(ctx, dy, dh_n, x, h0, y, weights)


def _gradients(
    ctx: Any,
    dy: Tensor | None,
    dh_n: Tensor | None,
    x: Tensor,
    h0: Tensor | None,
    y: Tensor,
    weights: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """By x, h0 and the weights, None where none is wanted."""
    options: _Options = ctx.options
    by_x, by_h0, *by_weights = ctx.needs_input_grad[1:]
    (steps, batch, _), hidden = x.shape, ctx.layers[0].hidden_size
    x, h0 = _features_contiguous(x), None if h0 is None else _features_contiguous(h0)
    dy = None if dy is None else _features_contiguous(options.time_major(dy))
    dh_n = None if dh_n is None else dh_n.resolve_neg().contiguous()
    # NumPy's memory: PyTorch's is aligned, and glibc before 2.38 finds no room for it where as much has just been freed
    dx = torch.from_numpy(np.empty(x.shape, np.float32)) if by_x else None
    dh0 = torch.empty(len(ctx.layers), batch, hidden)
    gradients: list[Tensor | None] = [dx, dh0 if by_h0 else None]
    empty = not steps or not batch
    if empty:
        _ = dx is not None and dx.zero_()
        _ = dh0.zero_() if dh_n is None else dh0.copy_(dh_n)
    for d, packed in enumerate(ctx.layers):
        own: list[Tensor | None] = [None] * 4
        if any(by_weights):
            sizes = (3 * hidden, packed.input_size), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
            own = [(torch.zeros if empty else torch.empty)(size) for size in sizes]
        if not empty:
            at = 4 * d * batch * hidden
            packed.backward_at(
                steps,
                batch,
                _sequence(x),
                _first_state(h0, d),
                _sequence(options.time_major(y), d * hidden),
                _sequence(dy, d * hidden),
                0 if dh_n is None else dh_n.data_ptr() + at,
                _sequence(dx),
                dh0.data_ptr() + at,
                tuple(0 if gradient is None else gradient.data_ptr() for gradient in own),
                d == 1,
                ctx.gates[d],
                add_dx=d == 1,
            )
        gradients += [g if wanted else None for g, wanted in zip(own, by_weights[4 * d : 4 * d + 4], strict=True)]
    return gradients


def _plain_gradients(
    options: _Options,
    wanted: Sequence[bool],
    by_outputs: tuple[Tensor | None, Tensor | None],
    x: Tensor,
    h0: Tensor | None,
    weights: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """What _gradients gives, as differentiable tensors: through plain PyTorch, a step at a time."""
    inputs = [tensor for tensor, want in zip((x, h0, *weights), wanted, strict=True) if want and tensor is not None]
    directions = [Weights(*weights[i : i + 4]) for i in range(0, len(weights), 4)]  # type: ignore[arg-type]
    y, h_n = _plain_layer(x, h0, directions, options.reset_after)
    pairs = [(a, g) for a, g in zip((options.time_major(y), h_n), by_outputs, strict=True) if g is not None]
    outputs, grads = [a for a, _ in pairs], [g for _, g in pairs]
    found = iter(torch.autograd.grad(outputs, inputs, grads, create_graph=True, allow_unused=True))
    return [next(found) if want else None for want in wanted]


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
