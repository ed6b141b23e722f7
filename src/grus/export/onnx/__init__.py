"""A whole model as an ONNX graph, built node by node, and proved in ONNX Runtime before it is kept.

May import: what ``grus.export`` may, and the rest of it. Begin with ``graph``: the blocks; ``proof`` runs the result.
"""

from __future__ import annotations

import os
from importlib.metadata import version

from grus import installed
from grus.errors import InputError
from grus.export.agreement import Agreement
from grus.export.onnx.graph import Graph
from grus.export.onnx.nodes import state_names
from grus.export.onnx.proof import RUNS, prove
from grus.files import write_whole
from grus.model import Model
from grus.spec.limits import refuse

__all__ = ["LEAST_OPSET", "RUNS", "prove", "state_names", "to_onnx"]


LEAST_OPSET = 14  # the first whose GRU is today's but for the types it takes
MOST_BYTES = 1 << 31  # of a Protocol Buffers message
NEEDS = "exporting to ONNX needs onnx and onnxruntime, which runs the file before it is kept"


def to_onnx(model: Model, path: str | os.PathLike[str], *, opset: int = 17) -> Agreement:
    """Write ``model`` as an .onnx file, and say how well ONNX Runtime agrees with it.

    The graph takes ``x`` [time, batch, input_size] and, unless a GRU is bidirectional, ``state_0``, ``state_1``, …
    [batch, size], a :class:`grus.Session`'s ``State.arrays`` in their order; it gives ``y`` [time, batch,
    output_size] and the states after the last step, ``next_state_0``, …. Time and batch are free: with a time of 1
    and the states handed on it is a stream's step. Ids for an Embedding are float32, as for a Session. ``opset`` is
    that of the file, from 14 to the newest that the package ``onnx`` knows. The metadata hold the spec
    (``grus.spec``) and the model's hash (``grus.hash``).

    Before anything is written ONNX Runtime runs the graph on random inputs, whole and step by step, and its results
    are held against the model's by the tolerance rule. Raises InputError where they differ, for a quantised model, for
    an unknown opset, for weights of 2 GiB and more, and without the packages onnx and onnxruntime.
    """
    data = build(model, opset)
    agreement = prove(model, data)
    if not agreement.good:
        raise InputError(f"ONNX Runtime does not compute what the model does, so nothing was written: {agreement}")
    write_whole(path, data)
    return agreement


def build(model: Model, opset: int) -> bytes:
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}, expected a grus.Model: grus.load(path) reads one")
    refuse("onnx", model.spec)
    try:
        from onnx import checker, defs, helper
    except ModuleNotFoundError:
        raise InputError(f"{NEEDS}: {installed.command('onnx')}") from None
    newest = defs.onnx_opset_version()
    if type(opset) is not int or not LEAST_OPSET <= opset <= newest:
        raise InputError(f"opset is {opset!r}, expected an integer from {LEAST_OPSET} to {newest}", "opset")
    size = sum(array.nbytes for array in model.arrays.values())
    if size >= MOST_BYTES:
        raise InputError(f"the weights have {size:,} bytes, and no ONNX file is larger than {MOST_BYTES:,}")
    graph = Graph(model)
    opsets = [helper.make_opsetid("", opset)]
    proto = helper.make_model(
        graph.proto(),
        opset_imports=opsets,
        ir_version=min(10, helper.find_min_ir_version_for(opsets)),
        producer_name="grus",
        producer_version=version("grus"),
    )
    helper.set_model_props(proto, {"grus.spec": model.spec.to_json(), "grus.hash": model.hash})
    checker.check_model(proto)
    return bytes(proto.SerializeToString())
