"""A spec as a PyTorch network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grus.errors import InputError
from grus.spec import GRU, Activation, Block, Bypass, Linear, Mean, Residual, Spec, parameters
from grus.torch.network import Network, from_model, to_model

CHAINS: dict[str, tuple[Block, ...]] = {
    "gru": (GRU(3, 5),),
    "linear": (Linear(3, 4, bias=False), Activation(4, "relu")),
    "two layers, two directions": (GRU(3, 4, num_layers=2, bidirectional=True, bias=False), Linear(8, 2)),
    "bypass": (Bypass(2, (GRU(1, 4), Activation(4, "tanh"))), Linear(6, 2)),
    "bypass without a GRU": (GRU(3, 4), Bypass(1, (Linear(3, 2), Activation(2, "sigmoid")))),
    "residual": (Linear(3, 4), Residual((GRU(4, 4),)), Residual((Linear(4, 4),)), GRU(4, 2), Linear(2, 1)),
    "mean": (Mean(((GRU(3, 4), Linear(4, 2)), (Linear(3, 2),))), Activation(2, "tanh")),
    "nested": (Bypass(1, (Mean(((Residual((GRU(2, 2),)),), (Linear(2, 2),))), Linear(2, 3))), Linear(4, 1)),
    "reset before": (GRU(3, 4, reset_after=False), Linear(4, 1)),
}


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> tuple[Block, ...]:
    torch.manual_seed(3)
    return CHAINS[request.param]


def test_names_and_shapes_are_those_of_the_spec(chain: tuple[Block, ...]) -> None:
    state = Network(chain).state_dict()
    assert list(state) == list(parameters(chain))
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == parameters(chain)


def test_last_is_the_last_step_of_all(chain: tuple[Block, ...]) -> None:
    network = Network(chain)
    x = torch.randn(7, 4, 3)
    y = network(x)
    assert y.shape == (7, 4, chain[-1].output_size)
    torch.testing.assert_close(network(x, last=True), y[-1])


def test_behind_the_last_gru_only_one_step_is_computed() -> None:
    network = Network((Linear(3, 4), GRU(4, 4), Residual((Linear(4, 4),)), Linear(4, 2)))
    steps = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, x, y, name=name: steps.update({name: x[0].shape[0]}))
    network(torch.randn(9, 2, 3), last=True)
    assert steps == {"0": 9, "2.0": 1, "3": 1}


def test_the_model_and_back(chain: tuple[Block, ...]) -> None:
    network = Network(chain)
    model = to_model(network, Spec(chain))
    kept = {name: array.copy() for name, array in model.arrays.items()}
    again = from_model(model)
    with torch.no_grad():
        for tensor in [*network.parameters(), *again.parameters()]:
            tensor.zero_()
    assert all(np.array_equal(model.arrays[name], array) for name, array in kept.items())
    again = from_model(model)
    assert all(np.array_equal(tensor.numpy(), kept[name]) for name, tensor in again.state_dict().items())


def test_what_each_block_computes() -> None:
    x = torch.randn(5, 2, 3)
    linear = Network((Linear(3, 3),))
    state = linear.state_dict()
    expected = x @ state["0.weight"].T + state["0.bias"]
    for blocks, wanted in [
        ((Linear(3, 3), Activation(3, "relu")), expected.clamp(min=0)),
        ((Linear(3, 3), Activation(3, "tanh")), expected.tanh()),
        ((Linear(3, 3), Activation(3, "sigmoid")), expected.sigmoid()),
    ]:
        network = Network(blocks)
        network.load_state_dict(state)
        torch.testing.assert_close(network(x), wanted)
    residual = Network((Residual((Linear(3, 3),)),))
    residual.load_state_dict({"0." + name: tensor for name, tensor in state.items()})
    torch.testing.assert_close(residual(x), x + expected)
    bypass = Network((Bypass(2, (Linear(3, 3),)),))
    bypass.load_state_dict({"0." + name: tensor for name, tensor in state.items()})
    wide = torch.randn(5, 2, 5)
    torch.testing.assert_close(bypass(wide), torch.cat([linear(wide[..., :3]), wide[..., 3:]], dim=-1))
    mean = Network((Mean(((Linear(3, 3),), (Linear(3, 3),))),))
    mean.load_state_dict({f"0.{m}.{name}": tensor * (m + 1) for m in range(2) for name, tensor in state.items()})
    torch.testing.assert_close(mean(x), 1.5 * expected)


def test_a_gru_computes_what_pytorchs_does() -> None:
    block = GRU(3, 8, num_layers=2)
    network, layer = Network((block,)), torch.nn.GRU(3, 8, num_layers=2)
    layer.load_state_dict({name[2:]: tensor for name, tensor in network.state_dict().items()})
    x = torch.randn(11, 4, 3)
    torch.testing.assert_close(network(x), layer(x)[0])


def test_dropout_acts_in_training_alone() -> None:
    network = Network((GRU(3, 64),), dropout=0.5)
    x = torch.randn(4, 8, 3)
    torch.manual_seed(0)
    share = float((network(x) == 0).float().mean())
    assert 0.4 < share < 0.6
    torch.manual_seed(0)
    first = network(x)
    torch.manual_seed(0)
    assert torch.equal(first, network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    assert not (network(x) == 0).any()


def test_every_weight_learns(chain: tuple[Block, ...]) -> None:
    network = Network(chain)
    network(torch.randn(6, 4, 3)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or "relu" in str(chain), name


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 5), (1, 4, 2, 3)])
def test_a_wrong_input_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"x has shape .* expected \(T, B, 3\)"):
        Network((GRU(3, 2),))(torch.zeros(shape))


def test_no_last_step_of_nothing() -> None:
    with pytest.raises(InputError, match=r"expected \(T > 0, B, 3\)"):
        Network((GRU(3, 2),))(torch.zeros(0, 2, 3), last=True)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_wrong_dropout_is_named(dropout: float) -> None:
    with pytest.raises(InputError, match="dropout is"):
        Network((GRU(3, 2),), dropout=dropout)


def test_a_network_of_another_spec_is_no_model() -> None:
    with pytest.raises(InputError, match="do not fit the spec"):
        to_model(Network((GRU(3, 2),)), Spec((Linear(3, 2),)))
