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
    packed = torch.nn.utils.rnn.pack_sequence([torch.zeros(4, 5), torch.zeros(2, 5)])
    with pytest.raises(TypeError, match="takes no PackedSequence yet: pad the sequences"):
        module(packed)
    with pytest.raises(RuntimeError, match=r"hx has dtype torch.float64, expected torch.float32"):
        module(torch.zeros(6, 4, 5), torch.zeros(1, 4, 7, dtype=torch.float64))
    half = grus.torch.GRU(5, 7, dtype=torch.bfloat16)
    with pytest.raises(InputError, match=r"torch.float32 or torch.float64, but its weights are torch.bfloat16"):
        half(torch.zeros(6, 4, 5, dtype=torch.bfloat16))
    with pytest.raises(InputError, match="runs on the CPU with dense tensors: input on meta"):
        grus.torch.GRU(5, 7, device="meta")(torch.zeros(6, 4, 5, device="meta"))
    with pytest.raises(InputError, match="its weights on meta"):
        grus.torch.GRU(5, 7, device="meta")(torch.zeros(6, 4, 5))
    with pytest.raises(TypeError, match="reset_after should be of type bool, got: str"):
        grus.torch.GRU(5, 7, reset_after="yes")  # type: ignore[arg-type]
