"""A PackedSequence, rows of many lengths without padding, as padded rows with their lengths, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grus.errors import InputError
from grus.torch.recurrence import in_onnx_export

__all__ = ["Packing", "packing", "refuse"]


class Packing(NamedTuple):
    """How the rows of packed data lie: ``batch_sizes[t]`` of them belong to step t, the longest sequences first."""

    batch_sizes: Tensor
    lengths: Tensor | None  # [B], on the CPU; None: all are equal

    @property
    def batch(self) -> int:
        return int(self.batch_sizes[0])

    def pad(self, data: Tensor) -> Tensor:
        """[N, I] to [T, B, I], zeros behind each sequence's end."""
        if self.lengths is None:
            return data.reshape(len(self.batch_sizes), -1, data.shape[-1])
        return pad_packed_sequence(PackedSequence(data, self.batch_sizes))[0]

    def pack(self, padded: Tensor) -> Tensor:
        """[T, B, H] to [N, H], without what is behind each sequence's end."""
        if self.lengths is None:
            return padded.reshape(-1, padded.shape[-1])
        return pack_padded_sequence(padded, self.lengths).data


def packing(data: Tensor, batch_sizes: Tensor) -> Packing:
    """The packing of ``data`` [N, I].

    Raises InputError where the sizes are not those of a PackedSequence of ``data``, and on the way to ONNX.
    """
    if in_onnx_export():
        raise InputError("torch.onnx.export: a PackedSequence has its lengths in its shape: give x and lengths=")
    steps, total = len(batch_sizes), int(batch_sizes.sum())
    if steps == 0 or int(batch_sizes[-1]) < 1 or bool((batch_sizes.diff() > 0).any()):
        raise InputError(f"batch_sizes of a PackedSequence fall from step to step to 1 or more, got {batch_sizes}")
    if total != data.shape[0]:
        raise InputError(f"a PackedSequence has {data.shape[0]} rows of data, expected {total}, its batch_sizes' sum")
    batch = int(batch_sizes[0])
    if total == steps * batch:
        return Packing(batch_sizes, None)
    return Packing(batch_sizes, (batch_sizes[:, None] > torch.arange(batch, device=batch_sizes.device)).sum(0))


def refuse(**arguments: Any) -> None:
    """Refuse what does not go with a PackedSequence, where it is given."""
    for name, value in arguments.items():
        if value is not None:
            raise InputError(f"GRU: {name} goes with a padded input, which may have lengths, not with a PackedSequence")
