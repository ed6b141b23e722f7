"""The blocks of a classifier."""

from __future__ import annotations

from grus.spec import GRU, Block, Classify, Embedding, Linear, Pool, Series
from grus.tasks.classify.settings import Architecture

__all__ = ["make_chain"]


def make_chain(task: Classify, architecture: Architecture) -> tuple[Block, ...]:
    """The blocks of one member: an embedding for text, GRUs, a pooling where one label is for all steps, the classes'
    scores.
    """
    blocks: list[Block] = []
    size = task.input.size
    if not isinstance(task.input, Series):
        blocks.append(Embedding(size, architecture.embedding_size))
        size = architecture.embedding_size
    for _ in range(architecture.num_layers):
        gru = GRU(size, architecture.hidden_size, bidirectional=architecture.bidirectional)
        blocks.append(gru)
        size = gru.output_size
    if task.labels == "sequence":
        match architecture.pooling:
            case "max":
                blocks.append(Pool(size, "max"))
            case "mean":
                blocks.append(Pool(size, "mean"))
            case "attention":
                blocks.append(Pool(size, "attention", attention_size=architecture.hidden_size))
            case "last" if architecture.bidirectional:  # backwards the last step is read first and knows no other
                blocks.append(Pool(size, "ends"))
            case _:
                pass
    return *blocks, Linear(size, len(task.classes))
