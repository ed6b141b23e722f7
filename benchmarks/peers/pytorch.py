"""PyTorch: ``torch.nn.GRU``, and where it has no such model the equations spelled out."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import Problem
from benchmarks.gate import Arrays
from benchmarks.peers import Contestant


def prepare(problem: Problem, threads: int) -> dict[str, Contestant]:
    torch.set_num_threads(threads)
    case = problem.case
    sizes = (case.I, case.H, case.layers)
    kind = ResetBefore if case.reset_before else nn.GRU
    module = load(kind(*sizes, bidirectional=case.bidirectional), problem)
    found = {"torch": contestant(module, problem)}
    if case.mode == "step" and not case.reset_before:
        found["torch.GRUCell"] = _cell(problem)
    return found


def load(module: nn.Module, problem: Problem) -> nn.Module:
    module.load_state_dict({name: torch.from_numpy(array) for name, array in problem.weights.items()})
    return module


def contestant(module: nn.Module, problem: Problem) -> Contestant:
    """Inference of a module with the interface of ``torch.nn.GRU``, or its forward and backward pass."""
    x = torch.from_numpy(problem.x)
    h0 = None if problem.h0 is None else torch.from_numpy(problem.h0)[None]
    if problem.case.mode != "train":
        return Contestant(partial(_infer, module, x, h0), lambda result: {"y": result[0].numpy()})
    leaves = {"dx": x.requires_grad_(), **dict(module.named_parameters())}
    dy = torch.from_numpy(problem.dy)
    return Contestant(partial(_train, module, x, dy, tuple(leaves.values())), partial(_gradients, tuple(leaves)))


@torch.inference_mode()
def _infer(module: nn.Module, x: Tensor, h0: Tensor | None) -> Any:
    return module(x, h0)


def _train(module: nn.Module, x: Tensor, dy: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    for weight in leaves[1:]:
        torch.autograd.graph.increment_version(weight)  # as an optimiser's step does: nothing kept of it is valid
    y = module(x)[0]
    return (y, *torch.autograd.grad(y, leaves, dy))


def _gradients(names: tuple[str, ...], result: tuple[Tensor, ...]) -> Arrays:
    return {name: value.detach().numpy() for name, value in zip(("y", *names), result, strict=True)}


def _cell(problem: Problem) -> Contestant:
    cell = nn.GRUCell(problem.case.I, problem.case.H)
    cell.load_state_dict({name.removesuffix("_l0"): torch.from_numpy(a) for name, a in problem.weights.items()})
    x, h = torch.from_numpy(problem.x[0]), torch.from_numpy(problem.h0)
    return Contestant(partial(_infer, cell, x, h), lambda y: {"y": y.numpy()[None]})


class ResetBefore(nn.Module):
    """What one writes in PyTorch for the papers' form, which ``torch.nn.GRU`` does not have."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, *, bidirectional: bool) -> None:
        super().__init__()
        like = nn.GRU(input_size, hidden_size, num_layers, bidirectional=bidirectional)
        self.hidden_size = hidden_size
        self.suffixes = [name.removeprefix("weight_ih") for name in like.state_dict() if name.startswith("weight_ih")]
        self.directions = 2 if bidirectional else 1
        for name, value in like.named_parameters():
            self.register_parameter(name, value)

    def forward(self, x: Tensor, h0: Tensor | None = None) -> tuple[Tensor]:
        outputs: list[Tensor] = []
        for suffix in self.suffixes:
            if len(outputs) == self.directions:
                x, outputs = torch.cat(outputs, -1), []
            h = x.new_zeros(x.shape[1], self.hidden_size) if h0 is None else h0[0]
            outputs.append(self._direction(x, h, suffix))
        return (torch.cat(outputs, -1) if self.directions > 1 else outputs[0],)

    def _direction(self, x: Tensor, h: Tensor, suffix: str) -> Tensor:
        W, U, b_i, b_h = (getattr(self, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        H = self.hidden_size
        projected = nn.functional.linear(x, W, b_i)
        U_rz, U_n, b_rz, b_n = U[: 2 * H], U[2 * H :], b_h[: 2 * H], b_h[2 * H :]
        backwards = suffix.endswith("reverse")
        states = []
        for a in reversed(projected.unbind()) if backwards else projected.unbind():
            r, z = torch.sigmoid(a[:, : 2 * H] + torch.addmm(b_rz, h, U_rz.T)).chunk(2, -1)
            n = torch.tanh(a[:, 2 * H :] + torch.addmm(b_n, r * h, U_n.T))
            h = torch.lerp(n, h, z)
            states.append(h)
        return torch.stack(states[::-1] if backwards else states)
