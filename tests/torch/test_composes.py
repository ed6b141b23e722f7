"""The layer under what PyTorch users compose it with: compilers, exporters, tracers, checkpoints, DDP."""

from __future__ import annotations

import copy
import io
import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import B, H, I, Layer, T, compiled, double, gradients, inputs, judge, nodes
from torch import Tensor, nn
from torch.export import Dim
from torch.func import grad, vmap
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from grus.torch import GRU, GRUCell, recurrence
from grus.torch.recurrence import Extras, Weights, operators, packing


@pytest.fixture(autouse=True)
def quiet_compilers() -> None:
    """pytest would keep every line that they write for a debugger, which takes longer than the compiling."""
    logging.getLogger("torch.__trace").setLevel(logging.ERROR)


@pytest.mark.parametrize(
    ("directions", "reset_after", "with_gates", "save_gates"),
    [(1, True, False, None), (2, True, True, None), (1, False, True, False), (2, False, False, True)],
)
def test_compiled_training(directions: int, reset_after: bool, with_gates: bool, save_gates: bool | None) -> None:
    options = {"reset_after": reset_after, "gates": with_gates}
    layer = Layer(directions, **options, batch_major=True, save_gates=save_gates)
    exact, plain = (
        Layer(directions, **options, dtype=torch.float64, plain=True),
        Layer(directions, **options, plain=True),
    )
    call, graphs = compiled(layer)
    for extras in (False, True):
        given = inputs(directions=directions, extras=extras)
        got = gradients(call, layer, given)
        judge(got, gradients(exact, exact, double(given)), gradients(plain, plain, given))
        assert torch.equal(got[0], layer(*given)[0]) and got[0].stride() == layer(*given)[0].stride()
        with torch.no_grad():
            assert torch.equal(call(*given)[1], layer(*given)[1])
    assert [nodes(graph) for graph in graphs] == [directions] * len(graphs)


def test_compiled_with_lengths_to_come() -> None:
    layer = Layer(2, gates=True)
    call, graphs = compiled(layer, dynamic=True)
    for steps, batch in [(6, 3), (11, 4), (4, 40), (7, 8)]:
        given = inputs(steps, batch, 2)
        for got, eager in zip(gradients(call, layer, given), gradients(layer, layer, given), strict=True):
            torch.testing.assert_close(got, eager)
    assert len(graphs) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # in inductor's own imports
@pytest.mark.parametrize("module", [GRU(I, H), GRU(I, H, 2, bidirectional=True), GRUCell(I, H)])
def test_compiled_by_inductor(module: nn.Module) -> None:
    torch._dynamo.reset()
    x = torch.randn(T, B, I) if isinstance(module, GRU) else torch.randn(B, I)
    call = torch.compile(module, fullgraph=True)
    with torch.no_grad():
        right, got = (torch.utils._pytree.tree_leaves(f(x)) for f in (module, call))
        assert all(map(torch.equal, got, right))
    losses = [sum(r.square().sum() for r in torch.utils._pytree.tree_leaves(f(x))) for f in (module, call)]
    assert torch.equal(*losses)
    for eager, got in zip(*(torch.autograd.grad(loss, list(module.parameters())) for loss in losses), strict=True):
        torch.testing.assert_close(got, eager)


def test_compiled_in_autocast_and_in_other_dtypes() -> None:
    given = inputs(extras=False)
    for dtype in (torch.float64, torch.bfloat16):
        module = GRU(I, H, dtype=dtype)
        call, graphs = compiled(module)
        torch.testing.assert_close(call(given[0].to(dtype)), module(given[0].to(dtype)))
        assert [nodes(graph) for graph in graphs] == [1]  # no loop over time in the graph
    module = GRU(I, H)
    call, _ = compiled(module)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(call(given[0].bfloat16()), module(given[0].bfloat16()))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("with_gates", [False, True])
def test_export(strict: bool, with_gates: bool) -> None:
    layer = Layer(2, gates=with_gates, batch_major=True)
    t, b = Dim("t"), Dim("b")
    sizes = ({0: t, 1: b}, {1: b}, ({0: t, 1: b}, {0: t, 1: b}, {0: b}, {0: t, 1: b}, {0: b}))
    program = torch.export.export(layer, tuple(inputs(directions=2)), dynamic_shapes=sizes, strict=strict)
    assert nodes(program.graph) == 2
    assert not any("select" in str(node.target) and "x" in str(node.args) for node in program.graph.nodes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for steps, batch in [(6, 3), (11, 2), (1, 1), (2, 40), (0, 3), (4, 0)]:
        given = inputs(steps, batch, 2)
        for got, eager in zip(loaded(*given), layer(*given), strict=True):
            assert torch.equal(got, eager)


@pytest.mark.parametrize("strict", [True, False])
def test_export_of_the_module(strict: bool) -> None:
    module = GRU(I, H, 2, batch_first=True).eval()
    sizes = {"input": {0: Dim("b"), 1: Dim("t")}, "hx": {1: Dim("b")}}
    program = torch.export.export(
        module, (torch.randn(B, T, I), torch.randn(2, B, H)), dynamic_shapes=sizes, strict=strict
    )
    assert nodes(program.graph) == 2
    given = torch.randn(7, 13, I), torch.randn(2, 7, H)
    for got, eager in zip(program.module()(*given), module(*given), strict=True):
        assert torch.equal(got, eager)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("extras", [False, True])
def test_the_operators_keep_their_promises(dtype: torch.dtype, extras: bool) -> None:
    """PyTorch's own check: schema, no aliases, shapes without data, AOTAutograd with static and dynamic sizes."""
    x, h0, *more = (t.to(dtype) if t.is_floating_point() else t for t in inputs(extras=extras))
    skip, restart, start, zone, drop = more if extras else [None] * 5
    weights = [w.detach() for w in Layer(dtype=dtype).weights]

    def leaf(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.clone().requires_grad_()

    for keep, gates, reverse, batch_major in [(T, True, True, True), (2, False, False, False), (0, False, False, True)]:
        given = [leaf(t) for t in (x, h0[0], *weights, None, start)]
        settings = (0.0, True, reverse, batch_major, gates)
        torch.library.opcheck(torch.ops.grus.layer, (*given, skip, restart, zone, drop, *settings, keep))
        tensors = [None if t is None else t.detach() for t in given]
        y, h_n, kept = torch.ops.grus.layer(*tensors, skip, restart, zone, drop, *settings, keep)
        by = (torch.randn_like(y), torch.randn_like(h_n), *tensors, skip, restart, zone, drop, y, kept)
        for groups in (0, B):
            torch.library.opcheck(torch.ops.grus.layer_backward, (*by, *settings, True, True, groups))


def test_shapes_without_data() -> None:
    given = inputs(directions=2)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = [mode.from_tensor(tensor) for tensor in given]
        shapes = [result.shape for result in Layer(2, gates=True)(*fakes)]
    outside = Layer(2, gates=True)(*fakes)  # whose weights are real
    eager = Layer(2, gates=True)(*given)
    assert shapes == [result.shape for result in eager] == [result.shape for result in outside]
    meta = Layer(2, gates=True).to("meta")(*(tensor.to("meta") for tensor in given))
    assert [result.shape for result in meta] == shapes and all(result.is_meta for result in meta)


def test_a_default_device_of_the_process() -> None:
    module, x = GRU(I, H), torch.randn(T, B, I)
    y, h_n = module(x)
    with torch.device("meta"):
        got = module(x)
        assert torch.equal(got[0], y) and torch.equal(got[1], h_n)
        y.sum().backward()
        assert GRU(I, H)(torch.randn(T, B, I))[0].is_meta


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_by_torchscript() -> None:
    layer = Layer(2, batch_major=True)
    traced = torch.jit.trace(layer, tuple(inputs(directions=2, extras=False)))
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    loaded, given = torch.jit.load(file), inputs(11, 4, 2, extras=False)
    assert all(map(torch.equal, loaded(*given), layer(*given)))
    for got, right in zip(gradients(loaded, loaded, given), gradients(layer, layer, given), strict=True):
        torch.testing.assert_close(got, right)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("call", ["eager", "compiled"])
def test_activation_checkpoints(reentrant: bool, call: str) -> None:
    if reentrant and call == "compiled":
        pytest.skip("torch.compile does not support use_reentrant=True")
    module, x = GRU(I, H, 2, batch_first=True, dropout=0.3), torch.randn(B, T, I, requires_grad=True)

    def checkpointed(x: Tensor) -> Any:
        return checkpoint(module, x, use_reentrant=reentrant)

    found = []
    for function in (module, checkpointed if call == "eager" else compiled(checkpointed)[0]):
        torch.manual_seed(0)
        y, h_n = function(x)
        (y.square().sum() + h_n.sum()).backward()
        leaves = [x, *module.parameters()]
        found.append([y, h_n, *(leaf.grad for leaf in leaves)])
        for leaf in leaves:
            leaf.grad = None
    if call == "compiled":  # which draws its dropout in an order of its own
        assert all(a.shape == b.shape for a, b in zip(*found, strict=True))
    else:
        assert all(map(torch.equal, *found))


def test_hooks_on_saved_tensors() -> None:
    layer, given, seen = Layer(2, gates=True), inputs(directions=2), []

    def to_disk(tensor: Tensor) -> Tensor:
        seen.append(tensor.shape)
        return tensor.clone()

    right = gradients(layer, layer, given)
    with torch.autograd.graph.saved_tensors_hooks(to_disk, lambda tensor: tensor):
        got = gradients(layer, layer, given)
    assert seen and all(map(torch.equal, got, right))
    with torch.autograd.graph.save_on_cpu():
        assert all(map(torch.equal, gradients(layer, layer, given), right))


def test_inference_mode_and_a_graph_used_twice() -> None:
    module, x = GRU(I, H), torch.randn(T, B, I, requires_grad=True)
    y, _ = module(x)
    first, second = (
        torch.autograd.grad(y.sum(), [x, *module.parameters()], retain_graph=keep) for keep in (True, False)
    )
    assert all(map(torch.equal, first, second))
    with torch.inference_mode():
        assert torch.equal(module(x)[0], y) and module(x)[0].is_inference()
    again = copy.deepcopy(module)
    assert torch.equal(again(x)[0], y)


def test_a_gradient_penalty_trains() -> None:
    torch.manual_seed(4)
    module, head, x = GRU(I, H), nn.Linear(H, 1), torch.randn(T, 8, I, requires_grad=True)
    target = x.detach().sum((0, 2))[:, None] / 5
    optimiser, losses = torch.optim.Adam([*module.parameters(), *head.parameters()], 0.02), []
    for _ in range(30):
        score = head(module(x)[1][0])
        (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
        loss = (score - target).square().mean() + (slope.square().sum((0, 2)).sqrt() - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("registered", [False, True])
def test_second_derivatives_in_float64(reset_after: bool, registered: bool) -> None:
    """Of ``recurrence.layer``, and of the operator as it stands in a graph."""
    layer = Layer(2, dtype=torch.float64, reset_after=reset_after, gates=True)
    x, h0, skip, restart, start, zone, drop = double(inputs(3, 2, 2))

    def call(x: Tensor, h0: Tensor, start: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        directions = [Weights(*weights[i : i + 4]) for i in (0, 4)]
        more = [Extras(skip, restart, start, zone, drop)] * 2
        if registered:
            made = recurrence.directions(x, h0, directions, more, reset_after=reset_after, batch_major=True, gates=True)
            y, h_n, found = operators.layer([one._replace(keep=len(x)) for one in made])
            return y, h_n, *found
        gates: list[recurrence.Gates] = []
        y, h_n = recurrence.layer(x, h0, directions, reset_after=reset_after, extras=more, gates=gates)
        return y, h_n, *gates[0], *gates[1]

    leaves = [tensor.detach().requires_grad_() for tensor in (x, h0, start, *layer.weights)]
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, leaves, fast_mode=True)


def test_layer_normalisation() -> None:
    torch.manual_seed(6)
    layer, given = Layer(2), inputs(directions=2)
    gains = [1 + 0.1 * torch.randn(3 * H) for _ in range(4)]

    def loss(weights: list[Tensor], gains: list[Tensor], x: Tensor, h0: Tensor, *extras: Tensor) -> Tensor:
        directions = [Weights(*weights[i : i + 4]) for i in (0, 4)]
        norms = [recurrence.Norms(*gains[i : i + 2]) for i in (0, 2)]
        found: list[recurrence.Gates] = []
        y, h_n = recurrence.layer(x, h0, directions, norms=norms, extras=[Extras(*extras)] * 2, gates=found)
        return sum(r.square().sum() for r in (y, h_n, *found[0], *found[1]))  # type: ignore[return-value]

    weights = [weight.detach() for weight in layer.weights]
    leaves = [[t.clone().requires_grad_() for t in tensors] for tensors in (weights, gains)]
    right = torch.autograd.grad(loss(*leaves, *given), [*leaves[0], *leaves[1]])
    call, graphs = compiled(loss)
    got = torch.autograd.grad(call(*leaves, *given), [*leaves[0], *leaves[1]])
    assert [nodes(graph) for graph in graphs] == [2]
    stacked = [torch.stack([tensor, tensor]) for tensor in given]
    by_sample = vmap(grad(loss, (0, 1)), (None, None, *[0] * len(given)))(weights, gains, *stacked)
    for a, b, c in zip(right, got, torch.utils._pytree.tree_leaves(by_sample), strict=True):
        torch.testing.assert_close(b, a)
        torch.testing.assert_close(c, torch.stack([a, a]))


def run_script(path: Path, script: str, *arguments: str, count: int = 1) -> list[str]:
    path.write_text(textwrap.dedent(script))
    command = [sys.executable, str(path)]
    children = [
        subprocess.Popen([*command, str(rank), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(count)
    ]
    results = [child.communicate(timeout=100) for child in children]
    for child, (_, errors) in zip(children, results, strict=True):
        assert child.returncode == 0, errors
    return [output for output, _ in results]


DDP = """
    import sys, torch, torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from grus.torch import GRU

    rank, file, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module, x = GRU(5, 9, 2, batch_first=True, bidirectional=True), torch.randn(8, 6, 5)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    wrapped = DistributedDataParallel(module)
    optimiser = torch.optim.SGD(wrapped.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        wrapped(x[4 * rank : 4 * rank + 4])[0].square().mean().backward()
        optimiser.step()
    if rank == 0:
        torch.save(module.state_dict(), out)
    dist.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_data_parallel_in_two_processes(tmp_path: Path) -> None:
    run_script(tmp_path / "ddp.py", DDP, str(tmp_path / "meet"), str(tmp_path / "weights"), count=2)
    torch.manual_seed(0)
    module, x = GRU(5, 9, 2, batch_first=True, bidirectional=True), torch.randn(8, 6, 5)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        module(x)[0].square().mean().backward()
        optimiser.step()
    got = torch.load(tmp_path / "weights")
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(got[name], weight)


WORKERS = """
    import sys, torch
    from torch.utils.data import DataLoader, TensorDataset
    from grus.torch import GRU


    class Embedded(torch.utils.data.Dataset):
        def __init__(self):
            torch.manual_seed(0)
            self.module, self.x = GRU(5, 64).requires_grad_(False), torch.randn(4, 20, 40, 5)

        def __len__(self):
            return len(self.x)

        def __getitem__(self, index):
            return self.module(self.x[index])[0]


    if __name__ == "__main__":
        data = Embedded()
        here = torch.stack([data[i] for i in range(4)])  # the threads of this process have run by now
        for way in ("fork", "spawn"):
            found = torch.cat(list(DataLoader(data, 2, num_workers=2, multiprocessing_context=way)))
            assert torch.equal(found, here), way
        print("equal")
"""


@pytest.mark.slow
def test_in_the_workers_of_a_data_loader(tmp_path: Path) -> None:
    assert run_script(tmp_path / "workers.py", WORKERS) == ["equal\n"]


def test_a_compiled_module_sees_weights_change() -> None:
    module, x = GRU(I, H), torch.randn(T, B, I)
    call, _ = compiled(module)
    with torch.no_grad():
        for _ in range(3):
            assert torch.equal(call(x, torch.zeros(1, B, H))[0], module(x)[0])
            module.weight_hh_l0.data[0, 0] += 0.5
            module.bias_ih_l0.numpy()[1] -= 0.5
    for _ in range(40):  # of which the operators remember some
        other = GRU(I, H)
        given = (x, None, *other.parameters(), *[None] * 6, 0.0, True, False, False, False, 0)
        assert torch.equal(torch.ops.grus.layer(*given)[0], other(x)[0])
    assert len(packing._BY_ADDRESS) <= packing._MOST


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize(("with_h0", "by_x"), [(False, False), (True, True)])
def test_products_are_counted_as_those_of_torch(options: dict[str, Any], with_h0: bool, by_x: bool) -> None:
    counts = []
    for module in (nn.GRU(I, H, **options), GRU(I, H, **options)):
        x = torch.randn(T, B, I, requires_grad=by_x)
        h0 = torch.randn(len(module.all_weights), B, H, requires_grad=True) if with_h0 else None
        with FlopCounterMode(display=False) as forward:
            y, _ = module(x, h0)
        with FlopCounterMode(display=False) as backward:
            y.sum().backward()
        counts.append((forward.get_total_flops(), backward.get_total_flops()))
    assert counts[0] == counts[1] and min(counts[0]) > 0
