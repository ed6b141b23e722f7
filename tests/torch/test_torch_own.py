"""PyTorch's own inputs, references and error cases for ``nn.GRU`` and ``nn.GRUCell``, with our classes in their place.

``torch.testing._internal.common_modules`` has them; what is done with each follows ``test/test_modules.py`` of PyTorch,
which is not in its wheels.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from beside_torch import close
from torch.nn.utils.rnn import PackedSequence

import grus.torch

pytest.importorskip("expecttest", reason="torch.testing._internal needs the package expecttest")
common = pytest.importorskip("torch.testing._internal.common_modules")

OURS = {torch.nn.GRU: grus.torch.GRU, torch.nn.GRUCell: grus.torch.GRUCell}
INFOS = [info for info in common.module_db if info.module_cls in OURS]
infos = pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
modes = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])


def samples(info: Any, dtype: torch.dtype, requires_grad: bool = False, training: bool = True) -> list[Any]:
    torch.manual_seed(11)
    return list(
        info.module_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=requires_grad, training=training, with_packed_sequence=True
        )
    )


def made(info: Any, sample: Any, dtype: torch.dtype, training: bool = True) -> tuple[Any, Any]:
    """Theirs and ours, with the same weights."""
    arguments, options = sample.constructor_input.args, sample.constructor_input.kwargs
    pair = [kind(*arguments, **options).to(dtype).train(training) for kind in (info.module_cls, OURS[info.module_cls])]
    pair[1].load_state_dict(pair[0].state_dict())
    return pair[0], pair[1]


def tensors(result: Any) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, PackedSequence):
        yield result.data
    elif isinstance(result, tuple):
        for one in result:
            yield from tensors(one)


def test_there_are_inputs_for_both() -> None:
    assert {info.module_cls for info in INFOS} == set(OURS)
    assert all(samples(info, torch.float32) for info in INFOS)


@infos
@dtypes
@modes
def test_forward(info: Any, dtype: torch.dtype, training: bool) -> None:
    for sample in samples(info, dtype, training=training):
        theirs, ours = made(info, sample, dtype, training)
        arguments, options = sample.forward_input.args, sample.forward_input.kwargs
        results = ours(*arguments, **options)
        if not any(isinstance(one, PackedSequence) for one in arguments):  # which its reference cannot take
            torch.testing.assert_close(results, sample.reference_fn(ours, *arguments, **options))
        for one, other in zip(tensors(results), tensors(theirs(*arguments, **options)), strict=True):
            close(one, other)


@infos
@dtypes
def test_factory_arguments(info: Any, dtype: torch.dtype) -> None:
    for sample in samples(info, dtype):
        arguments, options = sample.constructor_input.args, sample.constructor_input.kwargs
        for device in ("cpu", "meta"):
            module = OURS[info.module_cls](*arguments, **options, device=device, dtype=dtype)
            assert {(p.device.type, p.dtype) for p in module.parameters()} == {(device, dtype)}
            with torch.device(device):
                module = OURS[info.module_cls](*arguments, **options, dtype=dtype)
            assert {(p.device.type, p.dtype) for p in module.parameters()} == {(device, dtype)}


@infos
def test_to_empty_from_meta(info: Any) -> None:
    for sample in samples(info, torch.float32):
        _, ours = made(info, sample, torch.float32)
        weights = ours.state_dict()
        empty = copy.deepcopy(ours).to("meta").to_empty(device="cpu")
        empty.load_state_dict(weights)
        assigned = copy.deepcopy(ours).to("meta")
        assigned.load_state_dict(weights, assign=True)
        right = list(tensors(ours(*sample.forward_input.args)))
        for module in (empty, assigned):
            assert all(map(torch.equal, tensors(module(*sample.forward_input.args)), right))


@infos
@dtypes
@modes
def test_pickles(info: Any, dtype: torch.dtype, training: bool) -> None:
    for sample in samples(info, dtype, training=training):
        _, ours = made(info, sample, dtype, training)
        right = list(tensors(ours(*sample.forward_input.args)))
        file = io.BytesIO()
        torch.save(ours, file)
        file.seek(0)
        for twin in (torch.load(file, weights_only=False), pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
            assert twin.training == training and repr(twin) == repr(ours)
            assert all(map(torch.equal, tensors(twin(*sample.forward_input.args)), right))


@infos
@dtypes
def test_state_dicts_both_ways_through_a_file(info: Any, dtype: torch.dtype) -> None:
    for sample in samples(info, dtype):
        theirs, ours = made(info, sample, dtype)
        for source, target in ((theirs, ours), (ours, theirs)):
            torch.nn.init.normal_(next(source.parameters()))
            file = io.BytesIO()
            torch.save(source.state_dict(), file)
            file.seek(0)
            target.load_state_dict(torch.load(file, weights_only=True), strict=True)
            assert repr(ours) == repr(theirs)
            assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


@infos
@dtypes
@modes
def test_non_contiguous_tensors(info: Any, dtype: torch.dtype, training: bool) -> None:
    for sample in samples(info, dtype, requires_grad=True, training=training):
        _, ours = made(info, sample, dtype, training)
        arguments = sample.forward_input.args
        right = list(tensors(ours(*arguments)))
        seeds = [torch.randn_like(one) for one in right]
        gradients = torch.autograd.grad(right, [*tensors(arguments), *ours.parameters()], seeds)
        strided = [non_contiguous(one) for one in tensors(arguments)]
        scattered = [non_contiguous(seed, requires_grad=False) for seed in seeds]
        again = list(tensors(ours(*replaced(arguments, strided))))
        assert all(map(torch.equal, again, right))
        both = torch.autograd.grad(again, [*strided, *ours.parameters()], scattered)
        assert all(map(torch.equal, both, gradients))


def non_contiguous(tensor: torch.Tensor, requires_grad: bool = True) -> torch.Tensor:
    """The same values, every second of a memory twice as wide, NaN between."""
    wide = torch.full((*tensor.shape, 2), torch.nan, dtype=tensor.dtype)
    wide[..., 0] = tensor.detach()
    assert not wide[..., 0].is_contiguous()
    return wide[..., 0].requires_grad_(requires_grad)


def replaced(arguments: Sequence[Any], by: Sequence[torch.Tensor]) -> tuple[Any, ...]:
    """The arguments with other tensors; in a PackedSequence as its data."""
    pairs = zip(arguments, by, strict=True)
    return tuple(old._replace(data=new) if isinstance(old, PackedSequence) else new for old, new in pairs)


@pytest.mark.slow
@infos
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_against_finite_differences(info: Any, order: int) -> None:
    check = torch.autograd.gradcheck if order == 1 else torch.autograd.gradgradcheck
    for sample in samples(info, torch.float64, requires_grad=True):
        _, ours = made(info, sample, torch.float64)
        arguments = sample.forward_input.args
        names, weights = zip(*ours.named_parameters(), strict=True)

        def call(*leaves: torch.Tensor) -> Any:
            parameters = dict(zip(names, leaves[len(arguments) :], strict=True))  # noqa: B023
            given = replaced(arguments, leaves[: len(arguments)])  # noqa: B023
            return tuple(tensors(torch.func.functional_call(ours, parameters, given)))  # noqa: B023

        assert check(call, (*tensors(arguments), *weights), fast_mode=True)


@infos
@dtypes
def test_errors(info: Any, dtype: torch.dtype) -> None:
    """Their type and their words, at the constructor and at the call."""
    ours = OURS[info.module_cls]
    cases = info.module_error_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=True)
    for case in cases:
        error, words = case.error_type, case.error_regex
        if case.module_error_input.constructor_input.args[2:] in (("relu",), ("tanh",)):
            # meant for nn.RNNCell: a name where a GRUCell takes ``bias``, which PyTorch's does not check
            error, words = TypeError, "bias should be of type bool, got: str"
        with pytest.raises(error, match=words):
            provoke(ours, case, dtype)


def provoke(kind: Any, case: Any, dtype: torch.dtype) -> None:
    made_with, call = case.module_error_input.constructor_input, case.module_error_input.forward_input
    module = kind(*made_with.args, **made_with.kwargs).to(dtype)
    assert case.error_on == common.ModuleErrorEnum.FORWARD_ERROR, "the constructor should have refused"
    module(*call.args, **call.kwargs)


@infos
def test_training_and_inference_differ_where_pytorch_says_so(info: Any) -> None:
    """Nothing but dropout does, and these inputs have none."""
    for sample in samples(info, torch.float32):
        _, ours = made(info, sample, torch.float32)
        right = list(tensors(ours(*sample.forward_input.args)))
        assert all(map(torch.equal, tensors(ours.eval()(*sample.forward_input.args)), right))
