"""The kernels' own door: what is written, what is refused, which instruction set runs, how fast odd numbers are."""

from __future__ import annotations

import time
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from implementations import NATIVE_ISAS, arrays, baseline, case, exact, float32_baseline
from numpy.typing import NDArray
from test_invariance import isas, native_isas, reset
from tolerance import check_float32

from grus import reference
from grus.errors import InputError
from grus.runtime import _native, kernels
from grus.weights import GRUWeights

Array = NDArray[np.float32]
CANARY = np.float32(1.25e30)


def surrounded(*shape: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A slice of NaN in a larger array of canaries, with strides of its own in every axis but the last."""
    around = np.full([size + 4 for size in shape[:-1]] + [shape[-1] + 40], CANARY, np.float32)
    inside = around[(*[slice(2, -2)] * (len(shape) - 1), slice(19, 19 + shape[-1]))]
    inside[...] = np.nan
    return around, inside


def check_written(around: NDArray[np.float32], inside: NDArray[np.float32], right: NDArray[np.float32]) -> None:
    assert inside.tobytes() == right.tobytes()
    inside[...] = CANARY
    assert (around == CANARY).all(), "written outside of out"


@isas
@reset
@pytest.mark.parametrize("size", [(3, 5, 7, 17), (2, 9, 63, 65), (4, 1, 1, 1), (3, 33, 16, 16), (2, 3, 16, 130)])
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_written_whole_and_nothing_else(
    isa: str, reset_after: bool, size: tuple[int, int, int, int], threads: int
) -> None:
    T, B, _, H = size
    weights, x, h0, _ = case(*size, reset_after)
    layer = kernels.Layer(weights, isa=isa)
    for reverse in (False, True):
        around, inside = surrounded(T, B, H)
        y, h_n = layer.forward(x, h0, reverse=reverse, out=inside, threads=threads)
        assert y is inside
        right = layer.forward(x, h0, reverse=reverse)[0]
        assert h_n.tobytes() == right[0 if reverse else -1].tobytes() and not np.may_share_memory(h_n, y)
        check_written(around, inside, right)
    around, inside = surrounded(B, H)
    layer.step(x[0], h0, out=inside)
    check_written(around, inside, layer.forward(x[:1], h0)[0][0])
    dense = kernels.Dense(weights.weight_ih, weights.bias_ih, isa=isa)
    around, inside = surrounded(T, B, 3 * H)
    dense(x, out=inside, threads=threads)
    check_written(around, inside, dense(x))


@isas
@reset
def test_backward_reads_any_layout(isa: str, reset_after: bool) -> None:
    problem = (5, 6, 7, 17, reset_after)
    weights, x, h0, dy = case(*problem)
    layer = kernels.Layer(weights, isa=isa)
    y, _ = layer.forward(x, h0)
    right = layer.backward(x, h0, y, dy)
    others = []
    for array in (x, y, dy):
        around, inside = surrounded(*array.shape)
        around[...] = np.nan
        inside[...] = array
        others.append(inside)
    got = layer.backward(others[0], h0, others[1], others[2])
    for name, one, other in zip(right._fields, right, got, strict=True):
        assert one is not None and other is not None
        assert one.tobytes() == other.tobytes(), name


@isas
@reset
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("h0", [True, False], ids=["h0", "none"])
def test_gradient_by_the_last_state(isa: str, reset_after: bool, reverse: bool, h0: bool) -> None:
    problem = (5, 6, 7, 17, reset_after)
    weights, x, start, dy = case(*problem)
    start = start if h0 else np.zeros_like(start)
    layer = kernels.Layer(weights, isa=isa)
    y, h_n = layer.forward(x, start if h0 else None, reverse=reverse)
    order = slice(None, None, -1 if reverse else 1)
    by_last = np.zeros_like(dy)
    by_last[-1] = h_n
    for dy_given, dh_n in ((None, h_n), (dy, h_n), (dy, None), (None, None)):
        total = (0 if dy_given is None else dy_given[order]) + (0 if dh_n is None else by_last)
        total = np.broadcast_to(np.float32(total), dy.shape)
        right = reference.backward(x[order], start, *arrays(weights), total, reset_after=reset_after)
        got = layer.backward(x, start if h0 else None, y, dy_given, dh_n, reverse=reverse)
        in_torch = float32_baseline(weights, x[order].copy(), start, total.copy()).gradients
        assert got.dx is not None
        for name, a, b, c in zip(got._fields, got._replace(dx=got.dx[order]), right, in_torch, strict=True):
            assert a is not None
            check_float32(name, a, b, c)


@isas
def test_gradients_not_wanted(isa: str) -> None:
    weights, x, h0, dy = case(5, 6, 7, 17, True)
    layer = kernels.Layer(weights, isa=isa)
    y, _ = layer.forward(x, h0)
    full = layer.backward(x, h0, y, dy)
    only_input = layer.backward(x, h0, y, dy, weight_gradients=False)
    only_weights = layer.backward(x, h0, y, dy, input_gradient=False)
    assert only_input[2:] == (None,) * 4 and only_weights.dx is None
    assert only_input.dx is not None and full.dx is not None and only_input.dx.tobytes() == full.dx.tobytes()
    for one, other in zip(only_weights[1:], full[1:], strict=True):
        assert one is not None and other is not None
        assert one.tobytes() == other.tobytes()


@isas
@reset
def test_long_sequences_and_large_batches_are_cut_alike(isa: str, reset_after: bool) -> None:
    """Longer than any chunk: the seams of the forward and the backward pass lie inside."""
    problem = (600, 3, 4, 9, reset_after)
    weights, x, h0, dy = case(*problem)
    layer = kernels.Layer(weights, isa=isa)
    for threads in (1, 2):
        y, _ = layer.forward(x, h0, threads=threads)
        check_float32("y", y, exact(problem).y, baseline(problem).y)
        got = layer.backward(x, h0, y, dy, threads=threads)
        for name, a, b, c in zip(got._fields, got, exact(problem).gradients, baseline(problem).gradients, strict=True):
            assert a is not None
            check_float32(name, a, b, c)


@isas
def test_dense_is_exact(isa: str, rng: np.random.Generator) -> None:
    for inputs, outputs in ((1, 1), (7, 19), (130, 65)):
        weight, bias = rng.normal(size=(outputs, inputs)), rng.normal(size=outputs)
        x = rng.normal(size=(4, 5, inputs)).astype(np.float32)
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        for given in (bias, None):
            right = x.astype(np.float64) @ weight.T.astype(np.float64) + (0 if given is None else given)
            tensors = [None if a is None else torch.from_numpy(a) for a in (x, weight, given)]
            check_float32(
                "y",
                kernels.Dense(weight, given, isa=isa)(x),
                right,
                torch.nn.functional.linear(*tensors).numpy(),  # type: ignore[arg-type]
            )
    assert kernels.Dense(weight, bias, isa=isa)(x[:0]).shape == (0, 5, 65)


@isas
@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_activation_is_exact(isa: str, function: Any) -> None:
    x = np.concatenate([np.linspace(-20, 20, 40001), np.logspace(-44, 38, 1001), -np.logspace(-44, 38, 1001)])
    x = x.astype(np.float32)
    wide = x.astype(np.float64)
    right = np.tanh(wide) if function == "tanh" else reference.sigmoid(wide)
    in_torch = getattr(torch, function)(torch.from_numpy(x)).numpy()
    check_float32(function, kernels.activate(x, function, isa=isa), right, in_torch)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    low = -1.0 if function == "tanh" else 0.0
    middle = 0.0 if function == "tanh" else 0.5
    assert np.array_equal(kernels.activate(odd, function, isa=isa), [np.nan, 1.0, low, middle, middle], equal_nan=True)


def seconds(call: Callable[..., object], *args: object) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        call(*args)
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.alone
@native_isas
@reset
@pytest.mark.parametrize("tiny", ["inputs", "weights"])
def test_denormals_are_no_slower(isa: str, reset_after: bool, tiny: str) -> None:
    weights, x, h0, dy = case(60, 16, 64, 64, reset_after)
    scale = np.float32(1e-40)
    usual = odd = kernels.Layer(weights, isa=isa)
    odd_x, odd_h0 = (x * scale, h0 * scale) if tiny == "inputs" else (x, h0)
    if tiny == "weights":
        odd = kernels.Layer(GRUWeights(*(a * scale for a in arrays(weights)), reset_after=reset_after), isa=isa)
    y = usual.forward(x, h0)[0]

    def forward(layer: kernels.Layer, x: Array, h0: Array) -> None:
        layer.forward(x, h0, threads=1)

    def backward(layer: kernels.Layer, x: Array, h0: Array, dy: Array) -> None:
        layer.backward(x, h0, y, dy, threads=1)

    # least of seven, and a generous bound: an assist on every operation costs a factor of 20 and more
    assert seconds(forward, odd, odd_x, odd_h0) < 4 * seconds(forward, usual, x, h0) + 1e-3
    assert seconds(backward, odd, odd_x, odd_h0, dy * scale) < 4 * seconds(backward, usual, x, h0, dy) + 1e-3


@native_isas
@pytest.mark.parametrize("flush", [False, True])
def test_the_callers_floating_point_mode_is_left_as_it_was(isa: str, flush: bool) -> None:
    weights, x, h0, dy = case(5, 6, 7, 17, True)
    layer, denormal = kernels.Layer(weights, isa=isa), np.full(3, 1e-40, np.float32)

    def kept() -> bool:
        return bool((denormal * np.float32(0.5)).any()) != flush

    if not torch.set_flush_denormal(flush):
        pytest.skip("this CPU cannot flush denormals")
    try:
        assert kept()
        for threads in (1, 2):
            y, _ = layer.forward(x, h0, threads=threads)
            assert kept()
            layer.backward(x, h0, y, dy, threads=threads)
            assert kept()
        layer.step(x[0], h0)
        kernels.Dense(weights.weight_ih, None, isa=isa)(x)
        kernels.activate(x, "tanh", isa=isa)
        assert kept()
    finally:
        torch.set_flush_denormal(False)


SHOW = "from grus.runtime import kernels; print(kernels.default_isa())"


def test_isas_are_known_and_the_best_is_the_default(python: Callable[..., CompletedProcess[str]]) -> None:
    found = kernels.isas()
    assert found[-1] == "generic" and list(found) == [isa for isa in NATIVE_ISAS if isa in found]
    assert python(SHOW, GRUS_ISA="").stdout.split() == [found[0]]


@pytest.mark.parametrize("isa", kernels.isas())
def test_grus_isa_overrides(isa: str, python: Callable[..., CompletedProcess[str]]) -> None:
    assert python(SHOW, GRUS_ISA=isa).stdout.split() == [isa]


def test_grus_isa_that_cannot_run_raises(python: Callable[..., CompletedProcess[str]]) -> None:
    cannot = next((isa for isa in ("neon", "avx2") if isa not in kernels.isas()), "mmx")
    for isa in (cannot, "quantum"):
        result = python(SHOW, GRUS_ISA=isa)
        assert result.returncode == 1 and f"GRUS_ISA is {isa!r}" in result.stderr.replace('"', "'")


X, H0, DY = (np.zeros(shape, np.float32) for shape in ((5, 3, 4), (3, 6), (5, 3, 6)))
WEIGHTS = case(5, 3, 4, 6, True).weights
LAYER, DENSE = kernels.Layer(WEIGHTS), kernels.Dense(WEIGHTS.weight_ih, WEIGHTS.bias_ih)
READ_ONLY = np.zeros((5, 3, 6), np.float32)
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LAYER.forward(X[0]), r"x has shape \(3, 4\), expected \(T, B, 4\)"),
        (lambda: LAYER.forward(X[:, :, :3]), r"x has shape \(5, 3, 3\), expected \(T, B, 4\)"),
        (lambda: LAYER.forward(X.astype(np.float64)), "x is float64, expected float32"),
        (lambda: LAYER.forward(X.astype(">f4")), "x is >f4, expected float32"),
        (lambda: LAYER.forward(X.tolist()), "x is a list, expected a NumPy array"),
        (lambda: LAYER.forward(X, H0[:2]), r"h0 has shape \(2, 6\), expected \(3, 6\)"),
        (lambda: LAYER.forward(X, H0[None]), r"h0 has shape \(1, 3, 6\), expected \(3, 6\)"),
        (lambda: LAYER.forward(X, H0.astype(np.float16)), "h0 is float16, expected float32"),
        (lambda: LAYER.forward(X, out=DY[:4]), r"out has shape \(4, 3, 6\), expected \(5, 3, 6\)"),
        (lambda: LAYER.forward(X, out=DY.astype(np.float64)), "out is float64"),
        (lambda: LAYER.forward(X, out=np.asfortranarray(DY)), "out must be writeable and contiguous"),
        (lambda: LAYER.forward(X, out=READ_ONLY), "out must be writeable"),
        (lambda: LAYER.forward(X, np.zeros_like(DY)[0], out=DY, threads=0), "threads is 0"),
        (lambda: LAYER.forward(X, threads=1.5), "threads is 1.5"),
        (lambda: LAYER.forward(DY[:, :, :4], out=DY), "out shares memory with an input"),
        (lambda: LAYER.step(X, H0), r"x has shape \(5, 3, 4\), expected \(B, 4\)"),
        (lambda: LAYER.step(X[0], H0[:1]), r"h has shape \(1, 6\), expected \(3, 6\)"),
        (lambda: LAYER.step(X[0], H0, out=H0), "out shares memory with an input"),
        (lambda: LAYER.step(X[0], H0, out=H0[:, :4]), r"out has shape \(3, 4\)"),
        (lambda: LAYER.backward(X, H0, DY[:, :, :5], DY), r"y has shape \(5, 3, 5\)"),
        (lambda: LAYER.backward(X, H0, DY, DY[:4]), r"dy has shape \(4, 3, 6\)"),
        (lambda: LAYER.backward(X, H0, DY, DY, H0[:1]), r"dh_n has shape \(1, 6\)"),
        (lambda: LAYER.backward(X, H0, DY, DY.astype(np.float64)), "dy is float64"),
        (lambda: kernels.Layer(WEIGHTS, isa="quantum"), "isa is 'quantum', expected one that runs here: "),
        (lambda: DENSE(X[:, :, :3]), r"x has shape \(5, 3, 3\)"),
        (lambda: DENSE(X.astype(np.int32)), "x is int32, expected float32"),
        (lambda: DENSE(np.float32(1)), "x is float32, expected a NumPy array"),
        (lambda: DENSE(X, out=X), r"out has shape \(5, 3, 4\), expected \(5, 3, 18\)"),
        (lambda: kernels.Dense(X, None), r"weight has shape \(5, 3, 4\)"),
        (lambda: kernels.Dense(X[0], H0[0]), r"bias has shape \(6,\), expected \(3,\)"),
        (lambda: kernels.Dense(np.zeros((0, 4), np.float32)), r"weight has shape \(0, 4\)"),
        (lambda: kernels.activate(X, "relu"), "function is 'relu', expected 'sigmoid' or 'tanh'"),  # type: ignore[arg-type]
        (lambda: kernels.activate(X.astype(np.float64), "tanh"), "x is float64"),  # type: ignore[arg-type]
        (lambda: kernels.set_num_threads(0), "count is 0, expected an integer from 1"),
        (lambda: kernels.set_num_threads(True), "count is True"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_weights_must_be_float32() -> None:
    wide = GRUWeights(*(a.astype(np.float64) for a in arrays(WEIGHTS)))
    with pytest.raises(InputError, match="weight_ih is float64, expected float32"):
        kernels.Layer(wide)


def test_a_layer_keeps_its_own_weights() -> None:
    own = [a.copy() for a in arrays(WEIGHTS)]
    layer = kernels.Layer(GRUWeights(*own))
    _, x, h0, dy = case(5, 3, 4, 6, True)
    y = layer.forward(x, h0)[0]
    for a in own:
        a[...] = 7
    assert layer.forward(x, h0)[0].tobytes() == y.tobytes()
    again, right = layer.backward(x, h0, y, dy), LAYER.backward(x, h0, y, dy)
    assert again.dx is not None and right.dx is not None and again.dx.tobytes() == right.dx.tobytes()


def test_calls_are_read_field_by_field_in_their_order() -> None:
    calls = (kernels.Extras, kernels.ForwardCall, kernels.BackwardCall)
    assert _native.fields() == {call.__name__: list(call._fields) for call in calls}


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 1.5},
        {"x": (0, 0)},
        {"x": (0, 0, 0, 0)},
        {"h0": None},
        {"reverse": 2},
        {"gates": "none"},
        {"more": (0, (0, 0), 0, 0.0)},
        {"more": kernels.Extras(restart=0)},  # type: ignore[arg-type]
    ],
)
def test_a_call_of_other_types_is_refused(wrong: dict[str, Any]) -> None:
    nowhere = (0, 0, 0)
    given = {"steps": 1, "batch": 1, "x": nowhere, "h0": (0, 0), "y": nowhere, "h_n": 0, "reverse": False}
    with pytest.raises(TypeError, match="incompatible function arguments"):
        LAYER.forward_at(kernels.ForwardCall(**{**given, **wrong}))
    for count in (6, 10):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            LAYER.forward_at(tuple(range(count)))  # type: ignore[arg-type]
