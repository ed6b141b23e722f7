"""A PackedSequence in, a PackedSequence out, as ``torch.nn.GRU`` does it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from beside_torch import close
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

import grus.torch
from grus import InputError
from grus.torch import recurrence

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-bias": {"bias": False},
    "two-way": {"bidirectional": True},
    "all": {"num_layers": 3, "bidirectional": True, "dropout": 0.4, "batch_first": True},
}
LENGTHS: dict[str, list[int]] = {
    "falling": [6, 4, 4, 1],
    "unsorted": [2, 6, 1, 4],
    "equal": [5, 5, 5, 5],
    "two lengths": [1, 6, 6, 1],
    "one": [4],
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
lengths = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def pair(dtype: torch.dtype, **options: Any) -> tuple[torch.nn.GRU, grus.torch.GRU]:
    torch.manual_seed(0)
    theirs, ours = torch.nn.GRU(5, 7, dtype=dtype, **options), grus.torch.GRU(5, 7, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def sequences(lengths: list[int], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(length, 5, generator=generator, dtype=dtype) for length in lengths]


def state(module: Any, batch: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(len(module.all_weights), batch, 7, generator=torch.Generator().manual_seed(4), dtype=dtype)


@options
@lengths
@dtypes
@pytest.mark.parametrize("with_h0", [True, False])
def test_values_order_and_gradients(
    options: dict[str, Any], lengths: list[int], dtype: torch.dtype, with_h0: bool
) -> None:
    results = []
    for module in pair(dtype, **options):
        x = [one.requires_grad_() for one in sequences(lengths, dtype)]
        packed = pack_sequence(x, enforce_sorted=lengths == sorted(lengths, reverse=True))
        h0 = state(module, len(lengths), dtype).requires_grad_()
        torch.manual_seed(5)  # dropout between the layers draws the same masks, of packed data
        y, h_n = module(packed, h0) if with_h0 else module(packed)
        assert isinstance(y, PackedSequence)
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            given, returned = getattr(packed, name), getattr(y, name)
            assert returned is None if given is None else torch.equal(returned, given)
        loss = (y.data * torch.linspace(-1, 1, y.data.shape[1], dtype=dtype)).sum() + h_n.square().sum()
        leaves = [*x, *([h0] if with_h0 else []), *module.parameters()]
        results.append((y.data, h_n, *torch.autograd.grad(loss, leaves)))
    for one, other in zip(*results, strict=True):
        close(other, one)


@options
@pytest.mark.parametrize("reset_after", [True, False])
def test_each_sequence_is_what_it_is_alone(options: dict[str, Any], reset_after: bool) -> None:
    module = grus.torch.GRU(5, 7, reset_after=reset_after, **options).eval()
    x, h0 = sequences([2, 6, 1, 4]), state(module, 4)
    with torch.no_grad():
        for _ in range(2):  # the second with weights packed in the first
            y, h_n = module(pack_sequence(x, enforce_sorted=False), h0)
            padded, lengths = pad_packed_sequence(y)
            for row, own in enumerate(x):
                alone, end = module(own, h0[:, row])
                assert int(lengths[row]) == len(own)
                assert torch.equal(padded[: len(own), row], alone) and torch.equal(h_n[:, row], end)


def test_inference_keeps_the_packed_weights() -> None:
    module = grus.torch.GRU(5, 7, bidirectional=True).eval()
    with torch.no_grad():
        module(pack_sequence(sequences([9, 7])))
        ready = list(module._ready[0])
        module(pack_sequence(sequences([9, 7])))
        module(sequences([9])[0])
    assert len(ready) == 2 and all(a is b for a, b in zip(ready, module._ready[0], strict=True))


@pytest.mark.parametrize("lengths", [[4], [3, 3, 3]])
def test_equal_lengths_are_not_padded(lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    module = grus.torch.GRU(5, 7, bidirectional=True)
    packed = pack_sequence(sequences(lengths))
    seen = []
    layer = recurrence.layer
    monkeypatch.setattr(recurrence, "layer", lambda x, *args, **more: seen.append(x) or layer(x, *args, **more))
    module(packed)
    assert [x.data_ptr() for x in seen] == [packed.data.data_ptr()]


def test_a_nan_stays_in_its_row() -> None:
    module = grus.torch.GRU(5, 7, bidirectional=True)
    x = sequences([2, 6, 4])
    right, _ = pad_packed_sequence(module(pack_sequence(x, enforce_sorted=False))[0])
    x[2][3, 1] = torch.nan
    y, _ = pad_packed_sequence(module(pack_sequence(x, enforce_sorted=False))[0])
    assert torch.equal(y[:, :2], right[:, :2]) and bool(y[3, 2].isnan().all())


def test_gradcheck() -> None:
    module = grus.torch.GRU(2, 3, 2, bidirectional=True, dtype=torch.float64)
    names, weights = zip(*module.named_parameters(), strict=True)
    packed = pack_padded_sequence(torch.randn(3, 3, 2, dtype=torch.float64), [1, 3, 2], enforce_sorted=False)
    h0 = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True)

    def call(data: torch.Tensor, h0: torch.Tensor, *weights: torch.Tensor) -> Any:
        parameters = dict(zip(names, weights, strict=True))
        y, h_n = torch.func.functional_call(module, parameters, (packed._replace(data=data), h0))
        return y.data, h_n

    arguments = (packed.data.clone().requires_grad_(), h0, *weights)
    assert torch.autograd.gradcheck(call, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, arguments, fast_mode=True)


def test_variable_lengths_train_as_with_pytorch() -> None:
    """A packed batch whose rows come from a padded leaf: its gradient is zero in the padding."""
    gradients = []
    for module in pair(torch.float32, bidirectional=True):
        padded = torch.zeros(6, 3, 5)
        padded += torch.linspace(-1, 1, 90).view(6, 3, 5)
        padded.requires_grad_()
        y, h_n = module(pack_padded_sequence(padded, [3, 6, 2], enforce_sorted=False))
        (pad_packed_sequence(y)[0].square().sum() + h_n.sum()).backward()
        gradients.append(padded.grad)
    assert gradients[1] is not None and not gradients[1][3:, 0].any() and not gradients[1][2:, 2].any()
    close(gradients[1], gradients[0])  # type: ignore[arg-type]


def test_errors_are_those_of_pytorch() -> None:
    packed = pack_sequence(sequences([4, 2, 1]))
    calls: list[tuple[Any, ...]] = [
        (packed.to(torch.float64),),
        (packed._replace(data=torch.zeros(7, 4)),),
        (packed._replace(data=torch.zeros(7, 5, 1)),),
        (packed, torch.zeros(1, 2, 7)),
        (packed, torch.zeros(2, 3, 7)),
        (packed, torch.zeros(1, 3, 6)),
        (packed, torch.zeros(3, 7)),
    ]
    for arguments in calls:
        errors = []
        for module in pair(torch.float32):
            with pytest.raises((ValueError, RuntimeError)) as caught:
                module(*arguments)
            errors.append((type(caught.value), str(caught.value)))
        assert errors[0] == errors[1]
    unsorted = pack_sequence(sequences([2, 4, 1]), enforce_sorted=False)
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 3, 7\), got \[1, 2, 7\]"):
        pair(torch.float32)[1](unsorted, torch.zeros(1, 2, 7))


@pytest.mark.parametrize(
    ("rows", "sizes", "message"),
    [
        (6, [3, 2], "has 6 rows of data, expected 5"),
        (4, [3, 2], "has 4 rows of data, expected 5"),
        (5, [2, 3], "fall from step to step"),
        (3, [3, 0], "fall from step to step"),
        (0, [], "fall from step to step"),
    ],
)
def test_a_damaged_packed_sequence_is_refused(rows: int, sizes: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        grus.torch.GRU(5, 7)(PackedSequence(torch.zeros(rows, 5), torch.tensor(sizes, dtype=torch.int64)))
