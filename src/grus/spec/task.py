"""What lies before and after a network, as part of its spec: how inputs are prepared and outputs are read."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from grus.errors import InputError
from grus.spec.fields import LEFT_OUT, MAX_SIZE, check, check_flags, check_sizes, is_tuple, shown, within
from grus.spec.labels import KINDS, Kind, Label, read_label

__all__ = [
    "TASKS",
    "UNKNOWN",
    "Categorical",
    "Characters",
    "Classify",
    "Forecast",
    "MAX_SEASON",
    "Language",
    "Numeric",
    "Reads",
    "Series",
    "Subwords",
    "Task",
    "TaskFacts",
    "Text",
    "Words",
]

UNKNOWN = "\ufffd"  # the character that stands for one that is not listed, where id 0 is the end of a text
MAX_SEASON = 10_000  # steps in a cycle


@dataclass(frozen=True)
class Numeric:
    """A covariate of numbers, standardised as (value - mean) / std; a missing value becomes 0."""

    name: str
    mean: float
    std: float

    def __post_init__(self) -> None:
        check(self, "name", type(self.name) is str and self.name != "", "a column name")
        check(self, "mean", within(self.mean, -sys.float_info.max), "a finite number")
        check(self, "std", within(self.std, sys.float_info.min), "a finite number above 0")


@dataclass(frozen=True)
class Categorical:
    """A covariate of names, one feature each: 1 for its own, 0 elsewhere."""

    name: str
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        check(self, "name", type(self.name) is str and self.name != "", "a column name")
        different = is_tuple(self.categories, str) and 0 < len(self.categories) == len(set(self.categories))
        check(self, "categories", different, "a tuple of different names")


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
    nonnegative: forecasts of a series without a value below zero have none either.
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
    past: tuple[Numeric | Categorical, ...] = ()
    future: tuple[Numeric | Categorical, ...] = ()
    static: tuple[Numeric | Categorical, ...] = ()
    calibration: tuple[float, ...] = ()
    trained_until: tuple[tuple[str, str], ...] = ()
    nonnegative: bool = field(default=False, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        check_sizes(self, "horizon", "window", "season", "lags")
        check(self, "season", self.season <= MAX_SEASON, f"at most {MAX_SEASON}")
        levels, factors, ends = self.quantiles, self.calibration, self.trained_until
        rising = is_tuple(levels, float) and list(levels) == sorted({q for q in levels if 0 < q < 1} | {0.5})
        check(self, "quantiles", rising, "rising levels between 0 and 1, 0.5 among them")
        check(self, "frequency", type(self.frequency) is str and self.frequency != "", "the name of a frequency")
        check(self, "scale", self.scale in ("log", "linear"), "'log' or 'linear'")
        check(self, "floor", within(self.floor, sys.float_info.min), "a finite number above 0")
        check(self, "smoothing", within(self.smoothing, sys.float_info.min, 1), "a number above 0, at most 1")
        check(self, "shrinkage", within(self.shrinkage, 0), "a finite number of at least 0")
        numbers = is_tuple(factors, int, float) and all(within(c, 0) for c in factors)
        check(self, "calibration", numbers and len(factors) in (0, len(levels)), "a factor for each quantile, or none")
        pairs = is_tuple(ends, tuple) and all(len(p) == 2 and is_tuple(p, str) for p in ends)
        check(self, "trained_until", pairs, "pairs of a series and a time")
        check_flags(self, "nonnegative")
        for name in ("past", "future", "static"):
            kinds = is_tuple(getattr(self, name), Numeric, Categorical)
            check(self, name, kinds, "a tuple of Numeric and Categorical")
        names = [c.name for c in (*self.past, *self.future, *self.static)]
        if len(set(names)) < len(names):
            raise InputError(f"Forecast has a covariate twice among {shown(names)}")

    @property
    def facts(self) -> TaskFacts:
        return TaskFacts(reads=None, longest=0, begins=False, gives=None)


@dataclass(frozen=True)
class _Tokens:
    """Text as ids: 0 is what is not listed, id i + 1 is vocabulary[i]; a step is one id."""

    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        words = self.vocabulary
        different = is_tuple(words, str) and 0 < len(words) == len(set(words)) and "" not in words
        check(self, "vocabulary", different, "a tuple of different words, none of them empty")

    @property
    def size(self) -> int:
        """How many ids there are."""
        return len(self.vocabulary) + 1

    @property
    def features(self) -> int:
        return 1

    @property
    def ids(self) -> int:
        """How many ids a step's feature may be, 0 where it is a number."""
        return self.size


@dataclass(frozen=True)
class Words(_Tokens):
    """Text as words and punctuation marks; ``lower``: in lower case. ``grus.inputs.text`` says where a word ends.

    Id 0 is every word that is not in the vocabulary, id i + 1 is vocabulary[i].
    """

    lower: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flags(self, "lower")


@dataclass(frozen=True)
class Characters(_Tokens):
    """Text as Unicode characters. Id 0 is every one that is not in the vocabulary, id i + 1 is vocabulary[i]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        single = all(len(c) == 1 for c in self.vocabulary)
        check(self, "vocabulary", single, "single characters")


@dataclass(frozen=True)
class Subwords(_Tokens):
    """Text as the pieces of byte-level byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909; on bytes as in
    GPT-2). The package ``tokenizers`` applies it. merges: "left right", the most frequent first.

    Id 0 is left free, id i + 1 is vocabulary[i].
    """

    merges: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "merges", is_tuple(self.merges, str), "a tuple of strings")
        known = set(self.vocabulary)
        for merge in self.merges:
            left, _, right = merge.partition(" ")
            if not {left, right, left + right} <= known:
                raise InputError(
                    f"Subwords.merges has {shown(merge)}, expected two pieces that are in the vocabulary, joined too"
                )


@dataclass(frozen=True)
class Series:
    """Numeric series: one feature a channel, standardised; a missing value becomes 0."""

    channels: tuple[Numeric, ...]

    def __post_init__(self) -> None:
        check(self, "channels", is_tuple(self.channels, Numeric) and self.channels != (), "a tuple of Numeric")
        names = [c.name for c in self.channels]
        if len(set(names)) < len(names):
            raise InputError(f"Series has a channel twice among {shown(names)}")

    @property
    def size(self) -> int:
        """How many features a step has."""
        return len(self.channels)

    @property
    def features(self) -> int:
        return self.size

    @property
    def ids(self) -> int:
        return 0


Text: TypeAlias = Words | Characters | Subwords
Reads: TypeAlias = Text | Series


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What everyone may ask of a task.

    reads: what makes the network's steps of the input; None where the task's own code does (``grus.tasks``).
    longest: the steps that are read, from the first; 0 for all. begins: a sequence begins with id 0, before its own.
    gives: numbers of the network's output; None where the task's own code says.
    """

    reads: Reads | None
    longest: int
    begins: bool
    gives: int | None


@dataclass(frozen=True)
class Classify:
    """How a classifier prepares its steps and reads its output (``grus.tasks.classify`` interprets it).

    classes: their names, in the order of the output, which is softmax(output / temperature).
    labels: one a sequence, or one a step. longest: the steps that are read, from the first; 0 for all.
    kinds: of each class what its name says, () where all are text.
    """

    input: Reads
    classes: tuple[str, ...]
    labels: Literal["sequence", "step"] = "sequence"
    temperature: float = 1.0
    longest: int = 0
    kinds: tuple[Kind, ...] = field(default=(), metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        check(self, "input", isinstance(self.input, get_args(Reads)), "Words, Characters, Subwords or Series")
        different = is_tuple(self.classes, str) and 1 < len(self.classes) == len(set(self.classes))
        check(self, "classes", different, "a tuple of at least two different names")
        check(self, "labels", self.labels in ("sequence", "step"), "'sequence' or 'step'")
        check(self, "temperature", within(self.temperature, sys.float_info.min), "a finite number above 0")
        whole = type(self.longest) is int and 0 <= self.longest <= MAX_SIZE
        check(self, "longest", whole, f"an integer from 0 to {MAX_SIZE}")
        known = is_tuple(self.kinds, str) and set(self.kinds) <= set(KINDS)
        check(self, "kinds", known and len(self.kinds) in (0, len(self.classes)), "the kind of each class, or none")
        for name, kind in zip(self.classes, self.kinds, strict=False):
            if str(read_label(kind, name)) != name:
                raise InputError(f"Classify.classes has {shown(name)}, which says no {kind}")
        check(self, "classes", len(set(self.values)) == len(self.classes), "different values")

    @property
    def values(self) -> tuple[Label, ...]:
        """The labels that the classes' names say, in their order."""
        if not self.kinds:
            return self.classes
        return tuple(KINDS[kind][1](name) for name, kind in zip(self.classes, self.kinds, strict=True))

    @property
    def facts(self) -> TaskFacts:
        return TaskFacts(reads=self.input, longest=self.longest, begins=False, gives=len(self.classes))


@dataclass(frozen=True)
class Language:
    """A language model: step t reads the token before and gives the logits of token t. A text begins with id 0.

    ends: the token after a text's last is id 0 too; of Characters U+FFFD then stands for one that is not listed.
    """

    input: Characters | Subwords
    ends: bool = field(default=False, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        check(self, "input", isinstance(self.input, (Characters, Subwords)), "Characters or Subwords")
        check_flags(self, "ends")
        lacks = self.ends and isinstance(self.input, Characters) and UNKNOWN not in self.input.vocabulary
        check(self, "input", not lacks, f"{UNKNOWN!r} in the vocabulary, where texts have ends")

    @property
    def facts(self) -> TaskFacts:
        return TaskFacts(reads=self.input, longest=0, begins=True, gives=self.input.size)


Task: TypeAlias = Forecast | Classify | Language
TASKS: tuple[type[Task], ...] = get_args(Task)
