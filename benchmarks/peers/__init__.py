"""Who takes part. Each file has ``prepare(problem, threads)``: the contestants it offers for a problem, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Contestant(NamedTuple):
    """``run()`` is what is timed; ``arrays`` turns what it returned into float32 arrays with the names of the gate.

    Its result is y, for a training pass also dx and the gradients by the names of ``torch.nn.GRU``.
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Peer:
    """``module`` has ``prepare``; ``packages`` must be installed, and are reported with their versions."""

    name: str
    module: str
    packages: tuple[str, ...]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("grus", "benchmarks.peers.own", ("numpy", "torch")),
        Peer("torch", "benchmarks.peers.pytorch", ("torch",)),
        Peer("onnxruntime", "benchmarks.peers.ort", ("onnxruntime", "onnx")),
        Peer("openvino", "benchmarks.peers.ov", ("openvino", "onnx")),
        Peer("jax", "benchmarks.peers.scan", ("jax", "jaxlib")),
    )
}
COLUMNS = ("grus", "grus.Session", "grus.torch", "torch", "torch.GRUCell", "onnxruntime", "openvino", "jax")


def is_ours(contestant: str) -> bool:
    return contestant.partition(".")[0] == "grus"
