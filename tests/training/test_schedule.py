"""The learning rate."""

from __future__ import annotations

import pytest

from grus.errors import InputError
from grus.training.schedule import Optimisation, learning_rate


def test_it_rises_falls_and_never_is_zero() -> None:
    optimisation = Optimisation(steps=1000, learning_rate=0.01, warm_up=0.1)
    rates = [learning_rate(optimisation, step) for step in range(1000)]
    top = rates.index(max(rates))
    assert 95 <= top <= 105
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0
    assert 0.009 < max(rates) <= 0.01
    assert rates[-1] < 1e-7


def test_one_step_is_a_schedule_too() -> None:
    assert learning_rate(Optimisation(steps=1, learning_rate=1.0, warm_up=0.0), 0) == pytest.approx(0.5)


def test_linear_and_constant() -> None:
    linear = Optimisation(steps=9, learning_rate=0.1, warm_up=0.0, schedule="linear")
    assert [learning_rate(linear, step) for step in range(9)] == pytest.approx([0.01 * n for n in range(9, 0, -1)])
    constant = Optimisation(steps=9, learning_rate=0.1, warm_up=0.4, schedule="constant")
    rates = [learning_rate(constant, step) for step in range(9)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, *[0.1] * 6])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("steps", 1.5),
        ("patience", 0),
        ("validate_every", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", 1e38),
        ("clip_norm", 0.0),
        ("warm_up", 1.0),
        ("average", -0.1),
        ("weight_decay", -1.0),
        ("schedule", "steps"),
        ("precision", "float16"),
    ],
)
def test_a_bad_option_is_named(option: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{option} is "):
        Optimisation(**{option: value})  # type: ignore[arg-type]
