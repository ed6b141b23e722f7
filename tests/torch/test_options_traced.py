"""Every option of ``grus.torch.GRU``, with lengths, resets and gates, compiled, exported and under ``torch.func``."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from beside_torch import close
from torch import Tensor

import grus.torch

T, B, I, H = 6, 4, 3, 16  # noqa: E741
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zoneout": {"zoneout": 0.3},
    "dropouts": {"input_dropout": 0.3, "recurrent_dropout": 0.3, "weight_drop": 0.3},
    "layer_norm": {"layer_norm": True},
    "learn_h0": {"learn_h0": True},
    "all": {
        "num_layers": 2,
        "bidirectional": True,
        "zoneout": 0.1,
        "layer_norm": True,
        "learn_h0": True,
        "dropout": 0.1,
    },
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@pytest.fixture(autouse=True)
def quiet_compilers() -> None:
    logging.getLogger("torch.__trace").setLevel(logging.ERROR)


class Whole(torch.nn.Module):
    """A call with all its keywords, and all its results in one tuple."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru = grus.torch.GRU(I, H, **options)

    def forward(self, x: Tensor, lengths: Tensor, resets: Tensor) -> tuple[Tensor, ...]:
        y, h_n, gates = self.gru(x, lengths=lengths, resets=resets, return_gates=True)
        return y, h_n, *(gate for own in gates for gate in own)


def inputs(steps: int = T, batch: int = B) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(steps)
    x = torch.randn(steps, batch, I, generator=generator)
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator)
    return x, lengths, torch.rand(steps, batch, generator=generator) < 0.3


@options
@pytest.mark.parametrize("train", [True, False])
def test_compiled_whole(options: dict[str, Any], train: bool) -> None:
    torch._dynamo.reset()
    module = Whole(**options).train(train)
    found = []
    for call in (module, torch.compile(module, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(1)
        results = call(*inputs())
        loss = sum(result.square().sum() for result in results)
        found.append([*results, *torch.autograd.grad(loss, list(module.parameters()))])
    for one, other in zip(*found, strict=True):
        close(one, other)


@options
def test_exported_for_any_time_and_batch(options: dict[str, Any]) -> None:
    module = Whole(**options).eval()
    steps, batch = torch.export.Dim("steps", min=2), torch.export.Dim("batch", min=2)
    shapes = ({0: steps, 1: batch}, {0: batch}, {0: steps, 1: batch})
    program = torch.export.export(module, inputs(), dynamic_shapes=shapes)
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    layers = options.get("num_layers", 1) * (2 if options.get("bidirectional") and options.get("layer_norm") else 1)
    assert targets.count(torch.ops.grus.layer.default) == layers, "one operator a layer, or a direction that normalises"
    for given in (inputs(), inputs(9, 2), inputs(2, 17)):
        for one, other in zip(program.module()(*given), module(*given), strict=True):
            torch.testing.assert_close(one, other)


@options
def test_vmapped_with_masks_of_its_own_for_each(options: dict[str, Any]) -> None:
    module = Whole(**options).eval()
    given = [torch.stack(parts) for parts in zip(inputs(), inputs(), strict=True)]
    given[0][1] += 1
    for one, other in zip(
        torch.vmap(module)(*given),
        map(torch.stack, zip(*(module(*row) for row in zip(*given, strict=True)), strict=True)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    module.train()
    given[0][1] = given[0][0]
    y, *_ = torch.vmap(module, randomness="different")(*given)
    random = any(options.get(name) for name in ("zoneout", "input_dropout", "dropout"))
    assert torch.equal(y[0], y[1]) != random
