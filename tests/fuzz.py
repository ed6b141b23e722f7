"""Damaged and hostile files for every loader, for as long as one likes.

python tests/fuzz.py --minutes 10 --keep found/

Bytes of good files are changed (and within them JSON texts, ZIP members, sizes), and each result is given to its
loader in a process with bounded memory. It has to end within a second as a model, a state, or an InputError. What does
anything else is written to the folder and named.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import random
import re
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mutations import BIG, mutated, with_member

import grus
from grus import InputError, Model, Session, Spec
from grus.inputs.lines import lines
from grus.interop import keras, onnx, torch
from grus.spec import GRU, Bypass, Classify, Embedding, Linear, Mean, Pool, Residual, Subwords, parameters

SECONDS = 1.0
MEMORY = 1 << 30  # bytes a loader may take beyond what the process has

Loader = Callable[[Path], object]


def random_model(*blocks: Any, seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    shapes = parameters(blocks)
    return Model(Spec(blocks), {n: rng.uniform(-0.7, 0.7, s).astype(np.float32) for n, s in shapes.items()})


GRUS = random_model(GRU(3, 4, num_layers=2, bidirectional=True))
DEEP = random_model(Bypass(1, (GRU(2, 3), Residual((Linear(3, 3),)))), Mean(((GRU(4, 2),), (Linear(4, 2),))))
SESSION = Session(DEEP)
TEXT = random_model(Embedding(5, 3), GRU(3, 4), Pool(4, "attention", 2), Pool(4, "max"), Linear(4, 2))
TEXT = Model(
    dataclasses.replace(TEXT.spec, task=Classify(Subwords(("a", "b", "ab", " "), ("a b",)), ("x", "y"))), TEXT.arrays
)


def numbers_changed(text: str, draw: random.Random) -> str:
    """JSON whose numbers, names and brackets lie."""
    for _ in range(draw.choice([1, 1, 2, 4])):
        match draw.randrange(5):
            case 0 | 1:
                found = list(re.finditer(r"-?\d+", text))
                if found:
                    one = draw.choice(found)
                    value = draw.choice(
                        [*map(str, BIG), "-1", "1e400", "NaN", "0.5", "true", "null", '"3"', "9" * 5000]
                    )
                    text = text[: one.start()] + value + text[one.end() :]
            case 2:
                found = list(re.finditer(r'"[^"]*"', text))
                if found:
                    one, other = draw.choice(found), draw.choice(found)
                    text = text[: one.start()] + other.group() + text[one.end() :]
            case 3:
                at = draw.randrange(len(text) + 1)
                text = (
                    text[:at] + draw.choice(["[" * 3000, "{", "}", "[", "]", ",", '"', "\\u0000", "\ud800"]) + text[at:]
                )
            case 4:
                found = list(re.finditer(r"\{[^{}]*\}|\[[^\[\]]*\]", text))
                if found:
                    one, other = draw.choice(found), draw.choice(found)
                    text = text[: one.start()] + draw.choice([other.group(), "{}", "[]"]) + text[one.end() :]
    return text


def safetensors_header(data: bytes, draw: random.Random) -> bytes:
    """The header, or the spec inside it, changed, with its length right."""
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size].decode(), data[8 + size :]
    if draw.random() < 0.5:
        fields = json.loads(header)
        metadata = fields.get("__metadata__", {})
        if "grus.spec" in metadata:
            metadata["grus.spec"] = numbers_changed(metadata["grus.spec"], draw)
        header = json.dumps(fields)
    if draw.random() < 0.6:
        header = numbers_changed(header, draw)
    raw = header.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw + body


def rezipped(data: bytes, draw: random.Random) -> bytes:
    """Changed inside, with checksums that are right."""

    def change(name: str, member: bytes) -> bytes:
        if name == "config.json" and draw.random() < 0.7:
            return numbers_changed(member.decode(), draw).encode("utf-8", "surrogatepass")
        return mutated(member, draw)

    return with_member(data, draw, change)


def state_forged(data: bytes, draw: random.Random) -> bytes:
    """A state that is changed and has its checksum right."""
    import hashlib

    changed = mutated(data[:52], draw)[:52].ljust(52, b"\0") + bytes(16)
    body = mutated(data[68:], draw)
    check = hashlib.sha256(changed + body).digest()[:16]
    return changed[:52] + check + body


def _steps(path: Path) -> object:
    with open(path, "rb") as file:
        return [line.values for line in lines(file, 4, "steps")]


def _files(folder: Path) -> dict[str, tuple[Loader, bytes, list[Callable[[bytes, random.Random], bytes]]]]:
    """By kind: what reads it, a good one, and how it is changed."""
    from grus.export.onnx import build

    x = np.random.default_rng(0).normal(size=(30, 1, 3)).astype(np.float32)
    DEEP.save(folder / "model")
    TEXT.save(folder / "text")
    grus.quantize(DEEP, x).save(folder / "int8")
    torch.save_file(GRUS, folder / "torch", "a.b")
    keras.save_file(GRUS, folder / "keras")
    (folder / "onnx").write_bytes(build(GRUS, 17))
    (folder / "onnx_streams").write_bytes(build(random_model(GRU(3, 4, 2)), 14))
    (folder / "state").write_bytes(SESSION.state_to_bytes(SESSION.run(x)[1]))
    (folder / "steps").write_text("1,2,3,4\n[1, 2.5, -3e4, 0]\n1 2 nan inf\n")
    kinds: dict[str, tuple[Loader, list[Callable[[bytes, random.Random], bytes]]]] = {
        "model": (grus.load, [mutated, safetensors_header, safetensors_header]),
        "text": (grus.load, [mutated, safetensors_header, safetensors_header]),
        "int8": (grus.load, [mutated, safetensors_header]),
        "torch": (torch.load_file, [mutated, safetensors_header]),
        "keras": (keras.load_file, [mutated, rezipped, rezipped]),
        "onnx": (onnx.load_file, [mutated]),
        "onnx_streams": (onnx.load_file, [mutated]),
        "state": (lambda p: SESSION.state_from_bytes(p.read_bytes()), [mutated, state_forged]),
        "steps": (_steps, [mutated, lambda d, r: numbers_changed(d.decode(), r).encode("utf-8", "surrogatepass")]),
    }
    return {kind: (load, (folder / kind).read_bytes(), ways) for kind, (load, ways) in kinds.items()}


def attempt(load: Loader, path: Path) -> str:
    """What is wrong with how a file was taken; "" where nothing is."""
    begin = time.process_time()  # a busy neighbour is not the loader
    try:
        result = load(path)
        if (
            isinstance(result, Model)
            and not any("_reverse" in n for n in result.arrays)
            and result.num_parameters < 1e5
        ):
            Session(result).run(np.zeros((2, 1, result.spec.input_size), np.float32))
    except InputError as error:
        if not str(error) or len(str(error)) > 3000:
            return "a message that is empty or too long"
    except BaseException:
        return traceback.format_exc(limit=-4)
    taken = time.process_time() - begin
    return f"took {taken:.2f} s" if taken > SECONDS else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for what was found")
    options = parser.parse_args()
    draw, found, tried = random.Random(options.seed), collections.Counter[str](), collections.Counter[str]()
    with TemporaryDirectory() as place:
        files, path = _files(Path(place)), Path(place) / "damaged"
        for load, good, _ in files.values():
            path.write_bytes(good)
            assert attempt(load, path) == ""
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            kind = draw.choice(list(files))
            load, good, ways = files[kind]
            data = draw.choice(ways)(good, draw)
            path.write_bytes(data)
            tried[kind] += 1
            if wrong := attempt(load, path):
                name = f"{kind}: {wrong.strip().splitlines()[-1]}"
                found[name] += 1
                if found[name] == 1:
                    print(f"{kind}: {wrong}", flush=True)
                    if options.keep:
                        options.keep.mkdir(parents=True, exist_ok=True)
                        (options.keep / f"{kind}-{len(found)}").write_bytes(data)
    print(f"tried {dict(tried)}; found {dict(found) or 'nothing'}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
