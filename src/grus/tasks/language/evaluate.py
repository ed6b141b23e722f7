"""How well a language model predicts a text, in bits per character, with NumPy and the kernels alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.inputs import text as texts
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Characters, Language, Subwords
from grus.tasks.language.corpus import Corpus, as_corpus, as_text, count, encode_corpus, written
from grus.tasks.language.report import Report

__all__ = ["escape_bits", "evaluate", "task_of", "token_bits", "unknown"]

LOGITS = 1 << 21  # of a chunk
SCALARS = 0x110000 - 0x800  # characters of Unicode, surrogates apart


def task_of(model: Model) -> Language:
    """The model's task. Raises InputError for a model of another kind."""
    task = model.spec.task
    if not isinstance(task, Language):
        kind = "no task" if task is None else f"the task {type(task).__name__}"
        raise InputError(f"the model is no language model, its file has {kind}: fit one with grus language fit")
    return task


def evaluate(model: Model, text: Any, train: Any = None, *, session: Session | None = None) -> Report:
    """Read a text from its first character to its last, with the state carried on, and tell how well it was predicted.

    text: a str, a pathlib.Path of a file, or a list of these. The state begins at zero, as for a new text. The columns:
    bits per character (the whole text's bits over its characters, whatever the tokens are), bits per token, the
    perplexity 2^(bits per token), characters and tokens. With ``train``, the text the model was trained on, rows for a
    character n-gram model and for xz, both of which read that text first; a note where the text is a part of it.

    A character the model has never seen costs the bits of token 0, and those of one of Unicode's other characters
    without preference: so the bits are those of a code that can be decoded. Raises InputError for a model of another
    task, an empty text, and a file that cannot be read. A model of texts with ends reads one after the other, as it
    was trained: the items of a list of str, else the lines; their ends count as characters.
    """
    task = task_of(model)
    kind, corpus = task.input, _corpus(task, text)
    ids, size = encode_corpus(task, corpus), count(corpus)
    bits = token_bits(session or Session(model), ids)
    escapes = unknown(task, corpus)
    total = bits + escapes * escape_bits(kind)
    row: dict[str, Any] = {
        "model": "GRU",
        "bits/character": total / size,
        "bits/token": total / len(ids),
        "perplexity": 2.0 ** min(total / len(ids), 1000.0),
        "characters": size,
        "tokens": len(ids),
    }
    notes = []
    if escapes:
        notes.append(
            f"{escapes:,} characters ({escapes / size:.2%}) are not in the model's vocabulary: each costs "
            f"{escape_bits(kind):.1f} bits beside those of the token that says so"
        )
    if task.ends:
        notes.append(f"the end of each of the {len(corpus):,} texts counts as a character")
    rows = [row]
    if train is not None:
        empty = dict.fromkeys(list(row)[2:]) | {"characters": size}
        read = written(_corpus(task, train)), written(corpus)
        if read[1] in read[0]:
            notes.append("the text stands in the training text, so all figures flatter: evaluate on what is not in it")
        rows += [{"model": name, "bits/character": value} | empty for name, value in _baselines(*read)]
    return Report(tuple(rows), tuple(notes))


def unknown(task: Language, corpus: Corpus) -> int:
    """How many characters (or bytes) are not in the vocabulary."""
    parts = (corpus,) if isinstance(corpus, str) else corpus
    return sum(int((texts.encode(task.input, part) == 0).sum()) for part in parts)


def _corpus(task: Language, data: Any) -> Corpus:
    """What a model of running text reads as one, a model of texts with ends as several: a line each, if not listed."""
    return as_corpus(data, lines=True) if task.ends else as_text(data)


def token_bits(session: Session, ids: NDArray[np.int64]) -> float:
    """The bits −Σ log2 p(token | those before it) of a text's tokens [N], in float64."""
    bits, state, before = 0.0, None, 0
    size, at = 256, 0
    while at < len(ids):
        target = ids[at : at + size]
        x = np.concatenate([[before], target[:-1]]).astype(np.float32)
        logits, state = session.run(x[:, None, None], state)
        z = logits[:, 0].astype(np.float64)
        highest = z.max(axis=1)
        normaliser = highest + np.log(np.exp(z - highest[:, None]).sum(axis=1))
        bits += float((normaliser - z[np.arange(len(target)), target]).sum())
        before, at = int(target[-1]), at + size
        size = max(1, LOGITS // z.shape[1])
    return bits / math.log(2)


def escape_bits(kind: Characters | Subwords) -> float:
    """What says which of the characters that are not in the vocabulary it is; bytes leave none out."""
    return math.log2(SCALARS - len(kind.vocabulary)) if isinstance(kind, Characters) else 0.0


def _baselines(train: str, text: str) -> list[tuple[str, float]]:
    """Bits per character of a text that is read after ``train``, with the same price of an unseen character."""
    from grus.tasks.baselines import NGram, xz_bits

    counted = NGram.fit(train)
    unseen = sum(text.count(character) for character in set(text) - set(train))
    escape = unseen / len(text) * math.log2(SCALARS - len(counted.alphabet))
    name = f"{len(counted.levels)}-gram (Kneser-Ney)"
    return [(name, counted.bits(text, train) + escape), ("xz", xz_bits(train, text))]
