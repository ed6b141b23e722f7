"""A GRU with every option of ``grus.torch.GRU`` as a user would write it in PyTorch: one row and one step at a time.

It shares nothing with the library but the equations, and takes any dtype.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm


class Masks(NamedTuple):
    """What was drawn: of each layer ``inputs`` [B, I]; of each layer and direction the others. Empty: nothing is."""

    inputs: list[Tensor] = []  # noqa: RUF012
    weights: list[Tensor] = []  # [3H, H]  # noqa: RUF012
    zones: list[Tensor] = []  # [T, B, H], 1 where a unit keeps its state  # noqa: RUF012
    states: list[Tensor] = []  # [B, H]  # noqa: RUF012


def run(
    weights: dict[str, Tensor],
    x: Tensor,
    h0: Tensor,
    options: dict[str, Any],
    *,
    lengths: list[int] | None = None,
    resets: Tensor | None = None,
    masks: Masks | None = None,
) -> dict[str, Tensor]:
    """x [T, B, I] and h0 [L·D, B, H] to y, h_n and the gates r0, z0, n0, … of each layer and direction, by name.

    ``weights`` has the names of the state_dict, ``options`` are those of the constructor. Without ``masks`` it is the
    evaluation.
    """
    steps, batch, _ = x.shape
    ends = [steps] * batch if lengths is None else lengths
    directions = 2 if options.get("bidirectional") else 1
    found: dict[str, Tensor] = {}
    h_n = []
    for layer in range(options.get("num_layers", 1)):
        if masks and masks.inputs:
            x = x * masks.inputs[layer]
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            own = {name.removesuffix(suffix): w for name, w in weights.items() if name.endswith(suffix)}
            if masks and masks.weights:
                own["weight_hh"] = own["weight_hh"] * masks.weights[index]
            rows = [
                _row(own, x[:, b], h0[index, b], options, ends[b], direction == 1, index, b, resets, masks, weights)
                for b in range(batch)
            ]
            y, last, r, z, n = (torch.stack(parts, dim=-2) for parts in zip(*rows, strict=True))
            outputs.append(y)
            h_n.append(last)
            found |= {f"r{index}": r, f"z{index}": z, f"n{index}": n}
        x = torch.cat(outputs, -1)
    return {"y": x, "h_n": torch.stack(h_n), **found}


def _row(
    own: dict[str, Tensor],
    x: Tensor,
    h: Tensor,
    options: dict[str, Any],
    end: int,
    reverse: bool,
    index: int,
    b: int,
    resets: Tensor | None,
    masks: Masks | None,
    weights: dict[str, Tensor],
) -> tuple[Tensor, ...]:
    """One row of one direction: x [T, I] to y [T, H], its last state [H] and r, z, n [T, H]."""
    walk = list(range(end))
    results = [[torch.zeros_like(h)] * len(x) for _ in range(4)]
    for t in reversed(walk) if reverse else walk:
        boundary = t + 1 if reverse else t
        if resets is not None and boundary < end and resets[boundary, b]:
            h = weights["h0"][index] if "h0" in weights else torch.zeros_like(h)
        seen = h * masks.states[index][b] if masks and masks.states else h
        r, z, n = _gates(own, x[t], seen, options)
        after = (1 - z) * n + z * h
        if masks and masks.zones:
            keep = masks.zones[index][t, b]
            after = keep * h + (1 - keep) * after
        elif options.get("zoneout"):
            after = options["zoneout"] * h + (1 - options["zoneout"]) * after
        h = after
        for result, value in zip(results, (h, r, z, n), strict=True):
            result[t] = value
    y, r, z, n = (torch.stack(result) if result else x.new_zeros(0, len(h)) for result in results)
    return y, h, r, z, n


def _gates(own: dict[str, Tensor], x: Tensor, h: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Ba et al. normalise the sums of r and z together, the candidate's alone; the biases come after."""
    W, U = own["weight_ih"], own["weight_hh"]
    H = len(h)
    b_i, b_h = own.get("bias_ih", torch.zeros_like(W[:, 0])), own.get("bias_hh", torch.zeros_like(U[:, 0]))

    def sums(weight: Tensor, vector: Tensor, gain: str, bias: Tensor, rows: slice) -> Tensor:
        product = weight[rows] @ vector
        if options.get("layer_norm"):
            product = layer_norm(product, product.shape) * own[gain][rows]
        return product + bias[rows]

    both, last = slice(0, 2 * H), slice(2 * H, 3 * H)
    r, z = torch.sigmoid(sums(W, x, "norm_ih", b_i, both) + sums(U, h, "norm_hh", b_h, both)).split(H)
    a_n = sums(W, x, "norm_ih", b_i, last)
    if options.get("reset_after", True):
        return r, z, torch.tanh(a_n + r * sums(U, h, "norm_hh", b_h, last))
    return r, z, torch.tanh(a_n + sums(U, r * h, "norm_hh", b_h, last))
