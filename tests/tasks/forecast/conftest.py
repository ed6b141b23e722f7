"""Small tables and untrained models, enough to see what depends on what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grus.model import Model
from grus.spec import GRU, Block, Bypass, Forecast, Linear, Spec, parameters
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table
from grus.tasks.forecast.windows import bypass_size, input_size, output_size


def months(first: str, count: int) -> np.ndarray[Any, Any]:
    return (np.datetime64(first, "M") + np.arange(count)).astype("datetime64[us]")


@pytest.fixture
def make_columns() -> Callable[..., dict[str, Any]]:
    """Positive monthly series of the given lengths, all ending in December 2020, with a yearly pattern."""

    def make(*lengths: int, seed: int = 0, names: tuple[str, ...] = ()) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        ids, ds, y = [], [], []
        for index, length in enumerate(lengths):
            time = np.arange(length)
            ids += [names[index] if names else f"s{index}"] * length
            ds.append(months("2021-01", 1)[0].astype("datetime64[M]") - length + time)
            y.append(100 * (index + 1) + time + 20 * np.sin(2 * np.pi * time / 12) + rng.normal(0, 3, length))
        return {
            "unique_id": np.array(ids),
            "ds": np.concatenate(ds).astype("datetime64[us]"),
            "y": np.concatenate(y),
        }

    return make


@pytest.fixture
def make_model() -> Callable[[Forecast], Model]:
    """A GRU with random weights for a task."""

    def make(task: Forecast, seed: int = 0) -> Model:
        around = bypass_size(task)
        gru: Block = GRU(input_size(task) - around, 8)
        body = Bypass(around, (gru,)) if around else gru
        blocks = (body, Linear(body.output_size, output_size(task)))
        rng = np.random.default_rng(seed)
        arrays = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in parameters(blocks).items()}
        return Model(Spec(blocks, task), arrays)

    return make


@pytest.fixture
def fitted(make_model: Callable[[Forecast], Model]) -> Callable[..., tuple[Model, Table]]:
    """A model, as it would be before training, for a table of columns."""
    from grus.tasks.forecast.prepare import prepare

    def make(columns: dict[str, Any], horizon: int = 6, **settings: Any) -> tuple[Model, Table]:
        table = Table(columns)
        return make_model(prepare(table, Settings(horizon, **settings))[1]), table

    return make
