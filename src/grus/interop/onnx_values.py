"""What a name in an ONNX graph stands for: a constant, or the numbers of an input or of a GRU moved about.

Nodes are computed one by one by the reference of the package ``onnx``, in NumPy. To find out where numbers go, a
graph's inputs and a GRU's outputs are seeded with numbers that tell each place from any other: what comes out, however
it was reshaped, says which of them it is. Only operators of the list below are computed, and none whose result is too
large.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError

__all__ = ["LONGEST", "MOVING", "SPREADING", "External", "Scope"]

LONGEST = 100  # nodes between two GRUs, or that a constant is computed by
# numbers stay as they are
MOVING = (
    "Identity",
    "Dropout",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Flatten",
    "Slice",
)  # numbers as they are
SPREADING = ("Identity", "Expand", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Tile", "Slice", "ConstantOfShape")
_SEEDED = {*MOVING, *SPREADING, "Gather", "Split", "Concat"}  # what may be done with a number that marks its place
_SMALLER = {"Identity", "Dropout", "Cast", "DequantizeLinear", "QuantizeLinear", "Transpose", "Squeeze", "Unsqueeze"}
_SMALLER |= {"Reshape", "Flatten", "Slice", "Split", "Shape", "Size", "Neg", "Sqrt", "Reciprocal", "Abs", "Exp"}
_SMALLER |= {"ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceL2", "Ceil", "Floor", "Round", "Clip", "Tanh"}
_SPREAD = {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Where", "Equal", "Less", "Greater", "And", "Or"}
_LARGER = {"Concat", "Gather", "Expand", "Tile", "ConstantOfShape", "MatMul", "Range"}
_COMPUTED = {*_SMALLER, *_SPREAD, *_LARGER, "Constant", "Not"}
_LABELS = 1 << 30  # bytes
_PART = ("offset", "length")
_DYNAMIC = (5, 7, 11, 13, 17, 19)  # for sizes that a graph leaves open; each of its own, so that none is another's


@dataclass(frozen=True)
class External:
    """The files beside the one with the graph, as PyTorch writes them; ``folder`` is None where there are none."""

    folder: Path | None = None

    def read(self, tensor: Any) -> Any:
        """The tensor with its numbers inside. Only files in the folder itself are read."""
        from onnx import TensorProto

        said = {entry.key: entry.value for entry in tensor.external_data}
        name, where = said.get("location", ""), f"{tensor.name!r} lies in another file"
        if self.folder is None:
            raise InputError(f"{where}: save the ONNX file with its weights inside, or give its path to load_file")
        path = self.folder / name
        if name != path.name or path.is_symlink() or not path.is_file():
            raise InputError(f"{where}, {name[:200]!r}, expected one in the same folder, which is not there")
        start, size = (int(said.get(key) or 0) if (said.get(key) or "0").isdecimal() else -1 for key in _PART)
        size = size or path.stat().st_size - start
        if min(start, size) < 0 or start + size > path.stat().st_size:
            raise InputError(f"{where}, {name!r}, which ends before its numbers do")
        whole = TensorProto()
        whole.CopyFrom(tensor)
        whole.ClearField("data_location")
        with path.open("rb") as file:
            file.seek(start)
            whole.raw_data = file.read(size)
        return whole

    def bytes_of(self, graph: Any) -> int:
        """The bytes of the files that a graph names."""
        folder = self.folder
        names = {e.value for t in graph.initializer for e in t.external_data if e.key == "location"}
        if folder is None:
            return 0
        return sum((folder / n).stat().st_size for n in names if n == Path(n).name and (folder / n).is_file())


@dataclass(frozen=True)
class Scope:
    """What the names in one graph stand for: tensors by name, the node that gives a name, and known values.

    ``left``: the one number of bytes that values may still take. ``place``: the node, in words, in whose graph this is;
    "" for the main graph. ``moved``: the names whose value is made of one that :meth:`seeded` gave. ``sizes``: T and
    B of what GRU nodes are given, by the node, once they were looked for.
    """

    opsets: Mapping[str, int]
    external: External
    left: list[int]
    tensors: ChainMap[str, Any] = field(default_factory=ChainMap)
    producers: ChainMap[str, Any] = field(default_factory=ChainMap)
    shapes: ChainMap[str, tuple[int, ...]] = field(default_factory=ChainMap)
    known: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    place: str = ""

    def within(self, graph: Any, place: str = "") -> Scope:
        tensors = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
        producers: dict[str, Any] = {}
        for node in graph.node:
            producers |= {name: node for name in node.output if name}
            value = next((a.t for a in node.attribute if a.name == "value" and a.HasField("t")), None)
            if node.op_type == "Constant" and value is not None:
                tensors |= dict.fromkeys(node.output, value)
        open_sizes: dict[str, int] = {}
        shapes = {v.name: _shape(v, open_sizes) for v in (*getattr(graph, "input", ()), *graph.value_info) if _has(v)}
        # maps in a row, not copies: a graph may hold a great many graphs
        return replace(
            self,
            tensors=ChainMap(tensors, *self.tensors.maps),
            producers=ChainMap(producers, *self.producers.maps),
            shapes=ChainMap(shapes, *self.shapes.maps),
            known={},
            place=place or self.place,
        )

    def seeded(self, known: Mapping[str, NDArray[Any]]) -> Scope:
        """The same names, some of them with a value of ours."""
        return replace(self, known=dict(known), moved=set(known), left=[max(_LABELS, *self.left)])

    def array(self, name: str, depth: int = 0) -> NDArray[Any] | None:
        """The value of this name, computed where it has to be; None where it is an input or cannot be computed here."""
        if name not in self.known:
            self.known[name] = None  # if it is its own ancestor
            self.known[name] = self.numbers(self.tensors[name]) if name in self.tensors else self._result(name, depth)
        return self.known[name]

    def zeros(self) -> dict[str, NDArray[Any]]:
        """For each input of the graph whose shape is known, zeros that take no memory."""
        names = [name for name in self.shapes if name not in self.producers and name not in self.tensors]
        return {name: z for name in names if (z := _zeros(self.shapes[name])) is not None}

    def numbers(self, tensor: Any) -> NDArray[Any]:
        from onnx import numpy_helper

        name = tensor.name
        if tensor.data_location == tensor.EXTERNAL:
            tensor = self.external.read(tensor)
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(f"{name!r} is damaged: {error}") from None

    def _result(self, name: str, depth: int) -> NDArray[Any] | None:
        node = self.producers.get(name)
        if node is None or node.op_type not in _COMPUTED or node.domain not in ("", "ai.onnx") or depth > LONGEST:
            return None
        sizes = node.op_type in ("Shape", "Size")
        given = []
        for each in node.input:
            value = self.array(each, depth + 1) if each else np.empty(0)
            if value is None and sizes and each in self.shapes:
                value = _zeros(self.shapes[each])
            if value is None:
                return None
            given.append(value)
        moved = not sizes and not self.moved.isdisjoint(node.input)
        if moved and node.op_type not in _SEEDED:
            return None
        try:
            if _bytes(node, given) > self.left[0]:
                return None
            results = given[:1] if node.op_type in ("Identity", "Dropout") else self._computed(node, given)
        except Exception:  # whatever a node that is no good makes of the reference
            return None
        self.left[0] -= sum(np.asarray(r).nbytes for r in results)
        self.known.update((key, np.asarray(r)) for key, r in zip(node.output, results, strict=False) if key)
        self.moved.update(node.output if moved else ())
        return self.known[name]

    def _computed(self, node: Any, given: Sequence[NDArray[Any]]) -> Sequence[Any]:
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        feeds = {each: value for each, value in zip(node.input, given, strict=True) if each}
        results = [each for each in node.output if each]
        # their types are not looked at
        ins = [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in feeds]
        outs = [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in results]
        least = 13 if len(node.input) > 1 else 1  # what was an attribute before is an input there
        least = 19 if node.op_type.endswith("quantizeLinear") or node.op_type == "QuantizeLinear" else least
        opsets = [helper.make_opsetid(domain, max(version, least)) for domain, version in self.opsets.items()]
        model = helper.make_model(helper.make_graph([node], "one", ins, outs), opset_imports=opsets)
        with np.errstate(all="ignore"):
            found: Any = ReferenceEvaluator(model).run(None, feeds)
        return [found[results.index(each)] if each else None for each in node.output]


def _shape(value: Any, open_sizes: dict[str, int]) -> tuple[int, ...]:
    """The sizes of a graph's input or value; one that is left open gets a number of its own, by its name."""
    sizes = []
    for i, dim in enumerate(value.type.tensor_type.shape.dim):
        key = dim.dim_param or f"{value.name}.{i}"
        if not dim.dim_value:
            open_sizes.setdefault(key, _DYNAMIC[len(open_sizes) % len(_DYNAMIC)])
        sizes.append(dim.dim_value or open_sizes[key])
    return tuple(sizes)


def _zeros(shape: tuple[int, ...]) -> NDArray[Any] | None:
    try:
        return np.broadcast_to(np.float32(0), shape)
    except ValueError:  # sizes below 0, or beyond what an array may have
        return None


def _has(value: Any) -> Any:
    return not isinstance(value, str) and value.type.tensor_type.HasField("shape")  # a function's inputs are names


def _bytes(node: Any, given: Sequence[NDArray[Any]]) -> int:
    """An upper bound of what a node's result has."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    width = max((a.dtype.itemsize for a in given), default=8)
    match node.op_type:
        case "ConstantOfShape":
            count = math.prod(int(n) for n in given[0].ravel())
        case "Expand":
            count = math.prod(np.broadcast_shapes(given[0].shape, tuple(int(n) for n in given[1])))
        case "Tile":
            count = given[0].size * math.prod(int(n) for n in given[1].ravel())
        case "Range":
            start, stop, step = (float(a) for a in given)
            count = int((stop - start) / step) + 1
        case "Gather":
            count = given[1].size * given[0].size // given[0].shape[axis]
        case "Concat":
            count = sum(a.size for a in given)
        case "MatMul":
            rows, columns = given[0].shape[-2:-1], given[1].shape[-1:]
            count = math.prod((*np.broadcast_shapes(given[0].shape[:-2], given[1].shape[:-2]), *rows, *columns))
        case kind if kind in _SPREAD:
            count = math.prod(np.broadcast_shapes(*(a.shape for a in given)))
        case _:
            count = given[0].size if given else 0
    return 8 * count if node.op_type == "Cast" else max(width, 4) * count
