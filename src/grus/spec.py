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
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from grus.errors import InputError

__all__ = [
    "GRU",
    "Activation",
    "Block",
    "Bypass",
    "Categorical",
    "Forecast",
    "Linear",
    "Mean",
    "Numeric",
    "Residual",
    "Spec",
    "parameters",
]

MAX_SIZE = 1 << 24  # no size in a spec is larger: a hostile file cannot make products overflow
MAX_LAYERS = 256  # nor can it make the list of its parameters endless
MAX_DEPTH = 16  # blocks inside blocks
MAX_SEASON = 10_000  # steps in a cycle


def _check_sizes(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise InputError(f"{type(owner).__name__}.{name} is {value!r}, expected an integer from 1 to {MAX_SIZE}")


def _check_flags(owner: object, *names: str) -> None:
    for name in names:
        if type(getattr(owner, name)) is not bool:
            raise InputError(f"{type(owner).__name__}.{name} is {getattr(owner, name)!r}, expected True or False")


def _check_chain(owner: object, name: str, blocks: Sequence[Block]) -> None:
    where = f"{type(owner).__name__}.{name}"
    if not isinstance(blocks, tuple) or not blocks or not all(isinstance(b, BLOCKS) for b in blocks):
        raise InputError(f"{where} is {blocks!r}, expected a tuple of at least one block")
    for left, right in itertools.pairwise(blocks):
        if left.output_size != right.input_size:
            raise InputError(f"{where}: {left} gives {left.output_size} features, but {right} takes {right.input_size}")


@dataclass(frozen=True)
class GRU:
    """Gated recurrent layers, one above the other: [T, B, input_size] to [T, B, hidden_size · directions]."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    bidirectional: bool = False
    reset_after: bool = True

    def __post_init__(self) -> None:
        _check_sizes(self, "input_size", "hidden_size", "num_layers")
        if self.num_layers > MAX_LAYERS:
            raise InputError(f"GRU.num_layers is {self.num_layers}, expected at most {MAX_LAYERS}")
        _check_flags(self, "bias", "bidirectional", "reset_after")

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        return self.hidden_size * self.directions


@dataclass(frozen=True)
class Linear:
    """y = x Aᵀ + b with A [output_size, input_size] (``weight``) and b [output_size] (``bias``)."""

    input_size: int
    output_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        _check_sizes(self, "input_size", "output_size")
        _check_flags(self, "bias")


@dataclass(frozen=True)
class Activation:
    """A function of each element: relu, tanh or sigmoid."""

    size: int
    function: Literal["relu", "tanh", "sigmoid"]

    def __post_init__(self) -> None:
        _check_sizes(self, "size")
        if self.function not in ("relu", "tanh", "sigmoid"):
            raise InputError(f"Activation.function is {self.function!r}, expected 'relu', 'tanh' or 'sigmoid'")

    @property
    def input_size(self) -> int:
        return self.size

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class Bypass:
    """The last ``size`` features go around ``blocks`` and are joined to the end of their output."""

    size: int
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        _check_sizes(self, "size")
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
            raise InputError(f"Mean.members is {self.members!r}, expected a tuple of at least one chain")
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


Block: TypeAlias = GRU | Linear | Activation | Bypass | Residual | Mean
BLOCKS = (GRU, Linear, Activation, Bypass, Residual, Mean)


def _check(owner: object, name: str, good: bool, expected: str) -> None:
    if not good:
        raise InputError(f"{type(owner).__name__}.{name} is {getattr(owner, name)!r}, expected {expected}")


def _is_tuple(value: object, *kinds: type) -> bool:
    return isinstance(value, tuple) and all(type(v) in kinds for v in value)


def _within(value: object, least: float, most: float = sys.float_info.max) -> bool:
    return type(value) in (int, float) and least <= value <= most  # type: ignore[operator]


@dataclass(frozen=True)
class Numeric:
    """A covariate of numbers, standardised as (value - mean) / std; a missing value becomes 0."""

    name: str
    mean: float
    std: float

    def __post_init__(self) -> None:
        _check(self, "name", type(self.name) is str and self.name != "", "a column name")
        _check(self, "mean", _within(self.mean, -sys.float_info.max), "a finite number")
        _check(self, "std", _within(self.std, sys.float_info.min), "a finite number above 0")


@dataclass(frozen=True)
class Categorical:
    """A covariate of names, one feature each: 1 for its own, 0 elsewhere."""

    name: str
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(self, "name", type(self.name) is str and self.name != "", "a column name")
        different = _is_tuple(self.categories, str) and 0 < len(self.categories) == len(set(self.categories))
        _check(self, "categories", different, "a tuple of different names")


@dataclass(frozen=True)
class Forecast:
    """How a forecaster prepares its steps and reads its output (``grus.tasks.forecast`` interprets it).

    horizon: steps ahead. window: steps the GRU reads. quantiles: levels, rising, 0.5 among them.
    frequency: pandas' name. season: steps in a cycle, 1 for none.
    scale: "log" for forecasts of log y, else "linear". floor: the least unit of y on the linear scale.
    lags: values of y in the features of a step. smoothing: weight of the newest value in a step's level, 1 for the
    value alone. shrinkage: how doubtful a seasonal pattern must look to be drawn to none; 0 takes it as it is.
    past, future, static: the covariates known up to the present, over the horizon too, and one value a series.
    calibration: for each quantile, the factor on its distance from the median.
    trained_until: (series, the last time it was trained on); the series "*" stands for all that are not listed.
    """

    horizon: int
    window: int
    quantiles: tuple[float, ...]
    frequency: str
    season: int
    scale: Literal["log", "linear"] = "linear"
    floor: float = 1.0
    lags: int = 1
    smoothing: float = 0.7
    shrinkage: float = 3.0
    past: tuple[Numeric, ...] = ()
    future: tuple[Numeric, ...] = ()
    static: tuple[Numeric | Categorical, ...] = ()
    calibration: tuple[float, ...] = ()
    trained_until: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_sizes(self, "horizon", "window", "season", "lags")
        _check(self, "season", self.season <= MAX_SEASON, f"at most {MAX_SEASON}")
        levels, factors, ends = self.quantiles, self.calibration, self.trained_until
        rising = _is_tuple(levels, float) and list(levels) == sorted({q for q in levels if 0 < q < 1} | {0.5})
        _check(self, "quantiles", rising, "rising levels between 0 and 1, 0.5 among them")
        _check(self, "frequency", type(self.frequency) is str and self.frequency != "", "the name of a frequency")
        _check(self, "scale", self.scale in ("log", "linear"), "'log' or 'linear'")
        _check(self, "floor", _within(self.floor, sys.float_info.min), "a finite number above 0")
        _check(self, "smoothing", _within(self.smoothing, sys.float_info.min, 1), "a number above 0, at most 1")
        _check(self, "shrinkage", _within(self.shrinkage, 0), "a finite number of at least 0")
        numbers = _is_tuple(factors, int, float) and all(_within(c, 0) for c in factors)
        _check(self, "calibration", numbers and len(factors) in (0, len(levels)), "a factor for each quantile, or none")
        pairs = _is_tuple(ends, tuple) and all(len(p) == 2 and _is_tuple(p, str) for p in ends)
        _check(self, "trained_until", pairs, "pairs of a series and a time")
        for name in ("past", "future"):
            _check(self, name, _is_tuple(getattr(self, name), Numeric), "a tuple of Numeric")
        _check(self, "static", _is_tuple(self.static, Numeric, Categorical), "a tuple of Numeric and Categorical")
        names = [c.name for c in (*self.past, *self.future, *self.static)]
        if len(set(names)) < len(names):
            raise InputError(f"Forecast has a covariate twice among {names}")


@dataclass(frozen=True)
class Spec:
    """A model without its arrays: the chain of blocks, and the task that says what goes in and what comes out."""

    blocks: tuple[Block, ...]
    task: Forecast | None = None

    def __post_init__(self) -> None:
        _check_chain(self, "blocks", self.blocks)
        if _depth(self.blocks) > MAX_DEPTH:
            raise InputError(f"Spec.blocks nest more than {MAX_DEPTH} deep")
        if self.task is not None and not isinstance(self.task, Forecast):
            raise InputError(f"Spec.task is {self.task!r}, expected a task or None")

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
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the spec is not JSON: {error}") from None
        spec = _decode(value, 0)
        if not isinstance(spec, Spec):
            raise InputError(f"the spec is a {type(spec).__name__}, expected a Spec")
        return spec


_TYPES: dict[str, Any] = {c.__name__: c for c in (Spec, Forecast, Numeric, Categorical, *BLOCKS)}


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    return [_encode(v) for v in value] if isinstance(value, (tuple, list)) else value


def _depth(blocks: Sequence[Block]) -> int:
    inner = [
        b.members if isinstance(b, Mean) else (b.blocks,) for b in blocks if isinstance(b, (Bypass, Residual, Mean))
    ]
    return 1 + max((_depth(chain) for chains in inner for chain in chains), default=0)


def _decode(value: Any, depth: int) -> Any:
    if depth > 4 * MAX_DEPTH:  # a block in a Mean is three levels of JSON below it
        raise InputError(f"the spec nests more than {MAX_DEPTH} blocks deep")
    if isinstance(value, list):
        return tuple(_decode(v, depth + 1) for v in value)
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


def gru_parameters(block: GRU) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes as in ``torch.nn.GRU``: weight_ih_l0 [3H, I], weight_hh_l0 [3H, H], bias_ih_l0 [3H], …"""
    rows = 3 * block.hidden_size
    for layer in range(block.num_layers):
        columns = block.input_size if layer == 0 else block.output_size
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: block.directions]:
            yield "weight_ih" + suffix, (rows, columns)
            yield "weight_hh" + suffix, (rows, block.hidden_size)
            if block.bias:
                yield "bias_ih" + suffix, (rows,)
                yield "bias_hh" + suffix, (rows,)


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
            case Bypass() | Residual():
                shapes |= parameters(block.blocks, name)
            case Mean():
                for member, chain in enumerate(block.members):
                    shapes |= parameters(chain, f"{name}{member}.")
            case Activation():
                pass
    return shapes
