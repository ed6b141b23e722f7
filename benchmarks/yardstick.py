"""Whether the tolerance rule tells right exports from wrong ones: ``python -m benchmarks.yardstick``.

Random GRUs (H 1 to 1,024, one to three layers, weights x 0.1 to 8, T to 200, either reset, float32 and int8), each run
by right implementations that sum in different ways and by wrong ones. A right one that is refused, or a wrong one that
is not though in float64 it differs by more than rounding does, is a fault of the rule. Decision 5 has the table.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus import exact
from grus.calibration import quantize
from grus.export import to_c99
from grus.export.agreement import Expected, by_steps, float32_runs, random_inputs
from grus.export.c99.compiled import Compiled
from grus.export.chained import Chained
from grus.model import Model
from grus.runtime.session import Session
from grus.spec import GRU, Linear, Spec, parameters

Array = NDArray[Any]
Rng = np.random.Generator
RESULTS = Path(__file__).parent / "results" / "yardstick.json"
BEYOND = 12.0  # times rounding: the rule's factor of 2, its floor of 8, and what rounding does to the wrong one itself


class Natives:
    """``yardstick.c``, compiled without and with fused multiply-adds."""

    def __init__(self, folder: Path) -> None:
        self.libraries = {}
        for name, flags in {"C": ["-ffp-contract=off"], "C, FMA": ["-O3", "-mfma", "-ffp-contract=fast"]}.items():
            path = folder / f"{len(self.libraries)}.so"
            source = str(Path(__file__).with_suffix(".c"))
            subprocess.run(["cc", "-O2", *flags, "-shared", "-fPIC", source, "-lm", "-o", str(path)], check=True)
            self.libraries[name] = ctypes.CDLL(str(path))

    def run(self, library: str, model: Model, x: Array, *, reverse: bool = False, wrong: int = 0) -> Array:
        gru, y = model.spec.blocks[0], np.ascontiguousarray(x[:, 0])
        assert isinstance(gru, GRU)
        for layer in range(gru.num_layers):
            W, U, *biases = (np.ascontiguousarray(a.T) for a in layer_arrays(model, layer))
            out = np.empty((len(y), gru.hidden_size), np.float32)
            sizes = (ctypes.c_size_t(n) for n in (len(y), y.shape[1], gru.hidden_size))
            flags = (ctypes.c_int(n) for n in (gru.reset_after, reverse, wrong))
            pointers = (ctypes.c_void_p(a.ctypes.data) for a in (y, W, U, *biases, out))
            self.libraries[library].layer(*sizes, *flags, *pointers)
            y = out
        return readout(model, y)[:, None]


def layer_arrays(model: Model, layer: int) -> list[Array]:
    return [model.arrays[f"0.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def readout(model: Model, y: Array) -> Array:
    if len(model.spec.blocks) == 1:
        return y
    return Chained(turned=False).product(y, model.arrays["1.weight"]) + model.arrays["1.bias"]


def random_model(rng: Rng) -> tuple[Model, int]:
    """A model, and how many steps to run it."""
    size, inputs = (int(2 ** (10 * rng.uniform() ** 1.4)) for _ in range(2))  # few are large
    steps = int(min(200 ** rng.uniform(0, 1.06), 200 if size < 300 else 30))
    layers = int(rng.integers(1, 4)) if size < 200 else 1
    inputs = size if rng.integers(2) else min(inputs, 300)
    scale = 0.1 * 80 ** rng.uniform()
    gru = GRU(inputs, size, layers, reset_after=bool(rng.integers(2)))
    blocks = (gru, Linear(size, int(rng.integers(1, 6)))) if rng.integers(2) else (gru,)
    bound = scale / np.sqrt(size)
    arrays = {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in parameters(blocks).items()}
    return Model(Spec(blocks), arrays), max(1, steps)


def rights(natives: Natives, model: Model, x: Array) -> Iterator[tuple[str, Array]]:
    for library in natives.libraries:
        yield library, natives.run(library, model, x)
        yield f"{library}, reversed", natives.run(library, model, x, reverse=True)
    yield "Session", Session(model).run(x)[0]
    yield "NumPy, float32", exact.run(model.spec.blocks, model.arrays, x, dtype=np.float32)


# Wrong exports. Each takes the model, x and chance, and gives the outputs, or None where nothing can be got wrong.


def of_model(change: Callable[[Model, dict[str, Array], Rng], Model | None]) -> Callable[..., Array | None]:
    def outputs(model: Model, x: Array, rng: Rng, run: Callable[..., Array]) -> Array | None:
        arrays = {name: array.copy() for name, array in model.arrays.items()}
        other = change(model, arrays, rng)
        return None if other is None else run(other, x)

    return outputs


def gates(one: int, two: int, *kinds: str) -> Callable[..., Array | None]:
    def change(model: Model, arrays: dict[str, Array], rng: Rng) -> Model:
        for name, array in arrays.items():
            if any(kind in name for kind in kinds):
                parts = np.split(array, 3)
                parts[one], parts[two] = parts[two], parts[one]
                arrays[name] = np.concatenate(parts)
        return Model(model.spec, arrays)

    return of_model(change)


def third(name: str, function: Callable[[Array], Array], gate: int) -> Callable[..., Array | None]:
    """A gate's part of the first layer's array."""

    def change(model: Model, arrays: dict[str, Array], rng: Rng) -> Model:
        parts = np.split(arrays[f"0.{name}_l0"], 3)
        parts[gate] = function(parts[gate])
        arrays[f"0.{name}_l0"] = np.concatenate(parts)
        return Model(model.spec, arrays)

    return of_model(change)


def one_number(*kinds: str, factor: float = 1.01) -> Callable[..., Array | None]:
    """The largest of an array, of a layer by chance."""

    def change(model: Model, arrays: dict[str, Array], rng: Rng) -> Model | None:
        names = [name for name in arrays if any(kind in name for kind in kinds)]
        if not names:
            return None
        array = arrays[names[int(rng.integers(len(names)))]].reshape(-1)
        array[int(rng.integers(array.size))] *= np.float32(factor)
        return Model(model.spec, arrays)

    return of_model(change)


def every(function: Callable[[Array], Array]) -> Callable[..., Array | None]:
    return of_model(lambda model, arrays, rng: Model(model.spec, {n: function(a) for n, a in arrays.items()}))


def b_hn_moved(model: Model, arrays: dict[str, Array], rng: Rng) -> Model | None:
    size = model.spec.blocks[0].hidden_size  # type: ignore[union-attr]
    if not model.spec.blocks[0].reset_after:  # type: ignore[union-attr]
        return None
    arrays["0.bias_ih_l0"][2 * size :] += arrays["0.bias_hh_l0"][2 * size :]
    arrays["0.bias_hh_l0"][2 * size :] = 0
    return Model(model.spec, arrays)


def reset_moved(model: Model, arrays: dict[str, Array], rng: Rng) -> Model:
    gru, *rest = model.spec.blocks
    assert isinstance(gru, GRU)
    return Model(Spec((replace(gru, reset_after=not gru.reset_after), *rest)), arrays)


def layers_swapped(model: Model, arrays: dict[str, Array], rng: Rng) -> Model | None:
    gru = model.spec.blocks[0]
    assert isinstance(gru, GRU)
    if gru.num_layers < 2 or gru.input_size != gru.hidden_size:
        return None
    swapped = {name: arrays[name.replace("_l0", "_l!").replace("_l1", "_l0").replace("_l!", "_l1")] for name in arrays}
    return Model(model.spec, swapped)


def layer_dropped(model: Model, arrays: dict[str, Array], rng: Rng) -> Model | None:
    gru, *rest = model.spec.blocks
    assert isinstance(gru, GRU)
    if gru.num_layers < 2:
        return None
    last = f"_l{gru.num_layers - 1}"
    blocks = (replace(gru, num_layers=gru.num_layers - 1), *rest)
    return Model(Spec(blocks), {name: a for name, a in arrays.items() if not name.endswith(last)})


def renewed(model: Model, arrays: dict[str, Array], rng: Rng) -> Model:
    size = model.spec.blocks[0].hidden_size  # type: ignore[union-attr]
    for name, array in arrays.items():
        if name.endswith("_l0"):
            array[size : 2 * size] *= -1
    return Model(model.spec, arrays)


def started(value: float) -> Callable[..., Array | None]:
    """With a state of ``value``, or for NaN with the one that the sequence itself leaves behind."""

    def outputs(model: Model, x: Array, rng: Rng, run: Callable[..., Array]) -> Array | None:
        session = Session(model)
        state = session.initial_state(x.shape[1])
        if value != value:
            state = session.run(x)[1]
        else:
            state = type(state)(tuple(np.full_like(a, value) for a in state.arrays))
        result: Array = session.run(x, state)[0]
        return result

    return outputs


def of_output(change: Callable[[Array], Array]) -> Callable[..., Array | None]:
    return lambda model, x, rng, run: change(run(model, x)) if len(x) > 1 else None


def last_repeated(y: Array) -> Array:
    return np.concatenate([y[:-1], y[-2:-1]])


def bfloat16(a: Array) -> Array:
    return ((a.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


ALL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
WRONG: dict[str, Callable[..., Array | None]] = {
    "gates r and z swapped": gates(0, 1, *ALL),
    "gates r and n swapped": gates(0, 2, *ALL),
    "gates z and n swapped": gates(1, 2, *ALL),
    "gates r and z swapped in W alone": gates(0, 1, "weight_ih"),
    "gates r and z swapped in U alone": gates(0, 1, "weight_hh"),
    "gates r and z swapped in the biases": gates(0, 1, "bias_"),
    "z renews": of_model(renewed),
    "b_hn dropped": third("bias_hh", np.zeros_like, 2),
    "b_hn added to b_in": of_model(b_hn_moved),
    "b_ir dropped": third("bias_ih", np.zeros_like, 0),
    "reset position moved": of_model(reset_moved),
    "one weight of W off by 1 %": one_number("weight_ih"),
    "one weight of U off by 1 %": one_number("weight_hh"),
    "one bias off by 1 %": one_number("bias_"),
    "one weight of the readout off by 1 %": one_number("1.weight"),
    "one weight of U with the other sign": one_number("weight_hh", factor=-1),
    "U_z transposed": third("weight_hh", np.transpose, 1),
    "U_n transposed": third("weight_hh", np.transpose, 2),
    "layers swapped": of_model(layers_swapped),
    "last layer dropped": of_model(layer_dropped),
    "state kept from the sequence before": started(np.nan),
    "a first state of 0.01": started(0.01),
    "last step not taken": of_output(last_repeated),
    "a step late": of_output(lambda y: np.concatenate([0 * y[:1], y[:-1]])),
    "output's order reversed": lambda model, x, rng, run: run(model, x)[..., ::-1],
    "input's order reversed": lambda model, x, rng, run: run(model, np.ascontiguousarray(x[..., ::-1])),
    "time reversed": lambda model, x, rng, run: run(model, np.ascontiguousarray(x[::-1])),
    "weights in bfloat16": every(bfloat16),
    "weights in float16": every(lambda a: a.astype(np.float16).astype(np.float32)),
    "weights in int8, read as float32": every(lambda a: (np.rint(a / (s := np.abs(a).max() / 127)) * s).astype("f4")),
}
INT8 = {"int8: one weight off by one": "0.weight_ih_l0", "int8: one scale off by 1 %": ".scale"}
HARD = {"a hard sigmoid": 1, "tanh clipped": 2}


def run32(model: Model, x: Array) -> Array:
    y: Array = Session(model).run(x)[0]
    return y


def run64(model: Model, x: Array) -> Array:
    return exact.run(model.spec.blocks, model.arrays, x)


def beyond_rounding(wrong: Array, right: Array, runs: list[Array]) -> float:
    """By how many times it differs, at its worst step, more than the furthest float32 run does up to there."""
    noise = np.maximum.accumulate(np.max([by_steps(run - right) for run in runs], axis=0))
    return float((by_steps(wrong - right) / np.maximum(noise, 2.0**-24)).max())


class Study:
    def __init__(self, natives: Natives, seed: int) -> None:
        self.natives, self.seed = natives, seed
        self.right: dict[str, list[float]] = defaultdict(list)
        self.refused: list[str] = []
        self.wrong: dict[str, list[float]] = defaultdict(list)  # how far beyond rounding; inf where it is refused

    def one(self, number: int, kinds: int) -> None:
        rng = np.random.default_rng([self.seed, number])
        model, steps = random_model(rng)
        x = random_inputs(model, steps, 1, number)
        expected = Expected(model, x)
        for name, y in rights(self.natives, model, x):
            agreement = expected.compare(y)
            self.right[name].append(agreement.share)
            if not agreement.good:
                self.refused.append(f"{name} of model {number}, {model.spec.blocks}: {agreement}")
        names = [*WRONG, *HARD]
        for name in (names[(kinds * number + i) % len(names)] for i in range(kinds)):
            self.judge(name, model, x, expected, number)

    def judge(self, name: str, model: Model, x: Array, expected: Expected, number: int) -> None:
        if name in HARD:
            y: Array | None = self.natives.run("C", model, x, wrong=HARD[name])
        else:
            y = WRONG[name](model, x, np.random.default_rng(number), run32)
        if y is None:
            return
        if not expected.compare(y).good:
            self.wrong[name].append(np.inf)
            return
        if name not in HARD and not name.startswith(("state kept", "a first")):
            y = WRONG[name](model, x, np.random.default_rng(number), run64)
        assert y is not None
        self.wrong[name].append(beyond_rounding(y, expected.right, list(float32_runs(model, x))))

    def result(self, models: int, seconds: float) -> dict[str, Any]:
        shares = {name: {"runs": len(s), "largest share of what is allowed": max(s)} for name, s in self.right.items()}
        return {
            "models": models,
            "seed": self.seed,
            "seconds": round(seconds),
            "right exports": shares,
            "right ones refused": self.refused,
            "wrong exports": {name: row(found) for name, found in sorted(self.wrong.items())},
        }


def exported(study: Study, folder: Path, number: int) -> None:
    """The C that is really written, in float32 and in int8, and an int8 of which one number is off by one."""
    rng = np.random.default_rng([study.seed, number, 1])
    model, steps = random_model(rng)
    if model.spec.blocks[0].hidden_size > 200:  # type: ignore[union-attr]
        return
    x = random_inputs(model, max(steps, 20), 1, number)
    small = quantize(model, x)
    for kind, each in {"exported C": model, "exported C, int8": small}.items():
        place = folder / f"{kind} {number}"
        to_c99(each, place, name="net", weights="file")
        compiled = Compiled(place)
        compiled.self_test()
        agreement = Expected(each, x).compare(compiled.stream(x[:, 0])[:, None])
        study.right[kind].append(agreement.share)
        if not agreement.good:
            study.refused.append(f"{kind} of model {number}: {agreement}")
    right = Expected(small, x)
    for name, end in INT8.items():
        arrays = {key: array.copy() for key, array in small.arrays.items()}
        flat = next(array for key, array in arrays.items() if key.endswith(end)).reshape(-1)
        at = int(np.abs(flat.astype(np.float64)).argmax())
        flat[at] = flat[at] * np.float32(1.01) if end == ".scale" else flat[at] - np.sign(flat[at])
        y = Session(Model(small.spec, arrays)).run(x)[0]
        differs = np.any(y != right.right)
        study.wrong[name].append(np.inf if not right.compare(y).good else float(differs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--kinds", type=int, default=3, help="wrong exports of each model")
    parser.add_argument("--exported", type=int, default=40, help="models of which the C is written and compiled")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.process_time()
    with TemporaryDirectory() as place:
        study = Study(Natives(Path(place)), options.seed)
        for number in range(options.models):
            study.one(number, options.kinds)
            if number * options.exported // options.models != (number + 1) * options.exported // options.models:
                exported(study, Path(place), number)
            if number % 50 == 49 or number == options.models - 1:
                result = study.result(number + 1, time.process_time() - begin)
                RESULTS.write_text(json.dumps(result, indent=1) + "\n")
                print(f"{number + 1} models, {result['seconds']} s, {len(study.refused)} refused", file=sys.stderr)
    print("\n".join([*table(result), *study.refused]))
    return bool(study.refused)


def row(found: list[float]) -> dict[str, Any]:
    passed = [one for one in found if one != np.inf]
    largest = sorted(passed)[::-1][:5]
    return {"runs": len(found), "refused": len(found) - len(passed), "accepted, times rounding": largest}


def table(result: dict[str, Any]) -> list[str]:
    """In Markdown, for decision 5."""
    lines = ["| right export | runs | refused | largest share of what is allowed |", "|---|---|---|---|"]
    for name, one in result["right exports"].items():
        refused = sum(line.startswith(f"{name} of model") for line in result["right ones refused"])
        lines.append(f"| {name} | {one['runs']:,} | {refused} | {one['largest share of what is allowed']:.2f} |")
    lines += ["", "| wrong export | runs | refused | the furthest accepted, times rounding |", "|---|---|---|---|"]
    for name, one in result["wrong exports"].items():
        times = max(one["accepted, times rounding"], default=None)
        lines.append(f"| {name} | {one['runs']} | {one['refused']} | {'' if times is None else f'{times:.1f}'} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
