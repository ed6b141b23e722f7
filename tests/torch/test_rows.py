"""Lengths, resets and gates of ``grus.torch.GRU``; their gradients are in test_options.py."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import grus.torch
from grus import InputError

T, B, I, H = 7, 5, 3, 9  # noqa: E741
LENGTHS = [7, 0, 3, 1, 6]
RESETS = torch.rand(T, B, generator=torch.Generator().manual_seed(0)) < 0.3
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "both directions": {"bidirectional": True},
    "all": {"num_layers": 3, "bidirectional": True, "learn_h0": True, "zoneout": 0.1, "layer_norm": True},
    "reset before": {"num_layers": 2, "reset_after": False},
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def made(options: dict[str, Any], dtype: torch.dtype = torch.float32) -> grus.torch.GRU:
    torch.manual_seed(0)
    module = grus.torch.GRU(I, H, dtype=dtype, **options).eval()
    if module.learn_h0:
        torch.nn.init.normal_(module.h0)
    return module


def data(module: grus.torch.GRU) -> tuple[Tensor, Tensor]:
    dtype = module.weight_hh_l0.dtype
    return torch.randn(T, B, I, dtype=dtype), torch.randn(len(module.all_weights), B, H, dtype=dtype)


@options
@dtypes
def test_a_row_ends_where_it_ends(options: dict[str, Any], dtype: torch.dtype) -> None:
    """Bit for bit what the row gives alone, cut to its length; what stands behind does not matter."""
    module = made(options, dtype)
    x, h0 = data(module)
    for b, end in enumerate(LENGTHS):
        x[end:, b] = torch.nan
    y, h_n, gates = module(x, h0, lengths=LENGTHS, return_gates=True)
    for b, end in enumerate(LENGTHS):
        alone, last, own = module(x[:end, b : b + 1], h0[:, b : b + 1], return_gates=True)
        if dtype == torch.float32:
            assert torch.equal(y[:end, b : b + 1], alone) and torch.equal(h_n[:, b : b + 1], last)
        torch.testing.assert_close(y[:end, b : b + 1], alone)
        torch.testing.assert_close(h_n[:, b : b + 1], last)
        assert not y[end:, b].any()
        for gate, one in zip([g for each in gates for g in each], [g for each in own for g in each], strict=True):
            torch.testing.assert_close(gate[:end, b : b + 1], one)
            assert not gate[end:, b].any()


@options
def test_no_gradient_comes_from_behind_the_end(options: dict[str, Any]) -> None:
    module = made(options)
    x, h0 = data(module)
    found = []
    for behind in (0.0, torch.nan):
        for b, end in enumerate(LENGTHS):
            x[end:, b] = behind
        leaf = x.clone().requires_grad_()
        y, h_n = module(leaf, h0, lengths=LENGTHS)
        found.append(
            torch.autograd.grad(
                y.sum() + h_n.square().sum(),
                [leaf, *(weight for name, weight in module.named_parameters() if name != "h0")],
            )
        )
    assert all(map(torch.equal, *found)) and all(gradient.isfinite().all() for gradient in found[0])
    assert not any(found[0][0][end:, b].any() for b, end in enumerate(LENGTHS))


@options
@dtypes
@pytest.mark.parametrize("ends", [None, LENGTHS], ids=["whole", "lengths"])
def test_a_reset_begins_a_sequence_of_its_own(
    options: dict[str, Any], dtype: torch.dtype, ends: list[int] | None
) -> None:
    """Layer by layer: each piece between two resets is run alone, forward or backward."""
    one = {key: value for key, value in options.items() if key not in ("num_layers", "bidirectional")}
    for directions in (1, 2):
        module = made(one | {"bidirectional": directions == 2}, dtype)
        x, h0 = data(module)
        y, h_n = module(x, h0, lengths=ends, resets=RESETS)
        fresh = module.h0 if module.learn_h0 else torch.zeros(directions, H, dtype=dtype)
        for b in range(B):
            end = T if ends is None else ends[b]
            cuts = [0, *[t for t in range(1, end) if RESETS[t, b]], end]
            for first, last in pairwise(cuts):
                start = fresh[:, None].clone()
                if first == 0 and not RESETS[0, b]:
                    start[0] = h0[0, b]
                if last == end:
                    start[1:] = h0[1:, b : b + 1]
                piece, after = module(x[first:last, b : b + 1], start)
                torch.testing.assert_close(y[first:last, b : b + 1], piece)
                if last == end and end:
                    torch.testing.assert_close(h_n[0, b], after[0, 0])
                if first == 0 and end and directions == 2:
                    torch.testing.assert_close(h_n[1, b], after[1, 0])


@options
def test_batch_first_and_unbatched(options: dict[str, Any]) -> None:
    module = made(options)
    x, h0 = data(module)
    y, h_n, gates = module(x, h0, lengths=LENGTHS, resets=RESETS, return_gates=True)
    module.batch_first = True
    swapped, last, turned = module(x.transpose(0, 1), h0, lengths=LENGTHS, resets=RESETS.T, return_gates=True)
    assert torch.equal(swapped, y.transpose(0, 1)) and torch.equal(last, h_n)
    for batch_first in (True, False):
        module.batch_first = batch_first
        for b, end in enumerate(LENGTHS):
            row, after, own = module(x[:, b], h0[:, b], lengths=end, resets=RESETS[:, b], return_gates=True)
            assert torch.equal(row, y[:, b]) and torch.equal(after, h_n[:, b])
            triples = zip(gates, turned, own, strict=True)
            for whole, other, mine in ((w, t, o) for ws, ts, os in triples for w, t, o in zip(ws, ts, os, strict=True)):
                assert torch.equal(mine, whole[:, b]) and torch.equal(other, whole.transpose(0, 1))


def test_lengths_may_be_any_integers() -> None:
    module = made({"bidirectional": True})
    x, h0 = data(module)
    right, last = module(x, h0, lengths=LENGTHS)
    kinds: list[Any] = [tuple(LENGTHS), np.array(LENGTHS), [np.int64(end) for end in LENGTHS]]
    kinds += [torch.tensor(LENGTHS, dtype=dtype) for dtype in (torch.int64, torch.int32, torch.uint8)]
    for lengths in kinds:
        y, h_n = module(x, h0, lengths=lengths)
        assert torch.equal(y, right) and torch.equal(h_n, last)
    for whole in ([T] * B, None):
        assert torch.equal(module(x, h0, lengths=whole)[0], module(x, h0)[0])


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("batch", [0, 2])
def test_nothing_to_do(steps: int, batch: int) -> None:
    module = made({"bidirectional": True}).train()
    x = torch.randn(steps, batch, I, requires_grad=True)
    h0 = torch.randn(2, batch, H, requires_grad=True)
    resets = torch.ones(steps, batch, dtype=torch.bool)
    y, h_n, gates = module(x, h0, lengths=[0] * batch, resets=resets, return_gates=True)
    assert y.shape == (steps, batch, 2 * H) and not y.any() and torch.equal(h_n, h0)
    assert len(gates) == 2 and all(gate.shape == (steps, batch, H) and not gate.any() for own in gates for gate in own)
    (y.sum() + h_n.sum() + gates[0].r.sum()).backward()
    assert h0.grad is not None and (h0.grad == 1).all() and x.grad is not None and not x.grad.any()


@options
@pytest.mark.parametrize("train", [True, False])
def test_gates_are_those_of_the_equations(options: dict[str, Any], train: bool) -> None:
    """h' = (1 − z) n + z h, without zoneout, from the gates alone."""
    module = made(options | {"zoneout": 0.0}).train(train)
    x, h0 = data(module)
    directions = 2 if module.bidirectional else 1
    with torch.set_grad_enabled(train):
        y, h_n, gates = module(x, h0, return_gates=True)
    assert isinstance(gates, tuple) and len(gates) == len(h_n) and all(isinstance(g, grus.torch.Gates) for g in gates)
    for d in range(directions):
        own, (r, z, n) = y[..., d * H : (d + 1) * H], gates[d - directions]
        h = h0[d - directions]
        for t in reversed(range(T)) if d else range(T):
            h = (1 - z[t]) * n[t] + z[t] * h
            torch.testing.assert_close(own[t], h)
        assert all(gate.shape == (T, B, H) for gate in (r, z, n)) and r.min() > 0 and r.max() < 1
    plain = module(x, h0)
    assert len(plain) == 2 and torch.equal(plain[0], y) and torch.equal(plain[1], h_n)


def test_gates_teach_the_weights() -> None:
    module = made({}).train()
    x, h0 = data(module)
    before = after = 0.0
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    for step in range(30):
        optimiser.zero_grad()
        (loss := module(x, h0, return_gates=True)[2][0].z.mean()).backward()
        optimiser.step()
        before, after = before if step else loss.item(), loss.item()
    assert after < 0.5 * before, "a loss on the update gate alone closes it"


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "lengths floats": ({"lengths": torch.ones(B)}, TypeError, "lengths should be a tensor or a sequence of integers"),
    "lengths bools": ({"lengths": [True] * B}, TypeError, r"lengths should .* of integers, got \[True"),
    "lengths string": ({"lengths": "55555"}, TypeError, "lengths should be a tensor or a sequence of integers, got '5"),
    "lengths list of floats": ({"lengths": [1.0] * B}, TypeError, "lengths should be a tensor or a sequence of int"),
    "lengths object": ({"lengths": object()}, TypeError, "lengths should be a tensor or a sequence of integers, got <"),
    "lengths too few": ({"lengths": [1, 2]}, InputError, r"lengths has shape \[2\], expected \[5\]"),
    "lengths 2-D": ({"lengths": torch.ones(B, 1).long()}, InputError, r"lengths has shape \[5, 1\], expected \[5\]"),
    "lengths one": ({"lengths": 3}, InputError, r"lengths has shape \[\], expected \[5\]"),
    "lengths negative": ({"lengths": [1, 2, -1, 3, 4]}, InputError, "lengths are from -1 to 4, expected from 0 to 7"),
    "lengths too long": ({"lengths": [1, 2, 8, 3, 4]}, InputError, "lengths are from 1 to 8, expected from 0 to 7, in"),
    "resets list": ({"resets": [[False]]}, TypeError, "resets should be a Tensor of torch.bool, got list"),
    "resets floats": ({"resets": torch.zeros(T, B)}, InputError, "resets is torch.float32, expected torch.bool"),
    "resets turned": ({"resets": RESETS.T}, InputError, r"resets has shape \[5, 7\], expected \[7, 5\]"),
    "resets 1-D": ({"resets": RESETS[:, 0]}, InputError, r"resets has shape \[7\], expected \[7, 5\]"),
    "resets device": ({"resets": RESETS.to("meta")}, InputError, "resets is on meta, expected cpu, as input"),
    "return_gates": ({"return_gates": 1}, TypeError, "return_gates should be of type bool, got int"),
    "unknown": ({"length": LENGTHS}, TypeError, "unexpected keyword argument 'length'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_argument_is_named(name: str) -> None:
    keywords, error, message = BAD[name]
    with pytest.raises(error, match=message):
        made({})(torch.zeros(T, B, I), **keywords)


def test_bad_arguments_of_other_layouts_are_named() -> None:
    module = made({"batch_first": True})
    with pytest.raises(InputError, match=r"resets has shape \[7, 5\], expected \[5, 7\]"):
        module(torch.zeros(B, T, I), resets=RESETS)
    with pytest.raises(InputError, match=r"resets has shape \[1, 7\], expected \[7\]"):
        module(torch.zeros(T, I), resets=torch.zeros(1, T, dtype=torch.bool))
    with pytest.raises(InputError, match=r"lengths has shape \[1\], expected one number"):
        module(torch.zeros(T, I), lengths=[3])


@pytest.mark.parametrize("name", ["lengths", "resets", "return_gates"])
def test_a_packed_sequence_says_itself_where_its_rows_end(name: str) -> None:
    packed = torch.nn.utils.rnn.pack_sequence([torch.zeros(3, I), torch.zeros(2, I)])
    keywords = {"lengths": [3, 2], "resets": torch.zeros(3, 2, dtype=torch.bool), "return_gates": True}
    with pytest.raises(InputError, match=f"GRU: {name} goes with a padded input"):
        made({})(packed, **{name: keywords[name]})


def test_messages_about_lengths_are_short_and_say_where() -> None:
    layer, x = grus.torch.GRU(2, 3), torch.zeros(4, 3, 2)
    with pytest.raises(TypeError) as told:
        layer(x, lengths=["4"] * 100_000)
    assert len(str(told.value)) < 200
    with pytest.raises(InputError, match="from 1 to 7, expected from 0 to 4.*the first wrong one is of row 1"):
        layer(x, lengths=[1, 7, 1])


def test_save_gates_is_a_switch_or_none() -> None:
    with pytest.raises(TypeError, match="save_gates should be of type bool, or None, got: str"):
        grus.torch.GRU(2, 3, save_gates="all")  # type: ignore[arg-type]
