"""A model without its arrays, as a frozen dataclass that goes to JSON and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from grus.errors import InputError
from grus.spec.chains import BLOCKS, Block, Joined, check_chain, extent, leaves, streams
from grus.spec.encoding import classes_in, decode, encode
from grus.spec.facts import PRECISIONS, Format, Precision, format_of
from grus.spec.fields import LEFT_OUT, MAX_DEPTH, check
from grus.spec.task import TASKS, Task

__all__ = ["MAX_DEPTH", "Spec"]

MAX_ARRAYS = 1 << 16  # of all blocks


@dataclass(frozen=True)
class Spec(Joined):
    """A model without its arrays: the chain of blocks, and the task that says what goes in and what comes out."""

    blocks: tuple[Block, ...]
    task: Task | None = None
    # of the arrays: see grus.quantized.layout
    precision: Precision = field(default="float32", metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        check_chain(self, "blocks", self.blocks)
        depth, arrays = extent(self.blocks)
        if depth > MAX_DEPTH:
            raise InputError(f"Spec.blocks nest more than {MAX_DEPTH} deep")
        if arrays > MAX_ARRAYS:
            raise InputError(f"Spec.blocks have {arrays:,} arrays, expected at most {MAX_ARRAYS:,}")
        check(self, "task", self.task is None or isinstance(self.task, TASKS), "a task or None")
        check(self, "precision", self.precision in PRECISIONS, " or ".join(map(repr, PRECISIONS)))
        if self.task is not None:
            _check_fits(self.blocks, self.task)

    @property
    def format(self) -> Format:
        """What its precision means."""
        return format_of(self.precision)

    @property
    def streams(self) -> bool:
        """Whether it can go step by step: False with a bidirectional GRU, which reads whole sequences."""
        return streams(self.blocks)

    def to_json(self) -> str:
        """The spec as JSON: each dataclass an object with its class under "type"."""
        return encode(self)

    @staticmethod
    def from_json(text: str) -> Spec:
        """The spec a JSON text describes. Raises InputError that names the field for anything else."""
        spec = decode(text, _TYPES)
        if not isinstance(spec, Spec):
            raise InputError(f"the spec is a {type(spec).__name__}, expected a Spec")
        return spec


def _check_fits(blocks: Sequence[Block], task: Task) -> None:
    """Raise InputError unless the blocks take what the task's input gives and give what its output wants."""
    read, gives = task.facts.reads, task.facts.gives
    if read is None:
        return
    sizes = (blocks[0].input_size, blocks[-1].output_size)
    if sizes != (read.features, gives):
        raise InputError(
            f"Spec.blocks take {sizes[0]} features and give {sizes[1]}, the task wants {read.features} and {gives}"
        )
    for block in leaves(blocks):
        if block.facts.ids and (not read.ids or block.facts.ids < read.ids):
            raise InputError(f"Spec.blocks have {block}, but the task's {type(read).__name__} is of size {read.size}")


_PARTS = {part: None for task in TASKS for part in classes_in(task)}
_TYPES = {c.__name__: c for c in (Spec, *TASKS, *_PARTS, *BLOCKS)}
