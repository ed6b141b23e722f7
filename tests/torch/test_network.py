"""A spec as a PyTorch network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from grus.errors import InputError
from grus.spec import GRU, Activation, Block, Bypass, Embedding, Linear, Mean, Pool, Residual, Spec, parameters
from grus.torch.network import Network, Regularisation, from_model, to_model

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
    "pool max": (GRU(3, 4), Pool(4, "max"), Linear(4, 2)),
    "pool mean": (Linear(3, 4), Residual((Pool(4, "mean"),)), GRU(4, 3)),
    "pool ends": (GRU(3, 4, bidirectional=True), Pool(8, "ends"), Linear(8, 2)),
    "pool attention": (GRU(3, 4, bidirectional=True), Bypass(2, (Pool(6, "attention", 5),)), Linear(8, 2)),
}
TEXT = (Embedding(11, 6), GRU(6, 5, 2), Pool(5, "attention", 4), Linear(5, 6), Linear(6, 11))
LENGTHS = torch.tensor([7, 1, 4, 6])


def ids(steps: int = 7, batch: int = 4) -> torch.Tensor:
    return torch.randint(0, 11, (steps, batch, 1)).float()


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


def test_a_row_ends_where_it_ends(chain: tuple[Block, ...]) -> None:
    network = Network(chain)
    x = torch.randn(7, 4, 3)
    last = network(x, last=True, lengths=LENGTHS)
    every = network(x, lengths=LENGTHS)
    for b, end in enumerate(LENGTHS.tolist()):
        alone = network(x[:end, b : b + 1])
        torch.testing.assert_close(every[:end, b : b + 1], alone)
        torch.testing.assert_close(last[b : b + 1], alone[-1])
    last.square().sum().backward()
    mine = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    for b, end in enumerate(LENGTHS.tolist()):
        network(x[:end, b : b + 1], last=True).square().sum().backward()
    torch.testing.assert_close(mine, [p.grad for p in network.parameters() if p.grad is not None])


def test_what_stands_behind_a_row_matters_to_none(chain: tuple[Block, ...]) -> None:
    network = Network(chain)
    x = torch.randn(7, 4, 3)
    right = network(x, last=True, lengths=LENGTHS)
    x[torch.arange(7)[:, None] >= LENGTHS] = 1e9
    assert torch.equal(network(x, last=True, lengths=LENGTHS), right)
    assert torch.equal(network(x, lengths=torch.full((4,), 7)), network(x))


def test_a_stream_goes_on(chain: tuple[Block, ...]) -> None:
    network = Network(chain)
    x = torch.randn(7, 4, 3)
    if not network.streams:
        with pytest.raises(InputError, match="bidirectional GRU, which reads whole sequences"):
            network.stream(x)
        return
    outputs, state = [], None
    for part in x.split([3, 0, 1, 3]):
        y, state = network.stream(part, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs), network(x))
    x.requires_grad_()
    _, state = network.stream(x[:3])
    y, _ = network.stream(x[3:], state)
    mine = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(mine, torch.autograd.grad(network(x)[3:].square().sum(), x))


def test_ids() -> None:
    network = Network(TEXT)
    x = ids()
    weight = network.state_dict()["0.weight"]
    assert torch.equal(Network.run(network, x, False, None), network(x.long()))
    embedded = network[0](x)  # type: ignore[operator]
    assert torch.equal(embedded, weight[x[..., 0].long()])
    for wrong in (11.0, -1.0, 2.5, float("nan"), float("inf")):
        x[3, 2] = wrong
        with pytest.raises(InputError, match="no integer from 0 to 10, the rows of the Embedding"):
            network(x)


def test_words_drop_out_together() -> None:
    network = Network((Embedding(11, 4),), regularisation=Regularisation(word_dropout=0.5))
    x = ids(40, 8)
    y, kept = network(x), network.eval()(x)
    fate = {}
    for word, got, whole in zip(x.flatten().tolist(), y.flatten(0, 1), kept.flatten(0, 1), strict=True):
        assert torch.equal(got, 2 * whole) or not got.any()
        assert fate.setdefault(word, bool(got.any())) == bool(got.any())
    assert set(fate.values()) == {True, False}


@pytest.mark.parametrize("layers", [1, 2])
def test_locked_dropout_is_one_mask_for_a_sequence(layers: int) -> None:
    network = Network((GRU(3, 64, layers),), regularisation=Regularisation(dropout=0.5, locked=True))
    zero = network(torch.randn(9, 4, 3)) == 0
    assert torch.equal(zero.all(dim=0), zero.any(dim=0)) and 0.3 < float(zero.float().mean()) < 0.7
    assert not torch.equal(zero[0, 0], zero[0, 1])
    torch.manual_seed(1)
    y, _ = network.stream(torch.randn(5, 2, 3))
    assert torch.equal((y == 0).all(dim=0), (y == 0).any(dim=0))


def test_locked_dropout_acts_between_layers() -> None:
    network = Network((GRU(3, 8, 2),), regularisation=Regularisation(dropout=0.5, locked=True))
    network[0].output_dropout = 0.9999  # type: ignore[union-attr]
    assert network[0].dropout == 0  # type: ignore[union-attr]
    seen = []
    weight = network.get_parameter("0.weight_ih_l1")
    network(torch.randn(5, 2, 3)).sum().backward()
    seen.append(weight.grad)
    assert seen[0] is not None and not seen[0].any()  # nothing reaches the second layer


@pytest.mark.parametrize("option", ["dropout", "word_dropout", "input_dropout", "recurrent_dropout", "weight_drop"])
def test_each_option_acts_in_training_alone(option: str) -> None:
    network = Network(TEXT, regularisation=Regularisation(**{option: 0.5}))  # type: ignore[arg-type]
    x = ids()
    torch.manual_seed(0)
    one = network(x)
    assert not torch.equal(one, network(x))
    torch.manual_seed(0)
    assert torch.equal(one, network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    assert torch.equal(network(x), from_model(to_model(network, Spec(TEXT))).eval()(x))


def test_tied_weights() -> None:
    network = Network(TEXT)
    start = network.get_parameter("4.weight").clone()
    network.tie(0, 4)
    assert network.get_parameter("0.weight") is network.get_parameter("4.weight")
    assert torch.equal(network.get_parameter("0.weight"), start)
    assert list(network.state_dict()) == list(parameters(TEXT))
    assert len(list(network.parameters())) == len(parameters(TEXT)) - 1
    model = to_model(network, Spec(TEXT))
    assert np.array_equal(model.arrays["0.weight"], model.arrays["4.weight"])
    x = ids()
    torch.testing.assert_close(from_model(model)(x), network(x))


def test_float32_whatever_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        network = Network(TEXT, regularisation=Regularisation(0.1, True, 0.1))
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        x = ids().float()
        for y in (network(x), network(x, last=True, lengths=LENGTHS), network.stream(x)[0]):
            assert y.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_mean_of_many_steps_in_mixed_precision() -> None:
    network = Network((Linear(3, 4), Pool(4, "mean")))
    x = torch.ones(1001, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        right = network[0](x[0]).float()  # type: ignore[operator]
        for y in (network(x, last=True), network(x)[-1], network(x, True, lengths=torch.tensor([1001, 777]))):
            torch.testing.assert_close(y, right)


X = torch.zeros(3, 2, 3)
GRU_NETWORK = Network((GRU(3, 2),))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GRU_NETWORK(X, lengths=[1, 2]), "lengths is list, expected a tensor of integers"),
        (lambda: GRU_NETWORK(X, lengths=torch.tensor([1.0, 2.0])), r"lengths is torch.float32\(2,\)"),
        (lambda: GRU_NETWORK(X, lengths=torch.tensor([1])), r"lengths is torch.int64\(1,\), expected .* \[2\]"),
        (lambda: GRU_NETWORK(X, lengths=torch.tensor([1, 4])), "lengths are from 1 to 4, expected from 0 to 3"),
        (lambda: GRU_NETWORK(X, True, lengths=torch.tensor([0, 3])), "lengths are from 0 to 3, expected from 1 to 3"),
        (lambda: GRU_NETWORK.stream(X[0]), r"x has shape \(2, 3\), expected \(T, B, 3\)"),
        (lambda: Network(TEXT).tie(0, 3), r"Embedding's weight is \(11, 6\), the Linear's \(6, 5\)"),
        (lambda: Network(TEXT).tie(1, 4), "block 1 is GRU.*, expected a Embedding"),
        (lambda: Network(TEXT).tie(0, 9), "block 9 is None, expected a Linear"),
        (lambda: Network(TEXT, dropout=0.1, regularisation=Regularisation()), "dropout and regularisation are both"),
        (lambda: Regularisation(locked=1), "locked is 1"),  # type: ignore[arg-type]
        (lambda: Regularisation(weight_drop=1.0), "weight_drop is 1.0, expected a number from 0 to below 1"),
        (lambda: Regularisation(word_dropout="0.1"), "word_dropout is '0.1'"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


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
