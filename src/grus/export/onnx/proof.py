"""A graph run by ONNX Runtime beside its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus import installed
from grus.errors import InputError
from grus.export.agreement import FACTOR, Agreement, Expected, moved, random_inputs
from grus.export.onnx.nodes import state_names
from grus.model import Model
from grus.runtime.session import Session
from grus.spec.chains import walk

__all__ = ["RUNS", "prove"]

Array = NDArray[Any]

RUNS = "running an ONNX file needs onnx and onnxruntime"


def prove(model: Model, data: bytes) -> Agreement:
    """The graph in ``data`` run by ONNX Runtime beside ``model`` on random inputs, whole and step by step.

    Raises InputError for a graph that has other inputs and outputs than those of :func:`to_onnx`, or that cannot be
    run, and without onnxruntime.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError(f"{RUNS}: {installed.command('onnx')}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it says is raised, too
    try:
        runtime = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return _compared(model, runtime)
    except InputError:
        raise
    except Exception as error:  # its exceptions have no class of their own in common
        raise InputError(f"ONNX Runtime cannot run this file for this model: {error}") from None


def _compared(model: Model, runtime: Any) -> Agreement:
    streams = model.spec.streams
    x = random_inputs(model, 24, 3)
    y, after = Session(model).run(x)
    names = state_names(len(after.arrays))
    inputs = ["x"] + [before for before, _ in names] * streams
    outputs = ["y"] + [next_ for _, next_ in names]
    there = [i.name for i in runtime.get_inputs()], [o.name for o in runtime.get_outputs()]
    if there != (inputs, outputs):
        raise InputError(f"the graph's inputs and outputs are {there}, those of this model {(inputs, outputs)}")
    expected = Expected(model, x)
    zeros = [np.zeros_like(a) for a in after.arrays]

    def call(x: Array, state: Sequence[Array]) -> list[Array]:
        given = {name: a for (name, _), a in zip(names, state, strict=True)} if streams else {}
        result: list[Array] = runtime.run(outputs, {"x": x} | given)
        return result

    whole, *end = call(x, zeros)
    found = [expected.compare(whole), expected.compare(y)]
    ends = [end]
    if streams:
        state, steps = zeros, []
        for t in range(len(x)):
            y_t, *state = call(x[t : t + 1], state)
            steps.append(y_t)
        found.append(expected.compare(np.concatenate(steps)))
        ends.append(state)
    pairs = [pair for e in ends for pair in zip(e, after.arrays, strict=True)]
    blocks = [block.facts for _, block in walk(model.spec.blocks)]
    sums = [facts.accumulates for facts in blocks for _ in facts.states] * len(ends)  # the others are within ±1
    lost = _spread(model, x, after.arrays) * len(ends)
    for (end_, right), sum_, spread in zip(pairs, sums, lost, strict=True):
        unit = max(len(x) if sum_ else 1, float(np.abs(right).max(initial=0)))
        allowed = 2 * max(float(expected.allowed[-1]), FACTOR * spread / unit)
        found.append(Agreement(float(np.abs(end_ - right).max(initial=0)) / unit, allowed, right.size))
    worst = max(found, key=lambda a: a.share)
    return Agreement(worst.error, worst.allowed, sum(a.numbers for a in found))


def _spread(model: Model, x: Array, after: Sequence[Array]) -> list[float]:
    """How far rounding takes each state: a readout of small weights hides it from what is allowed of the outputs."""
    largest = np.zeros(len(after))
    for seed in range(1, 5):
        rng = np.random.default_rng(seed)
        other = Model(model.spec, {name: moved(array, rng) for name, array in model.arrays.items()})
        _, state = Session(other).run(x)
        spreads = [np.abs(a - b).max(initial=0) for a, b in zip(state.arrays, after, strict=True)]
        largest = np.maximum(largest, spreads)
    return [float(one) for one in largest]
