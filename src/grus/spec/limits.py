"""What each backend does not take, in one table: the messages and the table in docs/models.md are made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from grus.errors import InputError
from grus.spec.blocks import GRU, Embedding, Pool
from grus.spec.chains import BLOCKS, Block, walk
from grus.spec.facts import Precision
from grus.spec.spec import Spec

__all__ = ["LIMITS", "Backend", "Feature", "Limits", "features", "refuse", "rows"]

Feature: TypeAlias = type[Block] | Literal["bidirectional"] | Precision
Backend: TypeAlias = Literal[
    "run",
    "stream",
    "w8a16",
    "quantize",
    "c",
    "onnx",
    "verify onnx",
    "weights",
    "all weights",
    "network",
    "train stream",
]


@dataclass(frozen=True)
class Limits:
    """what: the backend, for people. refused: what it does not take, and the message; {precision} is the model's."""

    what: str
    refused: Mapping[Feature, str]


def _quantised(remedy: str) -> dict[Feature, str]:
    return {"w8a16": f"the model is quantised ({{precision}}): {remedy}"}


LIMITS: Mapping[Backend, Limits] = {
    "run": Limits("`Session.run`, whole sequences", {}),
    "stream": Limits(
        "`Session.step`, a state",
        {
            "bidirectional": "this model has a bidirectional GRU, which reads the whole sequence before its first "
            "output: it cannot be streamed or given a state; call run(x)"
        },
    ),
    "w8a16": Limits(
        "int8 weights and 16-bit activations",
        {
            "bidirectional": "the spec has a bidirectional GRU, but a w8a16 model is there to be streamed",
            Embedding: "the spec has an Embedding, whose ids are no measured numbers: w8a16 has none",
            Pool: "the spec has a Pool, whose sums may outgrow the 16 bits of w8a16",
        },
    ),
    "quantize": Limits("`quantize`", {"w8a16": "the model is {precision} already, expected one of float32"}),
    "c": Limits("C99", {}),
    "onnx": Limits("ONNX", _quantised("export the float32 model it was made of")),
    "verify onnx": Limits("`verify` of an ONNX file", _quantised("give the float32 model that was exported")),
    "weights": Limits("a GRU as another library's weights", _quantised("convert the float32 model it was made of")),
    "all weights": Limits(
        "a whole network as another library's weights",
        dict.fromkeys(
            (block for block in BLOCKS if block is not GRU), "only a GRU can be said in other libraries' weights"
        ),
    ),
    "network": Limits("`grus.torch.network`", _quantised("take the float32 model it was made of")),
    "train stream": Limits(
        "`Network.stream`",
        {
            "bidirectional": "the network has a bidirectional GRU, which reads whole sequences: it cannot be streamed",
        },
    ),
}


def features(spec: Spec) -> set[Feature]:
    """What a backend may not take of a spec: its kinds of blocks, its directions, its precision."""
    found: set[Feature] = {spec.precision, *(type(block) for _, block in walk(spec.blocks))}
    return found if spec.streams else found | {"bidirectional"}


def refuse(backend: Backend, spec: Spec) -> None:
    """Raise InputError where the backend does not take the spec, with the first reason in the table."""
    has = features(spec)
    for feature, message in LIMITS[backend].refused.items():
        if feature in has:
            raise InputError(message.format(precision=spec.precision))


def rows() -> Iterator[tuple[str, str, str]]:
    """The table for people: backend, what it does not take, what it says."""
    for limits in LIMITS.values():
        if not limits.refused:
            yield limits.what, "–", "–"
        for message in dict.fromkeys(limits.refused.values()):
            taken = [f for f, other in limits.refused.items() if other == message]
            names = ", ".join(f if isinstance(f, str) else f.__name__ for f in taken)
            yield limits.what, names, message.format(precision="w8a16")
