"""Where the rows of a batch end and begin anew: the arguments ``lengths`` and ``resets``, checked, as masks."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from grus.errors import InputError
from grus.torch.packed import Packing
from grus.torch.recurrence import Gates

__all__ = ["WHOLE", "Call", "Rows", "check_lengths", "check_resets"]


class Rows(NamedTuple):
    """Both are bool [T, B]. ``skip``: the row has ended before step t. ``resets``: it begins anew before step t."""

    skip: Tensor | None = None
    resets: Tensor | None = None

    def restart(self, reverse: bool) -> Tensor | None:
        """Which steps begin anew, as a direction walks them.

        Walking backwards the boundary before step t is met on the way to step t − 1. What stands behind a row's end is
        no boundary.
        """
        if self.resets is None or not reverse:
            return self.resets
        resets = self.resets if self.skip is None else self.resets & ~self.skip
        return torch.cat([resets, resets.new_zeros(1, resets.shape[1])])[1:]


WHOLE = Rows()


class Call(NamedTuple):
    """What a call asks for beside x and h0."""

    rows: Rows = WHOLE
    packing: Packing | None = None
    gates: list[Gates] | None = None


def check_lengths(lengths: Any, x: Tensor, batched: bool) -> Tensor | None:
    """``skip`` of x [T, B, I]; None where every row has all steps.

    Raises TypeError unless ``lengths`` are whole numbers, InputError unless there is one a row, from 0 to T.
    """
    steps, batch = x.shape[:2]
    whole = isinstance(lengths, Tensor) or _whole(lengths)
    if not whole or (isinstance(lengths, Tensor) and not _is_integer(lengths)):
        got = f"a tensor of {lengths.dtype}" if isinstance(lengths, Tensor) else reprlib.repr(lengths)
        raise TypeError(f"GRU: lengths should be a tensor or a sequence of integers, got {got}")
    try:
        found = torch.as_tensor(lengths, dtype=torch.int64, device=x.device)
    except (OverflowError, RuntimeError, ValueError) as error:
        raise InputError(f"GRU: lengths are no 64-bit integers in a row: {error}") from None
    expected = (batch,) if batched else ()
    if found.shape != expected:
        wanted = f"{list(expected)}, one for each row" if batched else "one number, as input is unbatched"
        raise InputError(f"GRU: lengths has shape {list(found.shape)}, expected {wanted}")
    if batch and _has_values(found):  # else they cannot be checked; what is out of range then counts as 0 or T
        shortest, longest = (int(end) for end in found.aminmax())
        if shortest < 0 or longest > steps:
            row = int(((found < 0) | (found > steps)).reshape(batch).nonzero()[0])
            raise InputError(
                f"GRU: lengths are from {shortest} to {longest}, expected from 0 to {steps}, input's steps; "
                f"the first wrong one is of row {row}"
            )
        if shortest == steps:
            return None
    return torch.arange(steps, device=x.device)[:, None] >= found.reshape(batch)


def _whole(lengths: Any) -> bool:
    """Whether these are Python's integers, NumPy's or a sequence of them."""
    if hasattr(lengths, "dtype") and hasattr(lengths, "tolist"):
        lengths = lengths.tolist()
    if isinstance(lengths, Sequence) and not isinstance(lengths, str):
        return all(_whole(length) and not isinstance(length, Sequence) for length in lengths)
    return isinstance(lengths, int) and not isinstance(lengths, bool)


def _has_values(tensor: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch._C._is_tracing() or torch._C._are_functorch_transforms_active():
        return False
    return not tensor.is_meta and not isinstance(tensor, FakeTensor)


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def check_resets(resets: Any, x: Tensor, batched: bool, batch_first: bool) -> Tensor:
    """``resets`` of x [T, B, I], itself in the order of time.

    Raises TypeError for no tensor, InputError for one of another dtype, shape or device.
    """
    steps, batch = x.shape[:2]
    if not isinstance(resets, Tensor):
        raise TypeError(f"GRU: resets should be a Tensor of torch.bool, got {type(resets).__name__}")
    if resets.dtype != torch.bool:
        raise InputError(f"GRU: resets is {resets.dtype}, expected torch.bool: resets.bool()")
    expected = ((batch, steps) if batch_first else (steps, batch)) if batched else (steps,)
    if resets.shape != expected:
        raise InputError(f"GRU: resets has shape {list(resets.shape)}, expected {list(expected)}, one for each step")
    if resets.device != x.device:
        raise InputError(f"GRU: resets is on {resets.device}, expected {x.device}, as input")
    if not batched:
        return resets[:, None]
    return resets.T if batch_first else resets
