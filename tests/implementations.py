"""The registry of everything here that computes a GRU. ``test_conformance.py`` runs them all on the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import emulated
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import grus.torch
from grus import Model, reference, spec
from grus.reference import Gradients
from grus.runtime import kernels
from grus.runtime.session import Session
from grus.weights import GRUWeights

Array = NDArray[Any]

NATIVE_ISAS = ("neon", "generic") if emulated.ARM else ("avx512", "avx2", "generic")  # all there are, best first
ISAS = (*NATIVE_ISAS, *emulated.ISAS)


class Case(NamedTuple):
    """One problem; every number is a float32, so that each implementation gets the same."""

    weights: GRUWeights
    x: Array  # [T, B, I]
    h0: Array  # [B, H]
    dy: Array  # [T, B, H]


class Answer(NamedTuple):
    y: Array
    gradients: Gradients


@dataclass(frozen=True)
class Implementation:
    """``forward(weights, x, h0 or None)`` gives y [T, B, H]; ``backward(weights, x, h0, dy)`` the gradients by name."""

    name: str
    dtype: type[np.floating[Any]]
    forward: Callable[[GRUWeights, Array, Array | None], Array]
    backward: Callable[[GRUWeights, Array, Array, Array], Gradients] | None = None
    reset_positions: tuple[bool, ...] = (True, False)
    skip: str = ""

    @property
    def marks(self) -> tuple[pytest.MarkDecorator, ...]:
        return (pytest.mark.skip(reason=self.skip),) if self.skip else ()


@lru_cache(maxsize=256)
def case(T: int, B: int, I: int, H: int, reset_after: bool) -> Case:  # noqa: E741
    """Weights, biases and states as large as trained ones; nothing is zero."""
    rng = np.random.default_rng([T, B, I, H, reset_after])

    def uniform(bound: float, *shape: int) -> Array:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    bound = 2 / np.sqrt(H)
    biases = uniform(0.5, 3 * H), uniform(0.5, 3 * H)
    weights = GRUWeights(uniform(bound, 3 * H, I), uniform(bound, 3 * H, H), *biases, reset_after=reset_after)
    return Case(weights, uniform(2, T, B, I), uniform(0.9, B, H), uniform(1, T, B, H))


@lru_cache(maxsize=256)
def exact(problem: tuple[int, int, int, int, bool]) -> Answer:
    weights, x, h0, dy = case(*problem)
    return Answer(_reference_forward(weights, x, h0), _reference_backward(weights, x, h0, dy))


def float32_baseline(weights: GRUWeights, x: Array, h0: Array, dy: Array) -> Answer:
    """PyTorch in float32: ``torch.nn.GRU``, and where the reset comes before, the same formula in plain PyTorch."""
    module = torch_gru if weights.reset_after else spelled_out
    return Answer(*torch_answer(module, torch.float32, weights, x, h0, dy))


@lru_cache(maxsize=256)
def baseline(problem: tuple[int, int, int, int, bool]) -> Answer:
    return float32_baseline(*case(*problem))


def arrays(weights: GRUWeights) -> tuple[Array, Array, Array, Array]:
    return weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh


def _reference_forward(weights: GRUWeights, x: Array, h0: Array | None) -> Array:
    start = np.zeros((x.shape[1], weights.hidden_size)) if h0 is None else h0
    return reference.forward(x, start, *arrays(weights), reset_after=weights.reset_after)


def _reference_backward(weights: GRUWeights, x: Array, h0: Array, dy: Array) -> Gradients:
    return reference.backward(x, h0, *arrays(weights), dy, reset_after=weights.reset_after)


Leaves = tuple[torch.Tensor, ...]  # x, h0 or None, W, U, b_i, b_h


def torch_gru(x: Any, h0: Any, W: Any, U: Any, b_i: Any, b_h: Any, reset_after: bool) -> Any:
    assert reset_after
    if not x.shape[0] * x.shape[1]:  # which torch.nn.GRU refuses
        return spelled_out(x, h0, W, U, b_i, b_h, reset_after)
    module = torch.nn.GRU(W.shape[1], U.shape[1], dtype=W.dtype)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    values = dict(zip(names, (W, U, b_i, b_h), strict=True))
    return torch.func.functional_call(module, values, (x, None if h0 is None else h0[None]))[0]


def grus_gru(x: Any, h0: Any, W: Any, U: Any, b_i: Any, b_h: Any, reset_after: bool) -> Any:
    module = grus.torch.GRU(W.shape[1], U.shape[1], dtype=W.dtype, reset_after=reset_after)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    values = dict(zip(names, (W, U, b_i, b_h), strict=True))
    return torch.func.functional_call(module, values, (x, None if h0 is None else h0[None]))[0]


def spelled_out(x: Any, h0: Any, W: Any, U: Any, b_i: Any, b_h: Any, reset_after: bool) -> Any:
    """The formula of docs/spec.md in plain PyTorch, a product a gate."""
    h = x.new_zeros(x.shape[1], U.shape[1]) if h0 is None else h0
    (W_r, W_z, W_n), (U_r, U_z, U_n) = W.chunk(3), U.chunk(3)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = b_i.chunk(3), b_h.chunk(3)
    y = [h[None][:0]]
    for x_t in x:
        r = torch.sigmoid(x_t @ W_r.T + b_ir + h @ U_r.T + b_hr)
        z = torch.sigmoid(x_t @ W_z.T + b_iz + h @ U_z.T + b_hz)
        u_n = r * (h @ U_n.T + b_hn) if reset_after else (r * h) @ U_n.T + b_hn
        h = (1 - z) * torch.tanh(x_t @ W_n.T + b_in + u_n) + z * h
        y.append(h[None])
    return torch.cat(y)


def torch_answer(
    module: Callable[..., Any], dtype: torch.dtype, weights: GRUWeights, x: Array, h0: Array, dy: Array
) -> tuple[Array, Gradients]:
    leaves = [torch.tensor(a, dtype=dtype, requires_grad=True) for a in (x, h0, *arrays(weights))]
    y = module(*leaves, reset_after=weights.reset_after)
    gradients = torch.autograd.grad(y, leaves, torch.tensor(dy, dtype=dtype), allow_unused=True)
    filled = [torch.zeros_like(v) if g is None else g for g, v in zip(gradients, leaves, strict=True)]
    return y.detach().numpy(), Gradients(*(g.numpy() for g in filled))  # type: ignore[arg-type]


def _torch_forward(
    module: Callable[..., Any], dtype: torch.dtype, weights: GRUWeights, x: Array, h0: Array | None
) -> Array:
    inputs = [None if a is None else torch.tensor(a, dtype=dtype) for a in (x, h0, *arrays(weights))]
    with torch.no_grad():
        result: Array = module(*inputs, reset_after=weights.reset_after).numpy()
    return result


def _torch_backward(
    module: Callable[..., Any], dtype: torch.dtype, weights: GRUWeights, x: Array, h0: Array, dy: Array
) -> Gradients:
    return torch_answer(module, dtype, weights, x, h0, dy)[1]


def _kernel_forward(isa: str, threads: int, weights: GRUWeights, x: Array, h0: Array | None) -> Array:
    with emulated.machine(isa):
        return kernels.Layer(weights, isa=isa).forward(x, h0, threads=threads)[0]


def _kernel_backward(isa: str, threads: int, weights: GRUWeights, x: Array, h0: Array, dy: Array) -> Gradients:
    with emulated.machine(isa):
        layer = kernels.Layer(weights, isa=isa)
        y, _ = layer.forward(x, h0, threads=threads)
        return Gradients(*layer.backward(x, h0, y, dy, None, threads=threads))  # type: ignore[arg-type]


def as_model(weights: GRUWeights) -> Model:
    """A model of this one layer."""
    blocks = (spec.GRU(weights.input_size, weights.hidden_size, reset_after=weights.reset_after),)
    return Model(spec.Spec(blocks), dict(zip(spec.parameters(blocks), arrays(weights), strict=True)))


def _start(session: Session, h0: Array | None, batch: int) -> Any:
    state = session.initial_state(batch)
    return state if h0 is None else type(state)((h0,))


def _session_whole(weights: GRUWeights, x: Array, h0: Array | None) -> Array:
    session = Session(as_model(weights))
    return session.run(x, _start(session, h0, x.shape[1]))[0]


def _session_streamed(weights: GRUWeights, x: Array, h0: Array | None) -> Array:
    session = Session(as_model(weights))
    state, y = _start(session, h0, x.shape[1]), np.empty((*x.shape[:2], weights.hidden_size), np.float32)
    for t in range(len(x)):
        y[t], state = session.step(x[t], state)
    return y


def _of_torch(name: str, module: Callable[..., Any], dtype: torch.dtype, **options: Any) -> Implementation:
    kind = np.float64 if dtype == torch.float64 else np.float32
    forward, backward = partial(_torch_forward, module, dtype), partial(_torch_backward, module, dtype)
    return Implementation(name, kind, forward, backward, **options)


def lacking(isa: str) -> str:
    """Why an instruction set cannot be tested here; nothing where it can."""
    if isa in emulated.ISAS:
        return emulated.SKIP
    return "" if isa in kernels.isas() else f"this CPU cannot run {isa}"


def _of_kernels(isa: str, threads: int) -> Implementation:
    forward, backward = partial(_kernel_forward, isa, threads), partial(_kernel_backward, isa, threads)
    return Implementation(f"kernels-{isa}-{threads}", np.float32, forward, backward, skip=lacking(isa))


IMPLEMENTATIONS = (
    Implementation("reference", np.float64, _reference_forward, _reference_backward),
    _of_torch("torch-float64", torch_gru, torch.float64, reset_positions=(True,)),
    _of_torch("torch-float32", torch_gru, torch.float32, reset_positions=(True,)),
    _of_torch("spelled-out-float64", spelled_out, torch.float64),
    *(_of_kernels(isa, threads) for isa in ISAS for threads in (1, 2)),
    _of_torch("layer-float32", grus_gru, torch.float32),
    _of_torch("layer-float64", grus_gru, torch.float64),
    Implementation("session-whole", np.float32, _session_whole),
    Implementation("session-streamed", np.float32, _session_streamed),
)
