"""What ``torch.nn.GRU`` refuses, ``grus.torch.GRU`` refuses in the same words; and what only one of them takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import grus.torch
from grus import InputError

CONSTRUCTIONS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((0, 7), {}),
    ((5, 0), {}),
    ((-1, 7), {}),
    ((5.0, 7), {}),
    ((5, "7"), {}),
    ((5, 7, 0), {}),
    ((5, 7), {"bias": 1}),
    ((5, 7), {"batch_first": None}),
    ((5, 7), {"dropout": 1.5}),
    ((5, 7), {"dropout": -0.1}),
    ((5, 7), {"dropout": True}),
    ((5, 7), {"dropout": "half"}),
]


@pytest.mark.parametrize(("arguments", "options"), CONSTRUCTIONS, ids=str)
def test_constructor_errors_are_those_of_pytorch(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    errors = []
    for kind in (torch.nn.GRU, grus.torch.GRU):
        with pytest.raises((ValueError, TypeError)) as caught:
            kind(*arguments, **options)
        errors.append((type(caught.value), str(caught.value)))
    # where PyTorch itself stumbles over the value before its own check, only the kind of error counts
    if "should be" in errors[0][1] or "must be" in errors[0][1]:
        assert errors[1] == errors[0]


def test_the_warning_of_dropout_is_that_of_pytorch() -> None:
    messages = []
    for kind in (torch.nn.GRU, grus.torch.GRU):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kind(5, 7, dropout=0.5)
        assert len(caught) == 1
        messages.append((caught[0].category, str(caught[0].message)))
    assert messages[0] == messages[1] and caught[0].filename == __file__


CALLS: dict[str, Callable[[Any], Any]] = {
    "1-D": lambda m: m(torch.zeros(5)),
    "4-D": lambda m: m(torch.zeros(1, 1, 1, 5)),
    "features": lambda m: m(torch.zeros(6, 4, 3)),
    "unbatched features": lambda m: m(torch.zeros(6, 3)),
    "dtype": lambda m: m(torch.zeros(6, 4, 5, dtype=torch.float64)),
    "integers": lambda m: m(torch.zeros(6, 4, 5, dtype=torch.int64)),
    "h0 2-D": lambda m: m(torch.zeros(6, 4, 5), torch.zeros(4, 7)),
    "h0 3-D": lambda m: m(torch.zeros(6, 5), torch.zeros(1, 1, 7)),
    "h0 batch": lambda m: m(torch.zeros(6, 4, 5), torch.zeros(1, 3, 7)),
    "h0 layers": lambda m: m(torch.zeros(6, 4, 5), torch.zeros(2, 4, 7)),
    "h0 size": lambda m: m(torch.zeros(6, 4, 5), torch.zeros(1, 4, 6)),
    "h0 unbatched": lambda m: m(torch.zeros(6, 5), torch.zeros(1, 6)),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_call_errors_are_those_of_pytorch(call: Callable[[Any], Any], batch_first: bool) -> None:
    errors = []
    for kind in (torch.nn.GRU, grus.torch.GRU):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            call(kind(5, 7, batch_first=batch_first))
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


def test_what_pytorch_takes_and_grus_does_not() -> None:
    module = grus.torch.GRU(5, 7)
    with pytest.raises(RuntimeError, match=r"hx has dtype torch.float64, expected torch.float32"):
        module(torch.zeros(6, 4, 5), torch.zeros(1, 4, 7, dtype=torch.float64))
    with pytest.raises(InputError, match=r"its weights are torch.complex64, expected one of torch.float32, torch.flo"):
        grus.torch.GRU(5, 7, dtype=torch.complex64)(torch.zeros(6, 4, 5, dtype=torch.complex64))
    with pytest.raises(InputError, match="grus.torch.GRU: input is on meta, expected cpu, as its weights"):
        module(torch.zeros(6, 4, 5, device="meta"))
    with pytest.raises(InputError, match="input is on cpu, expected meta, as its weights"):
        grus.torch.GRU(5, 7, device="meta")(torch.zeros(6, 4, 5))
    with pytest.raises(InputError, match="hx is on meta, expected cpu"):
        module(torch.zeros(6, 4, 5), torch.zeros(1, 4, 7, device="meta"))
    with pytest.raises(InputError, match="input is torch.sparse_coo, expected a dense tensor"):
        module(torch.zeros(6, 4, 5).to_sparse())


@pytest.mark.parametrize("name", ["bidirectional", "reset_after", "learn_h0"])
def test_switches_are_switches(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} should be of type bool, got: str"):
        grus.torch.GRU(5, 7, **{name: "yes"})


@pytest.mark.parametrize("layers", [1.5, "2", True])
def test_the_number_of_layers_is_a_number(layers: Any) -> None:
    with pytest.raises(TypeError, match="num_layers should be of type int, got: "):
        grus.torch.GRU(5, 7, layers)


@pytest.mark.parametrize("size", [0, 3])
def test_projections_are_refused_as_pytorch_refuses_them(size: int) -> None:
    for kind in (torch.nn.GRU, grus.torch.GRU):
        with pytest.raises(ValueError, match="proj_size argument is only supported for LSTM, not RNN or GRU"):
            kind(5, 7, proj_size=size)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'nonlinearity'"):
        grus.torch.GRU(5, 7, nonlinearity="relu")  # type: ignore[arg-type]


def test_arguments_of_another_kind_are_named() -> None:
    module = grus.torch.GRU(5, 7)
    with pytest.raises(TypeError, match="GRU: hx should be a Tensor or None, got tuple"):
        module(torch.zeros(6, 4, 5), (torch.zeros(1, 4, 7), torch.zeros(1, 4, 7)))
    with pytest.raises(TypeError, match="GRU: input should be a Tensor or a PackedSequence, got ndarray"):
        module(torch.zeros(6, 4, 5).numpy())


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("weight_hh_l0", torch.zeros(21, 6), r"weight_hh is \[21, 6\], torch.float32 on cpu, expected \[21, 7\]"),
        ("weight_ih_l0", torch.zeros(20, 5), r"weight_ih is \[20, 5\], .*, expected \[21, 5\]"),
        ("bias_hh_l0", torch.zeros(1), r"bias_hh is \[1\], .*, expected \[21\]"),
        ("bias_ih_l0", torch.zeros(21, dtype=torch.float64), "torch.float64 on cpu, expected .*, torch.float32"),
        ("bias_ih_l0", torch.zeros(21, device="meta"), "on meta, expected .* on cpu"),
    ],
)
def test_weights_of_another_shape_are_refused(name: str, value: torch.Tensor, expected: str) -> None:
    """The kernels read memory by the sizes, so nothing else may come that far."""
    module = grus.torch.GRU(5, 7)
    module(torch.zeros(6, 4, 5))
    setattr(module, name, torch.nn.Parameter(value))
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), pytest.raises(InputError, match=expected):
            module(torch.zeros(6, 4, 5))


def test_a_learned_state_of_another_shape_is_refused() -> None:
    module = grus.torch.GRU(5, 7, learn_h0=True)
    module.h0 = torch.nn.Parameter(torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"h0 is \[1, 3\], torch.float32 on cpu, expected \[1, 7\], torch.float32"):
        module(torch.zeros(6, 4, 5))
