"""Buckets of sequences: an epoch is whole, a batch's lengths are alike, and all processes agree."""

from __future__ import annotations

import numpy as np
import pytest

from grus.errors import InputError
from grus.training.sampling import Buckets

LENGTHS = np.random.default_rng(0).integers(1, 400, 1003)


@pytest.mark.parametrize(
    ("count", "batch_size", "world"), [(1003, 8, 1), (1003, 7, 3), (5, 8, 2), (64, 8, 2), (9, 1, 2), (1, 4, 1)]
)
def test_every_sequence_once_an_epoch(count: int, batch_size: int, world: int) -> None:
    ranks = [Buckets(LENGTHS[:count], batch_size, 3, rank, world) for rank in range(world)]
    steps = ranks[0].epoch_steps
    for epoch in range(2):
        shares = [[buckets.indices(step) for buckets in ranks] for step in range(epoch * steps, (epoch + 1) * steps)]
        seen = np.concatenate([rows for share in shares for rows in share])
        assert np.array_equal(np.sort(seen), np.arange(count))
        for share in shares:
            sizes = [len(rows) for rows in share]
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1
            assert batch_size == 1 or max(sizes) <= batch_size


@pytest.mark.parametrize("world", [2, 4])
def test_a_steps_batch_is_the_same_however_many_share_it(world: int) -> None:
    alone = Buckets(LENGTHS, 32, (1, 2))
    ranks = [Buckets(LENGTHS, 32 // world, (1, 2), rank, world) for rank in range(world)]
    assert all(buckets.epoch_steps == alone.epoch_steps for buckets in ranks)
    for step in range(2 * alone.epoch_steps):
        together = np.concatenate([buckets.indices(step) for buckets in ranks])
        assert np.array_equal(np.sort(together), np.sort(alone.indices(step)))


def test_lengths_in_a_batch_are_alike() -> None:
    buckets = Buckets(LENGTHS, 16, 0, buckets=16)
    batches = [LENGTHS[buckets.indices(step)] for step in range(buckets.epoch_steps)]
    padded = sum(lengths.max() * len(lengths) for lengths in batches)
    assert padded < 1.15 * LENGTHS.sum()  # in any order it is nearly 2
    assert all((np.diff(lengths) <= 0).all() for lengths in batches)
    order = [lengths.max() for lengths in batches]
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    steps = range(3 * Buckets(LENGTHS, 16, 0).epoch_steps)
    forwards, backwards, other = Buckets(LENGTHS, 16, 0), Buckets(LENGTHS, 16, 0), Buckets(LENGTHS, 16, 1)
    there = [forwards.indices(step) for step in steps]
    for step in reversed(steps):
        assert np.array_equal(backwards.indices(step), there[step])
    assert any(not np.array_equal(other.indices(step), there[step]) for step in steps)
    assert not np.array_equal(there[0], there[forwards.epoch_steps])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"buckets": 0}, "buckets is 0"),
        ({"rank": 2, "world": 2}, "rank is 2, expected 0 to 1"),
        ({"lengths": [3, 4], "world": 3}, "lengths has shape .2,., expected .N,., at least one for each of 3"),
        ({"lengths": []}, "lengths has shape .0,."),
        ({"lengths": [[3, 4]]}, "lengths has shape .1, 2."),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Buckets(**({"lengths": [3, 4, 5], "batch_size": 2, "seed": 0} | arguments))  # type: ignore[arg-type]
