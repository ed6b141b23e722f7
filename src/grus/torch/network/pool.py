"""Running pooling over time as a module: the last step alone in one reduction, all steps, or on from a state."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Pool"]


class Pool(nn.Module):
    """``grus.spec.Pool``: its arrays are the parameters. See ``modules`` for ``run`` and ``stream``."""

    weight: Tensor  # these three for attention alone
    bias: Tensor
    query: Tensor

    def __init__(self, size: int, function: str, attention_size: int) -> None:
        super().__init__()
        self.size, self.function = size, function
        if function == "attention":
            bound, query_bound = 1 / math.sqrt(size), 1 / math.sqrt(attention_size)  # as nn.Linear starts
            for name, shape, limit in (
                ("weight", (attention_size, size), bound),
                ("bias", (attention_size,), bound),
                ("query", (attention_size,), query_bound),
            ):
                values = torch.empty(shape, dtype=torch.float32).uniform_(-limit, limit)
                self.register_parameter(name, nn.Parameter(values))

    def run(self, x: Tensor, last: bool, lengths: Tensor | None) -> Tensor:
        x = _single(x)
        return self._whole(x, lengths) if last else self._running(x, None)[0]

    def stream(self, x: Tensor, state: Iterator[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        given = None if state is None else next(state)
        y, after = self._running(_single(x), given)
        return y, [after]

    def _scores(self, x: Tensor) -> Tensor:
        """s [T, B] of x [T, B, F]."""
        scores: Tensor = torch.tanh(F.linear(x, self.weight, self.bias)) @ self.query
        return scores

    def _whole(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Each row's last output alone, [1, B, F]."""
        steps, batch = x.shape[:2]
        ends = x.new_full((batch,), steps) if lengths is None else lengths.to(x.device)
        if self.function == "ends":
            return self._ends(x[ends.long() - 1, torch.arange(batch, device=x.device)][None], x[0])
        behind = None if lengths is None else torch.arange(steps, device=x.device)[:, None] >= ends  # [T, B]
        if self.function == "max":
            kept = x if behind is None else x.masked_fill(behind[..., None], -math.inf)
            return kept.amax(dim=0, keepdim=True)
        kept = x if behind is None else x.masked_fill(behind[..., None], 0.0)
        if self.function == "mean":
            return kept.sum(dim=0, keepdim=True) / ends.to(x.dtype)[:, None]
        scores = self._scores(kept)
        scores = scores if behind is None else scores.masked_fill(behind, -math.inf)
        shares = torch.softmax(scores, dim=0).to(kept.dtype)
        return torch.einsum("tb,tbf->bf", shares, kept)[None]

    def _running(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every step's output [T, B, F] and the state after the last."""
        if state is None:
            state = x.new_zeros(x.shape[1], self.size + (2 if self.function == "attention" else 1))
        if not len(x):
            return x, state
        if self.function == "attention":
            return self._attend(x, state)
        before, seen = state[:, : self.size], state[:, self.size]
        count = seen + torch.arange(1, len(x) + 1, device=x.device, dtype=x.dtype)[:, None]  # [T, B]
        if self.function == "max":
            before = before.masked_fill(seen[:, None] == 0, -math.inf)
            y = held = torch.cat([before[None], x]).cummax(dim=0).values[1:]
        elif self.function == "ends":
            y = held = self._ends(x, torch.where(seen[:, None] == 0, x[0], state[:, : self.size]))
        else:
            held = torch.cat([before[None], x]).cumsum(dim=0)[1:]
            y = held / count[..., None]
        return y, torch.cat([held[-1], count[-1, :, None]], dim=-1)

    def _ends(self, x: Tensor, first: Tensor) -> Tensor:
        """The first half of x [T, B, F], the second of ``first`` [B, F]."""
        forward, reverse = x[..., : self.size // 2], first[:, self.size // 2 :]
        return torch.cat([forward, reverse.expand(len(x), -1, -1)], dim=-1)

    def _attend(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of e^(s − m) x and of e^(s − m), m the largest score so far, so that no weight overflows."""
        total, weight, most = state[:, : self.size], state[:, self.size], state[:, self.size + 1]
        most = torch.where(weight == 0, -math.inf, most).detach()  # y does not depend on it
        outputs = []
        for x_t, score in zip(x, self._scores(x).to(x.dtype), strict=True):
            larger = torch.maximum(most, score.detach())
            old, new = torch.exp(most - larger), torch.exp(score - larger)
            total = total * old[:, None] + x_t * new[:, None]
            weight = weight * old + new
            most = larger
            outputs.append(total / weight[:, None])
        return torch.stack(outputs), torch.cat([total, weight[:, None], most[:, None]], dim=-1)


def _single(x: Tensor) -> Tensor:
    """In float32 what mixed precision gives in half of it: a count and a sum of many steps need the digits."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
