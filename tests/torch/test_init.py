"""Initialisers: the distribution each promises, what it leaves alone, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrize

import grus.torch
from grus import InputError
from grus.torch import init

KINDS: dict[str, Callable[[], Any]] = {
    "layer": lambda: grus.torch.GRU(6, 16, 2, bidirectional=True),
    "cell": lambda: grus.torch.GRUCell(6, 16),
    "torch.nn.GRU": lambda: torch.nn.GRU(6, 16, 2, bidirectional=True),
    "torch.nn.GRUCell": lambda: torch.nn.GRUCell(6, 16),
}
ALL: dict[str, Callable[..., Any]] = {
    "uniform": init.uniform_,
    "orthogonal": init.orthogonal_,
    "chrono": lambda module, **more: init.chrono_(module, 50, **more),
    "uniform gate": init.uniform_gate_,
}
WRITTEN = {"uniform": "weight bias", "orthogonal": "weight_hh", "chrono": "bias", "uniform gate": "bias"}


@pytest.fixture(params=KINDS)
def module(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return KINDS[request.param]()


@pytest.mark.parametrize("name", ALL)
def test_it_writes_what_it_names_and_returns_the_module(module: Any, name: str) -> None:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert ALL[name](module, generator=torch.Generator().manual_seed(1)) is module
    for key, value in module.state_dict().items():
        written = any(key.startswith(part) for part in WRITTEN[name].split())
        assert torch.equal(value, before[key]) != written, key
        if written and name in ("chrono", "uniform gate"):
            assert torch.equal(value[:16], before[key][:16]) and torch.equal(value[32:], before[key][32:])
    first = {key: value.clone() for key, value in module.state_dict().items()}
    ALL[name](module, generator=torch.Generator().manual_seed(1))
    assert all(torch.equal(value, first[key]) for key, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_uniform_draws_as_reset_parameters_does() -> None:
    module = KINDS["layer"]()
    torch.manual_seed(4)
    module.reset_parameters()
    right = [parameter.clone() for parameter in module.parameters()]
    torch.manual_seed(4)
    init.uniform_(module)
    bound = 1 / math.sqrt(16)
    assert all(float(p.detach().abs().max()) <= bound for p in module.parameters())
    drawn = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert float(drawn.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05) and len(right) == 16


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_each_gate_is_orthogonal(module: Any, gain: float) -> None:
    init.orthogonal_(module, gain)
    for name, weight in module.named_parameters():
        if "weight_hh" in name:
            for gate in weight.detach().chunk(3):
                torch.testing.assert_close(gate @ gate.T, gain**2 * torch.eye(16), atol=1e-5, rtol=0)


def test_chrono_spreads_the_time_scales() -> None:
    cell = init.chrono_(grus.torch.GRUCell(6, 4000), 100, torch.Generator().manual_seed(0))
    steps = cell.bias_ih.detach()[4000:8000].exp()
    assert float(steps.min()) >= 1 - 1e-5 and float(steps.max()) <= 99.01
    assert float(steps.mean()) == pytest.approx(50, rel=0.03) and not cell.bias_hh[4000:8000].any()
    # a state with nothing to hear decays at 1 − z = 1 / (1 + u) a step
    with torch.no_grad():
        for parameter in (cell.weight_ih, cell.weight_hh, cell.bias_ih[8000:], cell.bias_hh[8000:]):
            parameter.zero_()
        after = cell(torch.zeros(6), torch.ones(4000))
    torch.testing.assert_close(1 - after, 1 / (1 + steps), atol=1e-5, rtol=0)


@pytest.mark.parametrize("hidden", [1, 2, 4000])
def test_the_update_gate_is_uniform(hidden: int) -> None:
    cell = init.uniform_gate_(grus.torch.GRUCell(6, hidden), torch.Generator().manual_seed(0))
    gate = torch.sigmoid((cell.bias_ih + cell.bias_hh).detach()[hidden : 2 * hidden])
    if hidden <= 2:
        torch.testing.assert_close(gate, torch.full((hidden,), 0.5))
        return
    assert float(gate.min()) >= 0.9 / hidden and float(gate.max()) <= 1 - 0.9 / hidden
    quantiles = torch.quantile(gate, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="module should be a GRU or a GRUCell, got LSTM"):
        ALL[name](torch.nn.LSTM(2, 3))
    module = grus.torch.GRU(5, 7)
    weight = "weight_hh_l0" if "weight" in WRITTEN[name] else "bias_ih_l0"
    parametrize.register_parametrization(module, weight, torch.nn.Identity())
    with pytest.raises(
        InputError, match=rf"{weight} of ParametrizedGRU\(5, 7\) is no parameter, expected one to write into"
    ):
        ALL[name](module)


@pytest.mark.parametrize("steps", [1, 0, 2.5, True, "ten"])
def test_a_wrong_number_of_steps_is_named(steps: Any) -> None:
    with pytest.raises(InputError, match="max_steps is .*, expected a whole number from 2 on"):
        init.chrono_(grus.torch.GRUCell(5, 7), steps)


@pytest.mark.parametrize("name", ["chrono", "uniform gate"])
def test_without_biases(name: str) -> None:
    with pytest.raises(InputError, match=r"GRU\(5, 7, bias=False\) has no biases, expected bias=True"):
        ALL[name](grus.torch.GRU(5, 7, bias=False))
    init.uniform_(init.orthogonal_(grus.torch.GRU(5, 7, bias=False)))
