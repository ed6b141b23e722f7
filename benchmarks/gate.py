"""The gate: float64 results of a problem, and whether a contestant's are right by the one rule of decision 5."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Problem
from grus import reference
from grus.weights import GRUWeights

Arrays = dict[str, NDArray[Any]]


def _tolerance() -> Any:
    # by its path: tests/ on sys.path would offer its folder torch/ as a module
    path = Path(__file__).parent.parent / "tests" / "tolerance.py"
    found = importlib.util.spec_from_file_location("tolerance", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


check_float32 = _tolerance().check_float32


def verdict(got: Arrays, exact: Arrays, baseline: Arrays) -> str:
    """What is wrong with a contestant's results, or "" where nothing is."""
    if got.keys() != exact.keys():
        return f"gave {sorted(got)}, expected {sorted(exact)}"
    for name, values in exact.items():
        try:
            check_float32(name, got[name], values, baseline[name])
        except AssertionError as error:
            return str(error)
    return ""


def exact(problem: Problem) -> Arrays:
    """In float64: y [T, B, directions · H]; for ``train`` also dx, and the gradients by the names of the weights."""
    case = problem.case
    x = problem.x.astype(np.float64)
    h0 = np.zeros((case.B, case.H)) if problem.h0 is None else problem.h0
    inputs = []
    for directions in problem.layers:
        inputs.append(x)
        outputs = []
        for (_, weights), time in zip(directions, _TIMES, strict=False):
            y = reference.forward(x[time], h0, *_arrays(weights), reset_after=weights.reset_after)
            outputs.append(y[time])
        x = np.concatenate(outputs, axis=-1)
    results: Arrays = {"y": x}
    if case.mode != "train":
        return results

    dy = problem.dy.astype(np.float64)
    for directions, x in zip(reversed(problem.layers), reversed(inputs), strict=True):
        dx = np.zeros_like(x)
        by_output = np.split(dy, len(directions), axis=-1)
        for (suffix, weights), time, by_own in zip(directions, _TIMES, by_output, strict=False):
            g = reference.backward(x[time], h0, *_arrays(weights), dy=by_own[time], reset_after=weights.reset_after)
            dx += g.dx[time]
            results |= named_gradients(suffix, g)
        dy = dx
    return results | {"dx": dy}


_TIMES = (slice(None), slice(None, None, -1))  # one direction walks from the first step, the other from the last


def _arrays(weights: GRUWeights) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    return weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh


def named_gradients(suffix: str, gradients: Any) -> Arrays:
    """dW, dU, db_i and db_h by the names of ``torch.nn.GRU``."""
    names = {"weight_ih": "dW", "weight_hh": "dU", "bias_ih": "db_i", "bias_hh": "db_h"}
    return {name + suffix: getattr(gradients, field) for name, field in names.items()}
