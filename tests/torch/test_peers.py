"""Other recurrent layers in the place of a Network's GRU blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from grus.errors import InputError
from grus.spec import GRU, Embedding, Linear, Pool, Spec
from grus.torch.network import Network, Regularisation, to_model
from grus.torch.network.peers import lstm_of_equal_parameters, torch_gru, torch_gru_packed

PEERS = {"torch.nn.GRU": torch_gru, "packed": torch_gru_packed, "LSTM": lstm_of_equal_parameters}
peers = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
X = torch.randn(7, 4, 3)
LENGTHS = torch.tensor([7, 1, 4, 6])


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("two_way", [True, False])
@pytest.mark.parametrize("peer", [torch_gru, torch_gru_packed])
def test_torch_gru_computes_what_ours_does(peer: Any, two_way: bool, layers: int) -> None:
    block = GRU(3, 5, layers, bidirectional=two_way)
    blocks = (block, Pool(block.output_size, "mean"), Linear(block.output_size, 2))
    ours, theirs = Network(blocks), Network(blocks, recurrent=peer)
    theirs.load_state_dict(
        {n.replace("0.", "0.inner.layer.", 1) if n[0] == "0" else n: t for n, t in ours.state_dict().items()}
    )
    for call in ({}, {"last": True}, {"last": True, "lengths": LENGTHS}):
        torch.testing.assert_close(theirs(X, **call), ours(X, **call))


@peers
@pytest.mark.parametrize("layers", [1, 2])
def test_a_row_ends_where_it_ends(peer: Any, layers: int) -> None:
    network = Network((GRU(3, 6, layers, bidirectional=True), Pool(12, "max"), Linear(12, 2)), recurrent=peer)
    y = network(X, last=True, lengths=LENGTHS)
    for b, end in enumerate(LENGTHS.tolist()):  # no lengths in the second call: PyTorch's own way in both directions
        torch.testing.assert_close(y[b], network(X[:end, b : b + 1], last=True)[0])
    assert torch.isfinite(network(X, lengths=torch.tensor([0, 1, 2, 3]))).all()


@pytest.mark.parametrize("layers", [1, 2])
def test_the_gradient_is_that_of_packed_sequences(layers: int) -> None:
    block = GRU(3, 5, layers, bidirectional=True)
    blocks = (block, Pool(10, "max"), Linear(10, 2))
    ours, packed = (Network(blocks, recurrent=peer) for peer in (torch_gru, torch_gru_packed))
    packed.load_state_dict(ours.state_dict())
    for network in (ours, packed):
        network(X, last=True, lengths=LENGTHS).square().sum().backward()
    for (name, one), (_, other) in zip(ours.named_parameters(), packed.named_parameters(), strict=True):
        assert one.grad is not None and one.grad.abs().sum() > 0, name
        torch.testing.assert_close(one.grad, other.grad)


def test_dropout_between_layers_of_rows_that_end_early() -> None:
    peer: Any = torch_gru(GRU(3, 6, 2, bidirectional=True), 0.5)
    one, two = (peer.run(X, False, LENGTHS) for _ in range(2))
    assert not torch.allclose(one[0], two[0])
    peer.eval()
    torch.testing.assert_close(peer.run(X, False, LENGTHS), peer.run(X, False, LENGTHS))


@peers
def test_a_stream_goes_on(peer: Any) -> None:
    network = Network((GRU(3, 6, 2), Linear(6, 2)), recurrent=peer)
    first, state = network.stream(X[:3])
    rest, _ = network.stream(X[3:], [each.detach() for each in state])
    torch.testing.assert_close(torch.cat([first, rest]), network(X))
    assert len(state) == (4 if peer is lstm_of_equal_parameters else 2)


@pytest.mark.parametrize(
    ("inputs", "hidden", "layers", "two_way"), list(itertools.product([5, 64], [64, 200], [1, 2], [0, 1]))
)
def test_the_lstm_has_as_many_parameters(inputs: int, hidden: int, layers: int, two_way: int) -> None:
    block = GRU(inputs, hidden, layers, bidirectional=bool(two_way))
    ours, theirs = count(Network((block,))), count(Network((block,), recurrent=lstm_of_equal_parameters))
    one_more = 8 * (inputs + 2 * hidden * (1 + two_way)) * layers * (1 + two_way)  # of a unit in every layer, at most
    assert abs(ours - theirs) <= one_more


@peers
def test_regularisation_around_it(peer: Any) -> None:
    blocks = (Embedding(9, 4), GRU(4, 64), Linear(64, 2))
    given = Regularisation(dropout=0.5, locked=True, word_dropout=0.1, input_dropout=0.2)
    network = Network(blocks[1:2], regularisation=given, recurrent=peer)
    units = next(m for m in network.modules() if isinstance(m, (torch.nn.GRU, torch.nn.LSTM))).hidden_size
    zero = (network(torch.randn(6, 3, 4)) == 0)[..., :units]
    assert torch.equal(zero.all(dim=0), zero.any(dim=0)) and 0.3 < float(zero.float().mean()) < 0.7
    whole = Network(blocks, regularisation=given, recurrent=peer).eval()
    x = torch.zeros(3, 2, 1)
    assert torch.equal(whole(x), whole(x))


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Network((GRU(3, 4, reset_after=False),), recurrent=torch_gru), "has the reset after the product alone"),
    (
        lambda: Network((GRU(3, 4),), regularisation=Regularisation(weight_drop=0.1), recurrent=torch_gru),
        "recurrent_dropout and weight_drop act inside a GRU",
    ),
    (lambda: to_model(Network((GRU(3, 4),), recurrent=torch_gru), Spec((GRU(3, 4),))), "do not fit the spec"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
