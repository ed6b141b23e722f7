"""Grus: the kernels through NumPy, a session, and the PyTorch layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

import grus.torch
from benchmarks.cases import Problem
from benchmarks.gate import Arrays, named_gradients
from benchmarks.peers import Contestant, pytorch
from grus import Model, Session, set_num_threads, spec
from grus.runtime import kernels


def prepare(problem: Problem, threads: int) -> dict[str, Contestant]:
    """ "grus" is the kernels through NumPy: one layer by ``kernels.Layer``, a chain of them by ``Session.run``.

    A training step changes the weights, so that packing them is part of it. There "grus" keeps the gates of all steps,
    which is the fastest, and "grus.torch" as many as it does by default.
    """
    set_num_threads(threads)
    torch.set_num_threads(threads)
    case = problem.case
    if case.mode == "step":
        return _steps(problem)
    module = grus.torch.GRU(
        case.I, case.H, case.layers, bidirectional=case.bidirectional, reset_after=not case.reset_before
    )
    pytorch.load(module, problem)
    found = {"grus.torch": pytorch.contestant(module, problem)}
    if case.plain and case.mode == "train":
        found["grus"] = Contestant(partial(_train, problem), partial(_gradients, problem))
    elif case.plain:
        ((_, weights),) = problem.layers[0]
        found["grus"] = Contestant(partial(kernels.Layer(weights).forward, problem.x), _sequence)
    elif case.mode == "forward":
        found["grus"] = Contestant(partial(_session(problem).run, problem.x), _sequence)
    return found


def _session(problem: Problem) -> Session:
    case = problem.case
    blocks = (
        spec.GRU(case.I, case.H, case.layers, bidirectional=case.bidirectional, reset_after=not case.reset_before),
    )
    return Session(Model(spec.Spec(blocks), {f"0.{name}": array for name, array in problem.weights.items()}))


def _steps(problem: Problem) -> dict[str, Contestant]:
    ((_, weights),) = problem.layers[0]
    x, h = problem.x[0], problem.h0
    assert h is not None
    session = _session(problem)
    state = type(session.initial_state(len(h)))((h,))
    return {
        "grus": Contestant(partial(kernels.Layer(weights).step, x, h), lambda y: {"y": y[None]}),
        "grus.Session": Contestant(partial(session.step, x, state), lambda result: {"y": result[0][None]}),
    }


def _sequence(result: Any) -> Arrays:
    return {"y": result[0]}


def _train(problem: Problem) -> tuple[Any, kernels.Gradients]:
    ((_, weights),) = problem.layers[0]
    layer = kernels.Layer(weights, training=True)
    gates = layer.gates(problem.case.T, problem.case.B)
    y, _ = layer.forward(problem.x, gates=gates)
    return y, layer.backward(problem.x, None, y, problem.dy, gates=gates)


def _gradients(problem: Problem, result: tuple[Any, kernels.Gradients]) -> Arrays:
    y, gradients = result
    assert gradients.dx is not None
    ((suffix, _),) = problem.layers[0]
    return {"y": y, "dx": gradients.dx, **named_gradients(suffix, gradients)}
