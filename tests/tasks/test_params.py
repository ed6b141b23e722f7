"""Parameters of the estimators: as they were given, and those inside others by their joined names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.errors import InputError
from grus.tasks import classify, forecast, language
from grus.tasks.params import Parameters

ESTIMATORS: list[tuple[Parameters, Any]] = [
    (classify.Classifier(), classify.Settings),
    (language.LanguageModel(), language.Settings),
    (forecast.Forecaster(6), forecast.Settings),
]


@pytest.mark.parametrize(("estimator", "settings"), ESTIMATORS)
def test_every_setting_is_a_parameter(estimator: Parameters, settings: Any) -> None:
    """Those of the class itself, and of every part of its settings, with the defaults they have there."""
    shallow, deep = estimator.get_params(deep=False), estimator.get_params()
    assert list(shallow) == [name for name in deep if "__" not in name]
    assert set(shallow) - {"random_state"} == set(settings.__dataclass_fields__)  # another name for the trainer's seed
    whole = settings(**{name: value for name, value in shallow.items() if value is not None})
    for name in ("architecture", "optimiser", "trainer"):
        for field in getattr(whole, name).__dataclass_fields__:
            assert deep.pop(f"{name}__{field}") == getattr(getattr(whole, name), field)
    assert {name for name in deep if "__" in name} == {name for name in deep if name.startswith("dropout__")}


@pytest.mark.parametrize(("estimator", "settings"), ESTIMATORS)
def test_what_get_gives_set_takes(estimator: Parameters, settings: Any) -> None:
    before = repr(estimator)
    assert estimator.set_params(**estimator.get_params()) is estimator
    assert repr(estimator) == before


def test_parameters_inside_others() -> None:
    model = language.LanguageModel(architecture=language.Architecture(hidden_size=8, num_layers=2))
    given = model.architecture
    model.set_params(architecture__hidden_size=16, dropout__word=0.5, held_out=0.2)
    assert model.settings.architecture == language.Architecture(hidden_size=16, num_layers=2)
    assert model.settings.dropout == language.Dropout(word=0.5)
    assert given == language.Architecture(hidden_size=8, num_layers=2)
    model.set_params(architecture=language.Architecture(num_layers=3), architecture__hidden_size=4)
    assert model.settings.architecture == language.Architecture(hidden_size=4, num_layers=3)
    model.set_params(trainer__epochs=2, trainer__window=np.int64(7))
    assert model.settings.trainer == language.Trainer(epochs=2, window=7)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 3}, "LanguageModel has no parameter 'depth'; it has tokens"),
        ({"depth__size": 3}, "LanguageModel has no parameter 'depth__size'"),
        ({"held_out__size": 3}, "LanguageModel has no parameter 'held_out__size'"),
        ({"architecture__depth": 3}, "no parameter 'architecture__depth'; it has architecture__hidden_size, "),
        ({"architecture__": 3}, "no parameter 'architecture__'"),
        ({"architecture__hidden_size": 0}, "hidden_size is 0"),
        ({"architecture": 3, "architecture__hidden_size": 8}, r"architecture is 3, expected Architecture\(…\)"),
        ({"trainer__epochs": 3, "trainer__steps": 5}, "epochs is 3 and steps is 5"),
    ],
)
def test_all_or_none(params: dict[str, Any], message: str) -> None:
    model = language.LanguageModel()
    with pytest.raises(InputError, match=message):
        model.set_params(tokens="subwords", **params)
    assert repr(model) == "LanguageModel()"


def test_a_wrong_part_is_told_by_fit() -> None:
    model = language.LanguageModel(trainer=language.Architecture())  # type: ignore[arg-type]
    assert "trainer__steps" not in model.get_params()
    with pytest.raises(InputError, match=r"trainer is Architecture\(.*, expected Trainer"):
        model.settings  # noqa: B018


def test_scikit_learn_clones_and_searches() -> None:
    base, search = pytest.importorskip("sklearn.base"), pytest.importorskip("sklearn.model_selection")
    model = base.clone(language.LanguageModel(trainer=language.Trainer(steps=3)))
    assert repr(model).startswith("LanguageModel(trainer=Trainer(epochs=None, steps=3")
    for point in search.ParameterGrid({"architecture__hidden_size": [4, 8], "dropout__output": [0.1]}):
        assert (
            base.clone(model).set_params(**point).settings.architecture.hidden_size
            == point["architecture__hidden_size"]
        )
