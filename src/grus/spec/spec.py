"""The waist: what a model is, as frozen dataclasses that go to JSON and back.

A network is a chain of blocks. Each maps a sequence [T, B, input_size] to [T, B, output_size], step by step, so that
every backend can run it whole or as a stream. :func:`parameters` names every array a chain needs and its shape; the
same names are the keys in a model file and in the state_dict of the PyTorch network.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from grus.errors import InputError
from grus.spec.blocks import GRU, Activation, Embedding, Linear, Pool, gru_parameters
from grus.spec.fields import check, check_sizes, shown
from grus.spec.task import Categorical, Characters, Classify, Forecast, Language, Numeric, Series, Subwords, Words

__all__ = [
    "GRU",
    "Activation",
    "Block",
    "Bypass",
    "Categorical",
    "Characters",
    "Classify",
    "Embedding",
    "Forecast",
    "Language",
    "Linear",
    "Mean",
    "Numeric",
    "Pool",
    "Residual",
    "Series",
    "Spec",
    "Subwords",
    "Task",
    "Words",
    "leaves",
    "parameters",
]

MAX_DEPTH = 16  # blocks inside blocks
MAX_ARRAYS = 1 << 16  # of all blocks
MAX_ITEMS, MAX_OBJECTS = 1 << 19, 1 << 14  # of a spec as JSON


def _check_chain(owner: object, name: str, blocks: Sequence[Block]) -> None:
    where = f"{type(owner).__name__}.{name}"
    if not isinstance(blocks, tuple) or not blocks or not all(isinstance(b, BLOCKS) for b in blocks):
        raise InputError(f"{where} is {shown(blocks)}, expected a tuple of at least one block")
    for left, right in itertools.pairwise(blocks):
        if left.output_size != right.input_size:
            numbers = f"gives {left.output_size} features, but {shown(right)} takes {right.input_size}"
            raise InputError(f"{where}: {shown(left)} {numbers}")


@dataclass(frozen=True)
class Bypass:
    """The last ``size`` features go around ``blocks`` and are joined to the end of their output."""

    size: int
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        check_sizes(self, "size")
        _check_chain(self, "blocks", self.blocks)

    @property
    def input_size(self) -> int:
        return self.blocks[0].input_size + self.size

    @property
    def output_size(self) -> int:
        return self.blocks[-1].output_size + self.size


@dataclass(frozen=True)
class Residual:
    """y = x + blocks(x)."""

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        _check_chain(self, "blocks", self.blocks)
        if self.input_size != self.output_size:
            raise InputError(f"Residual.blocks turn {self.input_size} features into {self.output_size}, expected equal")

    @property
    def input_size(self) -> int:
        return self.blocks[0].input_size

    @property
    def output_size(self) -> int:
        return self.blocks[-1].output_size


@dataclass(frozen=True)
class Mean:
    """An ensemble: every member is a chain of its own on the same input; the output is the mean of theirs."""

    members: tuple[tuple[Block, ...], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.members, tuple) or not self.members:
            raise InputError(f"Mean.members is {shown(self.members)}, expected a tuple of at least one chain")
        for index, member in enumerate(self.members):
            _check_chain(self, f"members[{index}]", member)
        sizes = {(member[0].input_size, member[-1].output_size) for member in self.members}
        if len(sizes) > 1:
            raise InputError(f"Mean.members have unequal (input, output) sizes: {sorted(sizes)}")

    @property
    def input_size(self) -> int:
        return self.members[0][0].input_size

    @property
    def output_size(self) -> int:
        return self.members[0][-1].output_size


Block: TypeAlias = GRU | Linear | Activation | Embedding | Pool | Bypass | Residual | Mean
BLOCKS = (GRU, Linear, Activation, Embedding, Pool, Bypass, Residual, Mean)
Task: TypeAlias = Forecast | Classify | Language
TASKS = (Forecast, Classify, Language)


@dataclass(frozen=True)
class Spec:
    """A model without its arrays: the chain of blocks, and the task that says what goes in and what comes out."""

    blocks: tuple[Block, ...]
    task: Task | None = None
    precision: Literal["float32", "w8a16"] = "float32"  # of the arrays: see grus.quantized.layout

    def __post_init__(self) -> None:
        _check_chain(self, "blocks", self.blocks)
        if _depth(self.blocks) > MAX_DEPTH:
            raise InputError(f"Spec.blocks nest more than {MAX_DEPTH} deep")
        if _count(self.blocks) > MAX_ARRAYS:
            raise InputError(f"Spec.blocks have {_count(self.blocks):,} arrays, expected at most {MAX_ARRAYS:,}")
        check(self, "task", self.task is None or isinstance(self.task, TASKS), "a task or None")
        check(self, "precision", self.precision in ("float32", "w8a16"), "'float32' or 'w8a16'")
        if isinstance(self.task, (Classify, Language)):
            _check_fits(self.blocks, self.task)

    @property
    def input_size(self) -> int:
        return self.blocks[0].input_size

    @property
    def output_size(self) -> int:
        return self.blocks[-1].output_size

    def to_json(self) -> str:
        """The spec as JSON: each dataclass an object with its class under "type"."""
        return json.dumps(_encode(self), separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Spec:
        """The spec a JSON text describes. Raises InputError that names the field for anything else."""
        items, objects = sum(map(text.count, ",[")), text.count("{")
        if items > MAX_ITEMS or objects > MAX_OBJECTS:
            most = f"at most {MAX_ITEMS:,} and {MAX_OBJECTS:,}"
            raise InputError(f"the spec has {items:,} items and {objects:,} objects, expected {most}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the spec is not JSON: {error}") from None
        spec = _decode(value, 0)
        if not isinstance(spec, Spec):
            raise InputError(f"the spec is a {type(spec).__name__}, expected a Spec")
        return spec


def _check_fits(blocks: Sequence[Block], task: Classify | Language) -> None:
    """Raise InputError unless the blocks take what the task's input gives and give what its output wants."""
    read = task.input
    takes = read.size if isinstance(read, Series) else 1
    gives = len(task.classes) if isinstance(task, Classify) else read.size
    sizes = (blocks[0].input_size, blocks[-1].output_size)
    if sizes != (takes, gives):
        raise InputError(
            f"Spec.blocks take {sizes[0]} features and give {sizes[1]}, the task wants {takes} and {gives}"
        )
    for block in leaves(blocks):
        if isinstance(block, Embedding) and (isinstance(read, Series) or block.size < read.size):
            raise InputError(f"Spec.blocks have {block}, but the task's {type(read).__name__} is of size {read.size}")


_PARTS = (Numeric, Categorical, Words, Characters, Subwords, Series)
_TYPES: dict[str, Any] = {c.__name__: c for c in (Spec, *TASKS, *_PARTS, *BLOCKS)}


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        fields = {n: v for n, v in fields.items() if (n, v) != ("precision", "float32")}  # float models' files stay
        return {"type": type(value).__name__, **fields}
    return [_encode(v) for v in value] if isinstance(value, (tuple, list)) else value


def _depth(blocks: Sequence[Block]) -> int:
    inner = [
        b.members if isinstance(b, Mean) else (b.blocks,) for b in blocks if isinstance(b, (Bypass, Residual, Mean))
    ]
    return 1 + max((_depth(chain) for chains in inner for chain in chains), default=0)


def _count(blocks: Sequence[Block]) -> int:
    """How many arrays :func:`parameters` would name."""
    total = 0
    for block in blocks:
        match block:
            case GRU():
                total += block.num_layers * block.directions * (4 if block.bias else 2)
            case Linear():
                total += 2 if block.bias else 1
            case Bypass() | Residual():
                total += _count(block.blocks)
            case Mean():
                total += sum(map(_count, block.members))
            case Embedding():
                total += 1
            case Pool():
                total += 3 if block.function == "attention" else 0
            case Activation():
                pass
    return total


def _decode(value: Any, depth: int) -> Any:
    if depth > 4 * MAX_DEPTH:  # a block in a Mean is three levels of JSON below it
        raise InputError(f"the spec nests more than {MAX_DEPTH} blocks deep")
    if isinstance(value, list):
        return tuple(_decode(v, depth + 1) for v in value)
    if isinstance(value, str):
        return _unicode(value)
    if not isinstance(value, dict):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"the spec holds {value}, expected finite numbers")
        return value
    kind = value.get("type")
    cls = _TYPES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise InputError(f"the spec has an object of type {kind!r}, expected one of {', '.join(_TYPES)}")
    fields = {key: _decode(v, depth + 1) for key, v in value.items() if key != "type"}
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(fields) - set(known))
    missing = [n for n, f in known.items() if n not in fields and f.default is dataclasses.MISSING]
    if unknown or missing:
        raise InputError(f"{kind} in the spec has unknown fields {unknown} and lacks the fields {missing}")
    return cls(**fields)


def _unicode(text: str) -> str:
    """A string of the spec. Raises InputError for half a surrogate pair, which JSON can write and no file can hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"the spec holds {shown(text)}, which is no Unicode: half a surrogate pair") from None
    return text


def leaves(blocks: Sequence[Block]) -> Iterator[Block]:
    """The blocks that hold no other blocks, in the order of the spec."""
    for block in blocks:
        match block:
            case Bypass() | Residual():
                yield from leaves(block.blocks)
            case Mean():
                for member in block.members:
                    yield from leaves(member)
            case _:
                yield block


def parameters(blocks: Sequence[Block], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """The name and shape of every array a chain needs, in order: "0.weight_ih_l0", "2.1.0.bias", …

    A block's name is its index in its chain; a chain inside Bypass or Residual continues below it, a member of Mean
    first gives its own index.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for index, block in enumerate(blocks):
        name = f"{prefix}{index}."
        match block:
            case GRU():
                shapes |= {name + key: shape for key, shape in gru_parameters(block)}
            case Linear():
                shapes[name + "weight"] = (block.output_size, block.input_size)
                if block.bias:
                    shapes[name + "bias"] = (block.output_size,)
            case Embedding():
                shapes[name + "weight"] = (block.size, block.output_size)
            case Pool():
                if block.function == "attention":
                    shapes[name + "weight"] = (block.attention_size, block.size)
                    shapes[name + "bias"] = shapes[name + "query"] = (block.attention_size,)
            case Bypass() | Residual():
                shapes |= parameters(block.blocks, name)
            case Mean():
                for member, chain in enumerate(block.members):
                    shapes |= parameters(chain, f"{name}{member}.")
            case Activation():
                pass
    return shapes
