"""A layer with its options as inputs, alone, in plain PyTorch and compiled: for tests of what it composes with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tolerance import check_float32
from torch import Tensor, nn

from grus.torch import recurrence
from grus.torch.recurrence import Extras, Weights

T, B, I, H = 6, 3, 5, 9  # noqa: E741


class Layer(nn.Module):
    """``recurrence.layer`` with its options as inputs; all results in one tuple."""

    def __init__(self, directions: int = 1, *, dtype: torch.dtype = torch.float32, plain: bool = False, **options: Any):
        super().__init__()
        torch.manual_seed(directions)
        shapes = ((3 * H, I), (3 * H, H), (3 * H,), (3 * H,))
        drawn = [torch.randn(shape, dtype=torch.float64) * 0.4 for _ in range(directions) for shape in shapes]
        self.weights = nn.ParameterList([nn.Parameter(weight.to(dtype)) for weight in drawn])
        self.gates, self.plain, self.options = options.pop("gates", False), plain, options

    def forward(self, x: Tensor, h0: Tensor | None = None, *extras: Tensor | None) -> tuple[Tensor, ...]:
        w = list(self.weights)
        directions = [Weights(*w[i : i + 4]) for i in range(0, len(w), 4)]
        more = [Extras(*extras)] * len(directions) if extras else None
        if self.plain:
            return plain_layer(x, h0, directions, more, self.options.get("reset_after", True), self.gates)
        gates: list[recurrence.Gates] | None = [] if self.gates else None
        y, h_n = recurrence.layer(x, h0, directions, extras=more, gates=gates, **self.options)
        return y, h_n, *(gate for each in gates or () for gate in each)


def plain_layer(
    x: Tensor, h0: Tensor | None, directions: list[Weights], more: Any, reset_after: bool, gates: bool
) -> tuple[Tensor, ...]:
    made = recurrence.directions(x, h0, directions, more, reset_after=reset_after)
    y, h_n = recurrence.plain.layer(made)
    found = recurrence.plain.gates(made, y) if gates else []
    return y, h_n, *found


def inputs(steps: int = T, batch: int = B, directions: int = 1, *, extras: bool = True) -> list[Tensor]:
    x, h0 = torch.randn(steps, batch, I), torch.randn(directions, batch, H)
    if not extras:
        return [x, h0]
    skip = torch.arange(steps)[:, None] >= torch.randint(0, steps + 1, (batch,))
    restart, start = torch.rand(steps, batch) < 0.3, torch.randn(batch, H)
    zone, drop = (torch.rand(steps, batch, H) < 0.3).float(), (torch.rand(batch, H) < 0.7) / 0.7
    return [x, h0, skip, restart, start, zone, drop]


def gradients(call: Callable[..., tuple[Tensor, ...]], layer: nn.Module, given: list[Tensor]) -> list[Tensor]:
    """Results, then gradients by x, h0 and the weights."""
    x, h0 = (tensor.detach().requires_grad_() for tensor in given[:2])
    results = call(x, h0, *given[2:])
    torch.manual_seed(5)
    loss = sum((result * torch.randn(result.shape).to(result.dtype)).sum() for result in results)
    return [*(r.detach() for r in results), *torch.autograd.grad(loss, [x, h0, *layer.parameters()])]


def judge(got: Any, exact: Any, baseline: Any) -> None:
    """By the one rule for float32; ``exact`` in float64."""
    leaves = [torch.utils._pytree.tree_leaves(each) for each in (got, exact, baseline)]
    for index, (a, right, plain) in enumerate(zip(*leaves, strict=True)):
        check_float32(f"result {index}", *(tensor.detach().numpy() for tensor in (a, right, plain)))


def double(given: list[Tensor]) -> list[Tensor]:
    return [tensor.double() if tensor.is_floating_point() else tensor for tensor in given]


def nodes(graph: Any) -> int:
    return sum(node.target is torch.ops.grus.layer.default for node in graph.nodes if node.op == "call_function")


def compiled(module: Any, **options: Any) -> tuple[Any, list[Any]]:
    """The module compiled without a graph break, and the graphs it makes."""
    torch._dynamo.reset()
    graphs: list[Any] = []
    aot = torch._dynamo.backends.registry.lookup_backend("aot_eager")

    def backend(graph: Any, examples: Any) -> Any:
        graphs.append(graph.graph)
        return aot(graph, examples)

    return torch.compile(module, fullgraph=True, backend=backend, **options), graphs
