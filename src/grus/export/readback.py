"""What was exported, run or read back beside its model, each kind in its own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grus import installed
from grus.errors import InputError
from grus.export.agreement import Agreement, Expected, random_inputs
from grus.export.c99.compiled import Compiled, SelfTestFailed
from grus.export.onnx import RUNS, prove
from grus.interop import keras, torch
from grus.interop.layers import layers_of, model_of
from grus.model import Model
from grus.runtime.session import Session
from grus.spec.limits import refuse

__all__ = ["Report", "arrays", "c99", "onnx"]

MOST_BYTES = 1 << 31  # of an ONNX file


@dataclass(frozen=True)
class Report:
    """What was done, and how well the export agrees with the model."""

    what: str
    agreement: Agreement

    @property
    def good(self) -> bool:
        return self.agreement.good


def onnx(model: Model, path: Path) -> Report:
    refuse("verify onnx", model.spec)
    if path.stat().st_size >= MOST_BYTES:
        raise InputError(f"has {path.stat().st_size:,} bytes, and no ONNX file is larger than {MOST_BYTES:,}")
    data = path.read_bytes()
    made_of = _checked_hash(data)
    same = {None: "", model.hash: ", by its metadata made of this model"}.get(
        made_of, ", by its metadata made of another model"
    )
    steps = " and step by step" if model.spec.streams else ""
    return Report(f"run by ONNX Runtime, whole{steps}{same}", prove(model, data))


def _checked_hash(data: bytes) -> str | None:
    """The model's hash in the metadata. Raises InputError where weights lie outside of the file."""
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from onnx import load_model_from_string
    except ModuleNotFoundError:
        raise InputError(f"{RUNS}: {installed.command('onnx')}") from None
    try:
        proto = load_model_from_string(data)
    except DecodeError as error:
        raise InputError(f"is not ONNX, or is damaged: {error}") from None
    if any(tensor.data_location == tensor.EXTERNAL for tensor in _tensors([proto.graph, *proto.functions])):
        raise InputError("has weights in another file, which no export of Grus has")
    return next((p.value for p in proto.metadata_props if p.key == "grus.hash"), None)


def _tensors(graphs: Sequence[Any]) -> Iterator[Any]:
    for graph in graphs:
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for a in node.attribute:
                yield from (a.t, *a.tensors, a.sparse_tensor.values, a.sparse_tensor.indices)
                yield from _tensors([g for g in (a.g, *a.graphs) if g.node or g.initializer])


def arrays(model: Model, path: Path, block: str | None, prefix: str | None) -> Report:
    part = model_of(layers_of(model, block))
    other = torch.load_file(path, prefix) if path.suffix.lower() == ".safetensors" else keras.load_file(path)
    if (other.spec.input_size, other.spec.output_size) != (part.spec.input_size, part.spec.output_size):
        raise InputError(f"has the GRUs {other.spec.blocks}, the model {part.spec.blocks}")
    x = random_inputs(part, 24, 3)
    same = "every weight equal" if other.hash == part.hash else "not every weight equal"
    return Report(f"read back, {same}, and run by Grus", Expected(part, x).compare(Session(other).run(x)[0]))


def c99(model: Model, folder: Path) -> Report:
    exported = Compiled(folder)
    if exported.fixed != model.spec.format.integers:
        kinds = ("float32", "int8 weights")[:: -1 if exported.fixed else 1]
        raise InputError(f"the C has {kinds[0]}, the model {kinds[1]}: give the model it was exported from")
    sizes = (model.spec.input_size, model.spec.output_size)
    if (exported.input_size, exported.output_size) != sizes:
        raise InputError(f"the C has sizes {(exported.input_size, exported.output_size)}, the model {sizes}")
    x = random_inputs(model, 200, 1)
    try:
        exported.self_test()
    except SelfTestFailed as error:
        return Report(f"compiled, {error}", Agreement(float("nan"), 0.0, 0))
    y = exported.stream(x[:, 0])
    return Report(f"compiled, self-test passed, {len(x)} steps run", Expected(model, x).compare(y[:, None]))
