"""The layer under torch.func, beside loops and plain PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from composed import B, H, I, Layer, T, inputs, judge
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vmap

from grus.torch import GRU, GRUCell
from grus.torch.recurrence import operators


class Count:
    """How often the kernels are called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forward = self.backward = 0
        for name in ("forward", "backward"):
            monkeypatch.setattr(operators, f"_{name}_by_kernels", self.counted(name))

    def counted(self, name: str) -> Callable[..., Any]:
        function = getattr(operators, f"_{name}_by_kernels")

        def call(*args: Any) -> Any:
            setattr(self, name, getattr(self, name) + 1)
            return function(*args)

        return call


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("options", [{}, {"reset_after": False, "batch_major": True}])
def test_vmap_beside_a_loop(directions: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all inputs, over some, along other dimensions, twice; one call of the kernels a direction."""
    V, count = 4, Count(monkeypatch)
    layer = Layer(directions, gates=True, **options)
    every = [inputs(directions=directions) for _ in range(V)]
    stacked = [torch.stack(tensors) for tensors in zip(*every, strict=True)]
    looped = [torch.stack(results) for results in zip(*(layer(*one) for one in every), strict=True)]
    for got, right in zip(vmap(layer)(*stacked), looped, strict=True):
        assert torch.equal(got, right)
    assert count.forward == directions
    own = every[0]
    got = vmap(lambda x, h0: layer(x, h0, *own[2:]), in_dims=(2, 1), out_dims=1)(
        stacked[0].movedim(0, 2), stacked[1].movedim(0, 1)
    )
    pairs = [layer(x, h0, *own[2:]) for x, h0 in zip(*stacked[:2], strict=True)]
    for a, right in zip(got, zip(*pairs, strict=True), strict=True):
        assert torch.equal(a, torch.stack(right, 1))
    twice = torch.stack([stacked[0], -stacked[0]])
    for a, right in zip(vmap(vmap(layer))(twice)[:2], zip(*(vmap(layer)(x) for x in twice), strict=True), strict=False):
        assert torch.equal(a, torch.stack(right))


def functional(layer: Layer) -> Callable[..., Tensor]:
    def loss(weights: dict[str, Tensor], *given: Tensor) -> Tensor:
        results = functional_call(layer, weights, given)
        return sum((r * torch.linspace(-1, 1, r.numel()).to(r.dtype).view(r.shape)).square().sum() for r in results)  # type: ignore[return-value]

    return loss


def solved(make: Callable[[Layer], Any], **options: Any) -> tuple[Any, Any, Any]:
    """What ``make`` makes of the layer, of plain PyTorch in float64 and in float32."""
    layers = Layer(**options), Layer(**options, plain=True, dtype=torch.float64), Layer(**options, plain=True)
    return tuple(make(layer) for layer in layers)  # type: ignore[return-value]


def as_of(layer: Layer, given: list[Tensor]) -> list[Tensor]:
    dtype = layer.weights[0].dtype
    return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in given]


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
def test_gradients_for_each_sample(reset_after: bool, directions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Opacus takes them: vmap(grad); the samples' sum is the gradient of the whole."""
    torch.manual_seed(1)
    samples = [inputs(batch=1, directions=directions) for _ in range(5)]
    stacked = [torch.stack(tensors) for tensors in zip(*samples, strict=True)]
    count = Count(monkeypatch)

    def by_sample(layer: Layer) -> Any:
        weights = {name: w.detach() for name, w in layer.named_parameters()}
        given = as_of(layer, stacked)
        arguments = (0, 1, 2)  # weights, x, h0
        if not layer.plain:
            return vmap(grad(functional(layer), arguments), (None, *[0] * len(given)))(weights, *given)
        one_by_one = [grad(functional(layer), arguments)(weights, *one) for one in zip(*given, strict=True)]
        return torch.utils._pytree.tree_map(lambda *found: torch.stack(found), *one_by_one)

    judge(*solved(by_sample, directions=directions, reset_after=reset_after, gates=True))
    assert (count.forward, count.backward) == (directions, directions)


def test_derivatives_of_gradients_for_each_sample() -> None:
    torch.manual_seed(2)
    X = torch.randn(3, 4, 2, I)

    def penalty(layer: Layer) -> Any:
        loss, x = functional(layer), X.to(layer.weights[0].dtype)

        def norms(weights: dict[str, Tensor]) -> Tensor:
            found = vmap(grad(loss), (None, 0))(weights, x)
            return sum(gradient.square().sum() for gradient in found.values())  # type: ignore[return-value]

        return grad(norms)({name: w.detach() for name, w in layer.named_parameters()})

    judge(*solved(penalty))


def test_ensembles() -> None:
    members = [GRU(I, H, 2, batch_first=True) for _ in range(4)]
    weights, buffers = stack_module_state(members)
    x = torch.randn(B, T, I)
    skeleton = copy.deepcopy(members[0]).to("meta")
    y, h_n = vmap(lambda w, b, x: functional_call(skeleton, (w, b), (x,)), (0, 0, None))(weights, buffers, x)
    for index, member in enumerate(members):
        assert torch.equal(y[index], member(x)[0]) and torch.equal(h_n[index], member(x)[1])
    y.square().sum().backward()
    for name, stacked in weights.items():
        for index, member in enumerate(members):
            (right,) = torch.autograd.grad(member(x)[0].square().sum(), member.get_parameter(name))
            torch.testing.assert_close(stacked.grad[index], right)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # in torch.func's own imports
def test_jacobians() -> None:
    torch.manual_seed(3)
    x, h0 = inputs(4, 2, extras=False)

    def every(layer: Layer) -> Any:
        a, h = as_of(layer, [x, h0])

        def last(h: Tensor) -> Tensor:
            return layer(a, h)[1][0, 0]

        def energy(h: Tensor) -> Tensor:
            return layer(a, h)[0].square().sum()

        twice = jacrev(jacrev(energy))(h)
        return jvp(last, (h,), (torch.ones_like(h),)), jacrev(last)(h), hessian(energy)(h), twice

    judge(*solved(every))


@pytest.mark.parametrize("build", [GRU, partial(GRU, layer_norm=True), GRUCell], ids=["layer", "norm", "cell"])
def test_gradients_in_a_batch(build: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    module = build(3, 4)
    x = torch.randn(2, 3, requires_grad=True) if build is GRUCell else torch.randn(5, 2, 3, requires_grad=True)

    def call(x: Tensor) -> Tensor:
        result = module(x)
        return result if isinstance(result, Tensor) else result[0]

    y = call(x)
    by = torch.randn(6, *y.shape)
    (batched,) = torch.autograd.grad(y, x, by, is_grads_batched=True, retain_graph=True)
    for one, gradient in zip(by, batched, strict=True):
        (alone,) = torch.autograd.grad(y, x, one, retain_graph=True)
        assert (alone - gradient).abs().max() < 1e-5
    loop, vectorised = (torch.autograd.functional.jacobian(call, x, vectorize=fast) for fast in (False, True))
    assert (loop - vectorised).abs().max() < 1e-5
