"""Text from a language model, token by token, with NumPy and the kernels alone."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError, note
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import Characters, Subwords
from grus.tasks.checks import integer, number
from grus.tasks.language.corpus import encode_text
from grus.tasks.language.evaluate import task_of

__all__ = ["choose", "generate", "unknown"]

# Byte-level pieces are written in characters, one a byte: a printable one of Latin-1 as itself, the others from U+0100
PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = {chr(b): b for b in PRINTABLE}
BYTES |= {chr(0x100 + i): b for i, b in enumerate(b for b in range(0x100) if b not in PRINTABLE)}


def unknown(model: Model, prompt: str) -> list[str]:
    """The characters of a prompt that the model has never seen, each once; it reads them as token 0."""
    kind = task_of(model).input
    return sorted(set(prompt) - set(kind.vocabulary)) if isinstance(kind, Characters) else []


def generate(
    model: Model,
    prompt: str = "",
    length: int = 500,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    seed: int | None = None,
    stop: str | Sequence[str] | None = None,
    session: Session | None = None,
) -> Iterator[str]:
    """What may follow ``prompt``, piece by piece as it comes; the prompt is not repeated. "" begins a new text.

    length: tokens to draw. temperature: the logits are divided by it; 0 takes the likeliest token. top_k: draw from
    the likeliest k tokens only. top_p: draw from the fewest likeliest tokens whose probabilities sum to at least p
    (nucleus sampling: Holtzman et al. 2020, arXiv:1904.09751). Of a tie the token of the lower id comes first.
    seed: equal seeds give equal texts; None takes a new one each time. stop: end before this text would appear, or the
    first of several. A model of texts with ends ends with the text, too.
    session: a Session of the model, to spare making it anew.

    Raises InputError now, not at the first piece, for an option out of its range and a model of another task. A
    note names the characters of the prompt that the model has never seen and reads as an unknown one.
    """
    task, stops = task_of(model), _stops(stop)
    kind = task.input
    if not isinstance(prompt, str):
        raise InputError(f"prompt is a {type(prompt).__name__}, expected a str")
    strange = unknown(model, prompt)
    if strange:
        shown = ", ".join(map(repr, strange[:8])) + ", …" * (len(strange) > 8)
        note(f"the model has never seen {shown}, and reads it as an unknown character")
    length, temperature = integer("length", length, 0), number("temperature", temperature, 0)
    top_k = None if top_k is None else integer("top_k", top_k, 1)
    top_p = number("top_p", top_p, 0, above=True)
    if top_p > 1:
        raise InputError(f"top_p is {top_p!r}, expected a number above 0, at most 1", "top_p")
    rng = np.random.default_rng(None if seed is None else integer("seed", seed, 0))

    def tokens() -> Iterator[int]:
        runner = session or Session(model)
        read = np.concatenate([[0], encode_text(task, prompt)]).astype(np.float32)
        logits, state = runner.run(read[:, None, None], last=True)
        for drawn in range(length):
            token = choose(logits[0], temperature, top_k, top_p, rng, ends=task.ends)
            if not token:  # the end of the text
                return
            yield token
            if drawn < length - 1:
                logits, state = runner.step(np.array([[token]], np.float32), state)

    pieces = _pieces(kind, tokens())
    return _until(stops, pieces) if stops else pieces


def _stops(given: str | Sequence[str] | None) -> tuple[str, ...]:
    found = (given,) if isinstance(given, str) else tuple(given or ())
    if not all(isinstance(one, str) and one for one in found):
        raise InputError(f"stop is {given!r}, expected a text, several, or None", "stop")
    return found


def choose(
    logits: NDArray[np.float32],
    temperature: float,
    top_k: int | None,
    top_p: float,
    rng: np.random.Generator,
    *,
    ends: bool = False,
) -> int:
    """A token drawn by its logits [V]; token 0, which stands for no text, only where it ``ends`` one."""
    first = 0 if ends else 1
    logits = logits[first:]
    order = np.argsort(-logits.astype(np.float64), kind="stable")  # the likeliest first
    if temperature == 0:
        return int(order[0]) + first
    order = order[:top_k]
    below = logits.astype(np.float64)[order] - logits[order[0]]  # at most 0, so that exp does not overflow
    with np.errstate(over="ignore"):  # a low temperature: −∞ is what it then is
        sums = np.cumsum(np.exp(below / temperature))
    if top_p < 1:
        sums = sums[: int(np.searchsorted(sums, top_p * sums[-1])) + 1]
    at = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
    return int(order[min(at, len(sums) - 1)]) + first


def _pieces(kind: Characters | Subwords, tokens: Iterator[int]) -> Iterator[str]:
    """The text of each token; bytes that do not end a character wait for those that do."""
    if isinstance(kind, Characters):
        yield from (kind.vocabulary[token - 1] for token in tokens)
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        written = kind.vocabulary[token - 1]
        known = all(character in BYTES for character in written)  # an added token may be plain text
        piece = decoder.decode(bytes(BYTES[c] for c in written) if known else written.encode())
        if piece:
            yield piece
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


def _until(stops: Sequence[str], pieces: Iterator[str]) -> Iterator[str]:
    """The text before the first of ``stops`` to be complete; what may be the beginning of one waits."""
    waiting = ""
    for piece in pieces:
        waiting += piece
        found = [(at + len(stop), at) for stop in stops if (at := waiting.find(stop)) >= 0]
        if found:
            _, at = min(found)
            if at:
                yield waiting[:at]
            return
        kept = max((n for stop in stops for n in range(1, len(stop)) if waiting.endswith(stop[:n])), default=0)
        if len(waiting) > kept:
            yield waiting[: len(waiting) - kept]
        waiting = waiting[len(waiting) - kept :]
    if waiting:
        yield waiting
