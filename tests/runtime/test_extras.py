"""Lengths, restarts, zoneout, state dropout and layer normalisation by address, on all instruction sets.

Weights read as they are given have the bits of packed ones, and both are right.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_invariance import isas
from tolerance import check_float32

from grus.runtime import kernels
from grus.torch.recurrence import plain
from grus.torch.recurrence.types import Direction

Array = NDArray[Any]


class Case(NamedTuple):
    """``save``: the last steps whose gates are left for the way back; ``options``: words of the functions below."""

    sizes: tuple[int, int, int, int]  # T, B, I, H
    options: str
    reset_after: bool = True
    reverse: bool = False
    threads: int = 1
    save: int = 0


ADDED_TO = 0.5  # what is in the place of the gradient by the state of restarts

ALL = "skip restart start zone drop norm h0 dh_n"
CASES = [
    Case((3, 5, 7, 9), "skip h0 dh_n"),
    Case((4, 10, 3, 6), "skip", reset_after=False, reverse=True, save=2),
    Case((2, 3, 3, 5), "skip all_skip h0 dh_n", save=1),
    Case((3, 4, 5, 17), "restart h0", save=1),
    Case((5, 3, 2, 10), "restart start", reset_after=False, reverse=True, save=5),
    Case((2, 3, 4, 7), "zone h0 bare", save=1),
    Case((3, 2, 20, 13), "zone_all dh_n", reset_after=False, reverse=True),
    Case((4, 6, 1, 5), "drop h0", save=2),
    Case((3, 9, 6, 18), "drop dh_n add_dx", reset_after=False, save=1),
    Case((3, 4, 0, 11), "norm h0", save=2),
    Case((4, 2, 0, 7), "norm bare dh_n", reset_after=False, reverse=True, save=1),
    Case((1, 1, 1, 1), "restart start zone drop h0"),
    Case((1, 10, 12, 66), "skip restart start zone_all drop h0", reset_after=False),
    Case((1, 10, 0, 66), "skip norm drop h0 dh_n"),
    Case((6, 10, 0, 23), ALL, save=3),
    Case((6, 10, 0, 23), ALL, reset_after=False, reverse=True, save=3),
    # shared out by rows, and by units
    Case((6, 10, 20, 70), "skip restart start zone drop h0 dh_n add_dx", threads=2, save=3),
    Case((6, 10, 0, 70), ALL, reset_after=False, threads=2),
    Case((6, 3, 20, 70), "skip restart start zone_all drop h0", reset_after=False, reverse=True, threads=2, save=4),
    Case((6, 3, 0, 70), ALL, reverse=True, threads=2, save=2),
]


@lru_cache
def problem(case: Case) -> dict[str, Array]:
    """Arrays by name, of them those that the options name."""
    T, B, I, H = case.sizes  # noqa: E741
    rng, options = np.random.default_rng(case.sizes), case.options.split()

    def drawn(*shape: int) -> Array:
        return rng.normal(0, 1, shape).astype(np.float32)

    norm, lengths = "norm" in options, np.append(rng.integers(0, T + 1, B - 1), T)
    skip = (np.arange(T)[:, None] >= lengths) & ("skip" in options)
    skip[:, 0] |= "skip" in options and B > 1  # a row without a step
    skip |= "all_skip" in options
    restart = (rng.random((T, B)) < 0.4) & ~skip & ("restart" in options)
    marks = (skip * kernels.SKIP + restart * kernels.RESTART).astype(np.uint8)
    found = {
        "x": drawn(T, B, 3 * H if norm else I),
        "weight_hh": drawn(3 * H, H) / np.float32(np.sqrt(H)),
        "dy": drawn(T, B, H),
        "dx": drawn(T, B, 3 * H if norm else I),
    }
    optional = {
        "weight_ih": (not norm, drawn(3 * H, I)),
        "bias_ih": (not norm and "bare" not in options, drawn(3 * H)),
        "bias_hh": ("bare" not in options, drawn(3 * H)),
        "gain_hh": (norm, drawn(3 * H)),
        "marks": ("skip" in options or "restart" in options, marks),
        "zone": ("zone" in options, rng.random((T, B, H)).astype(np.float32)),
        "drop": ("drop" in options, ((rng.random((B, H)) < 0.7) / 0.7).astype(np.float32)),
        **{name: (name in options, drawn(B, H)) for name in ("h0", "start", "dh_n")},
    }
    return found | {name: array for name, (there, array) in optional.items() if there}


def by_kernels(case: Case, as_given: bool) -> dict[str, Array]:
    """Both passes of one call, and what they give by name."""
    T, B, _, H = case.sizes
    given, options = problem(case), case.options.split()
    I = given["x"].shape[2]  # noqa: E741
    shapes = {"y": (T, B, H), "h_n": (B, H), "dx": (T, B, I), "dh0": (B, H), "drestart": (B, H)}
    left_out = {"dW", "db_i"} if "norm" in options else {"dgain"}
    left_out |= set() if "start" in options else {"drestart"}
    by_weights = {"dW": (3 * H, I), "dU": (3 * H, H), "db_i": (3 * H,), "db_h": (3 * H,), "dgain": (3 * H,)}
    found = {name: np.full(shape, np.nan, np.float32) for name, shape in {**shapes, **by_weights}.items()}
    found = {name: array for name, array in found.items() if name not in left_out}
    if "add_dx" in options:
        found["dx"][...] = given["dx"]
    if "start" in options:
        found["drestart"][...] = ADDED_TO

    def at(arrays: dict[str, Array], name: str) -> int:
        return arrays[name].ctypes.data if name in arrays else 0

    def sequence(arrays: dict[str, Array], name: str) -> tuple[int, int, int]:
        return at(arrays, name), B * arrays[name].shape[2], arrays[name].shape[2]

    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "gain_hh")
    make = kernels.Layer.given if as_given else kernels.Layer.at
    layer = make(I, H, tuple(at(given, name) for name in names), case.reset_after)  # type: ignore[arg-type]
    more = kernels.Extras(
        marks=at(given, "marks"),
        restart=(at(given, "start"), H),
        zone=at(given, "zone"),
        zone_all=0.25 if "zone_all" in options else 0.0,
        drop=at(given, "drop"),
    )
    shared: dict[str, Any] = {
        "steps": T,
        "batch": B,
        "x": sequence(given, "x"),
        "h0": (at(given, "h0"), H),
        "y": sequence(found, "y"),
        "reverse": case.reverse,
        "gates": layer.gates(T, B, save=case.save).native if case.save else None,
        "more": more,
    }
    before = kernels.get_num_threads()
    kernels.set_num_threads(case.threads)
    try:
        layer.forward_at(kernels.ForwardCall(**shared, h_n=at(found, "h_n")))
        layer.backward_at(
            kernels.BackwardCall(
                **shared,
                dy=sequence(given, "dy"),
                dh_n=at(given, "dh_n"),
                dx=sequence(found, "dx"),
                add_dx="add_dx" in options,
                dh0=at(found, "dh0"),
                by_weights=tuple(at(found, name) for name in by_weights),  # type: ignore[arg-type]
                drestart=at(found, "drestart"),
            )
        )
    finally:
        kernels.set_num_threads(before)
    return found


@lru_cache
def by_formula(case: Case, dtype: torch.dtype) -> dict[str, Array]:
    """The same by the formulas in PyTorch, a step at a time."""
    T, B, _, H = case.sizes
    given = {name: torch.from_numpy(array) for name, array in problem(case).items()}
    given = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in given.items()}
    marks = given.get("marks", torch.zeros(T, B, dtype=torch.uint8))
    inputs = {"x": "dx", "h0": "dh0", "weight_ih": "dW", "weight_hh": "dU", "bias_ih": "db_i", "bias_hh": "db_h"}
    inputs |= {"gain_hh": "dgain", "start": "drestart"}
    shapes = {"h0": (B, H), "dh_n": (B, H), "bias_hh": (3 * H,)} | ({} if "gain_hh" in given else {"bias_ih": (3 * H,)})
    for name, shape in shapes.items():  # what is not there has a gradient all the same
        given.setdefault(name, torch.zeros(shape, dtype=dtype))
    leaves = {name: given[name].requires_grad_() for name in inputs if name in given}
    one = Direction(
        *(leaves.get(name) for name in ("x", "h0", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "gain_hh", "start")),
        skip=(marks & kernels.SKIP) != 0,
        restart=(marks & kernels.RESTART) != 0,
        zone_mask=given.get("zone"),
        drop=given.get("drop"),
        zone=0.25 if "zone_all" in case.options else 0.0,
        reset_after=case.reset_after,
        reverse=case.reverse,
    )
    y, h_n = plain.layer([one])
    loss = (y * given["dy"]).sum() + (h_n[0] * given["dh_n"]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    found = {"y": y, "h_n": h_n[0]} | {inputs[name]: by for name, by in zip(leaves, gradients, strict=True)}
    if "add_dx" in case.options:
        found["dx"] = found["dx"] + given["dx"]
    if "drestart" in found:
        found["drestart"] = found["drestart"] + ADDED_TO
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


@isas
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.options.replace(" ", "-"))
def test_packed_and_as_given(isa: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUS_ISA", isa)
    packed, given = by_kernels(case, as_given=False), by_kernels(case, as_given=True)
    exact, baseline = by_formula(case, torch.float64), by_formula(case, torch.float32)
    assert packed.keys() == given.keys() == exact.keys()
    for name, right in exact.items():
        assert given[name].tobytes() == packed[name].tobytes(), name
        check_float32(name, packed[name], right, baseline[name])
