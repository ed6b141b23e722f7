"""Embedding, pooling and both directions, exported: through ONNX Runtime and as C, beside the equations."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_session import POOLED, TWO_WAY, TWO_WAY_POOLED, model_of
from tests.export.compiled import CHECKED, CLANG, CORTEX_M_FPU, GCC, Target, targets
from tolerance import check_float32

from grus import InputError, Model, Session, exact
from grus.export import onnx as exporter
from grus.export import to_c99, to_onnx
from grus.export.agreement import random_inputs
from grus.export.c99.compiled import Compiled
from grus.export.verify import verify
from grus.spec import (
    GRU,
    Activation,
    Block,
    Bypass,
    Characters,
    Classify,
    Embedding,
    Language,
    Linear,
    Mean,
    Numeric,
    Pool,
    Residual,
    Series,
    Spec,
    Subwords,
    Task,
    Words,
)

Array = NDArray[Any]
WITHIN = " ".join(CHECKED.command)  # as a command for Compiled


def chain(function: Any, both: bool, layers: int) -> tuple[Block, ...]:
    size = 12 if both else 6
    pool = Pool(size, function, 7 if function == "attention" else 0)
    return Embedding(11, 5), GRU(5, 6, layers, bidirectional=both), pool, Linear(size, 3)


GRID = {
    f"{function}-{'both' if both else 'one'}-{layers}": chain(function, both, layers)
    for function in ("max", "mean", "ends", "attention")
    for both in (False, True)
    for layers in (1, 2)
}
LITTLE = {"no-work": (GRU(4, 3, bidirectional=True),), "id-around": (Bypass(2, (Embedding(9, 3), Pool(3, "max"))),)}
grid = pytest.mark.parametrize("blocks", GRID.values(), ids=GRID)


def check(name: str, y: Array, model: Model, x: Array) -> None:
    right, plain = (exact.run(model.spec.blocks, model.arrays, x, dtype=d) for d in (np.float64, np.float32))
    check_float32(name, y, right, plain)


def by_c(model: Model, folder: Path, x: Array, compiler: str | None = None) -> Array:
    """x [T, I] to y [T, O]."""
    to_c99(model, folder, name="net")
    y: Array = Compiled(folder, compiler).stream(x)
    return y


def by_onnx(model: Model, x: Array, cuts: tuple[int, ...] = (), opset: int = 17) -> Array:
    """x [T, B, I] to y [T, B, O], in pieces where ``cuts`` are given."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    data = exporter.build(model, opset)
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    state = {i.name: np.zeros((x.shape[1], i.shape[1]), np.float32) for i in session.get_inputs()[1:]}
    pieces = []
    for piece in np.split(x, cuts):
        y, *after = session.run(None, {"x": piece} | state)
        pieces.append(y)
        state = dict(zip(state, after, strict=False))
    return np.concatenate(pieces)


@grid
def test_c_computes_what_the_equations_say(blocks: tuple[Block, ...], tmp_path: Path) -> None:
    model = model_of(*blocks)
    for steps in (1, 50):
        x = random_inputs(model, steps, 1)
        check("y", by_c(model, tmp_path / "c", x[:, 0])[:, None], model, x)


@grid
@targets(GCC, CLANG)
def test_c_builds_clean_and_passes_its_own_test(blocks: tuple[Block, ...], target: Target, tmp_path: Path) -> None:
    to_c99(model_of(*blocks), tmp_path / "c", name="net", weights="source" if target is GCC else "file")
    done = target.run(target.build(tmp_path / "c", "net.c", "net_test.c", output="self-test"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("net: 0 of 36 numbers wrong")


@pytest.mark.parametrize("blocks", [GRID["attention-both-1"], GRID["max-one-1"]], ids=["both", "one"])
@targets(CORTEX_M_FPU)
def test_the_self_test_on_a_board(blocks: tuple[Block, ...], target: Target, tmp_path: Path) -> None:
    to_c99(model_of(*blocks), tmp_path / "c", name="net")
    done = target.run(target.build(tmp_path / "c", "net.c", "net_test.c", output="self-test", strict=False))
    assert done.returncode == 0 and done.stdout.startswith("net: 0 of 36 "), done.stdout + done.stderr


@pytest.mark.parametrize(
    "blocks",
    (POOLED | TWO_WAY | TWO_WAY_POOLED | LITTLE).values(),
    ids=POOLED | TWO_WAY | TWO_WAY_POOLED | LITTLE,
)
def test_no_place_outside_of_an_array_is_touched(blocks: tuple[Block, ...], tmp_path: Path) -> None:
    model = model_of(*blocks)
    x = random_inputs(model, 30, 1)
    check("y", by_c(model, tmp_path / "c", x[:, 0], WITHIN)[:, None], model, x)
    Compiled(tmp_path / "c", WITHIN + " -Werror -pedantic").self_test()


@grid
def test_onnx_runtime_computes_what_the_equations_say(blocks: tuple[Block, ...], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    model, cuts = model_of(*blocks), () if blocks[1].bidirectional else (1, 5, 23)  # type: ignore[union-attr]
    assert to_onnx(model, tmp_path / "m.onnx").good
    for steps in (1, 24):
        x = random_inputs(model, steps, 3)
        check("y", by_onnx(model, x, cuts if steps > 1 else ()), model, x)


@pytest.mark.parametrize("blocks", [TWO_WAY_POOLED["two-way-attention"], POOLED["pools-inside"]])
@pytest.mark.parametrize("opset", [14, 18, 21, 23])
def test_every_opset(blocks: tuple[Block, ...], opset: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    assert to_onnx(model_of(*blocks), tmp_path / "m.onnx", opset=opset).good


def test_states_go_from_a_session_to_onnx_runtime_and_back(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    for function in ("max", "mean", "ends", "attention"):
        model = model_of(*chain(function, False, 2))
        to_onnx(model, tmp_path / "m.onnx")
        ort = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
        session, x = Session(model), random_inputs(model, 30, 2)
        first, state = session.run(x[:10])
        given = {f"state_{i}": a for i, a in enumerate(state.arrays)}
        second, *after = ort.run(None, {"x": x[10:20]} | given)
        third, _ = session.run(x[20:], type(state)(tuple(after)))
        check("y", np.concatenate([first, second, third]), model, x)


def test_ids_that_are_none_are_taken_as_0(tmp_path: Path) -> None:
    model = model_of(*chain("max", False, 1))
    odd = [np.nan, -1, 11, 2.5, np.inf, -np.inf, 1e30, -0.0, 10.999, 1e-40]
    x = np.array([3, *odd, 10], np.float32)[:, None]
    valid = np.array([3, *[0] * len(odd), 10], np.float32)[:, None]
    y = by_c(model, tmp_path / "c", x, WITHIN)
    assert y.tobytes() == by_c(model, tmp_path / "c", valid, WITHIN).tobytes()
    check("y", y[:, None], model, valid[:, None])


def test_what_onnx_runtime_does_with_such_ids() -> None:
    """As docs/models.md says."""
    model = model_of(*chain("max", False, 1))

    def run(*ids: float) -> Array:
        return by_onnx(model, np.array(ids, np.float32).reshape(-1, 1, 1))

    assert run(2.5, -1).tobytes() == run(2, 10).tobytes()
    for outside in (11, -12):
        with pytest.raises(Exception, match="out of data bounds"):
            run(3, outside)


@pytest.mark.parametrize("function", ["max", "mean", "attention"])
def test_nan_stays(function: Any, tmp_path: Path) -> None:
    model = model_of(Linear(4, 6), Pool(6, function, 5 if function == "attention" else 0))
    x = random_inputs(model, 12, 1)[:, 0]
    x[7, 1] = np.nan
    y = by_c(model, tmp_path / "c", x)
    assert np.isfinite(y[:7]).all() and np.isnan(y[7:]).all()


@pytest.mark.parametrize(("function", "steps"), [("max", 2_000), ("mean", 10_000), ("attention", 2_000)])
def test_thousands_of_steps(function: Any, steps: int, tmp_path: Path) -> None:
    model = model_of(Pool(2, function, 3 if function == "attention" else 0))
    x = random_inputs(model, steps, 1) + np.float32(0.5)
    right, plain = (exact.run(model.spec.blocks, model.arrays, x, dtype=d) for d in (np.float64, np.float32))
    check_float32("C", by_c(model, tmp_path / "c", x[:, 0])[:, None], right, plain)
    check_float32("ONNX", by_onnx(model, x, (1, 900)), right, plain)


def test_scores_beyond_what_exp_can_say(tmp_path: Path) -> None:
    """They rise from -200 to 200 and fall again: e^200 is infinite in float32, e^-200 is zero."""
    blocks = (Pool(4, "attention", 3),)
    arrays = {
        "0.weight": 20 * np.eye(3, 4, dtype=np.float32),  # tanh is -1 or 1
        "0.bias": np.zeros(3, np.float32),
        "0.query": np.array([100, 60, 40], np.float32),
    }
    model, x = Model(Spec(blocks), arrays), np.random.default_rng(0).normal(size=(31, 1, 4)).astype(np.float32)
    order = np.abs(np.arange(-15, 16)) // 2  # 7, …, 0, …, 7: falls and rises
    x[:, 0, :3] = 1 - 2 * (order[:, None] >> np.array([2, 1, 0]) & 1)
    low = x[[0] * 9 + [1] * 9]  # all below the 0 of a fresh state
    for steps in (x, x[::-1].copy(), np.concatenate([low, x]), low):
        assert np.isfinite(exact.run(blocks, arrays, steps)).all()
        check("C", by_c(model, tmp_path / "c", steps[:, 0])[:, None], model, steps)
        check("ONNX", by_onnx(model, steps, (3,)), model, steps)


def random_chain(rng: np.random.Generator, size: int, depth: int = 0) -> tuple[Block, ...]:
    """Blocks that hold every kind there is but an Embedding, which stands at the beginning."""
    blocks: list[Block] = []
    for _ in range(rng.integers(1, 4)):
        out = int(rng.integers(1, 7))
        kind = rng.integers(0, 7 if depth < 2 else 4)
        if kind == 0:
            blocks.append(GRU(size, out, int(rng.integers(1, 3)), bool(rng.integers(2)), bool(rng.integers(2))))
        elif kind == 1:
            function = rng.choice(["max", "mean", "attention"] + ["ends"] * (size % 2 == 0)).item()
            blocks.append(Pool(size, function, out if function == "attention" else 0))
        elif kind == 2:
            blocks.append(Linear(size, out, bias=bool(rng.integers(2))))
        elif kind == 3:
            blocks.append(Activation(size, rng.choice(["relu", "tanh", "sigmoid"]).item()))
        elif kind == 4 and size > 1:
            blocks.append(Bypass(1, random_chain(rng, size - 1, depth + 1)))
        elif kind == 5:
            inner = random_chain(rng, size, depth + 1)
            blocks.append(Residual((*inner, Linear(inner[-1].output_size, size))))
        else:
            members = [random_chain(rng, size, depth + 1) for _ in range(rng.integers(1, 3))]
            blocks.append(Mean(tuple((*m, Linear(m[-1].output_size, out)) for m in members)))
        size = blocks[-1].output_size
    return tuple(blocks)


@pytest.mark.parametrize("seed", range(8))
def test_any_chain(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    blocks = (Embedding(9, 4), *random_chain(rng, 4))
    if seed % 2:
        blocks = (Bypass(2, blocks), *random_chain(rng, blocks[-1].output_size + 2))
    model = model_of(*blocks, seed=seed)
    x = random_inputs(model, 25, 1)
    check("C", by_c(model, tmp_path / "c", x[:, 0], WITHIN)[:, None], model, x)
    check("ONNX", by_onnx(model, x), model, x)
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    assert to_onnx(model, tmp_path / "m.onnx").good


MAIN = """
#include "net.h"
#include <stdio.h>
static float x[STEPS * NET_INPUT_SIZE], y[2 + STEPS * NET_OUTPUT_SIZE], again[STEPS * NET_OUTPUT_SIZE];
static float work[2 + NET_WORK_SIZE(STEPS)];
int main(void)
{
    const size_t last = NET_WORK_SIZE(STEPS) + 1;
    size_t i;
    int good;
    for (i = 0; i < sizeof x / sizeof *x; ++i) x[i] = (float)(i % 5);
    for (i = 0; i <= last; ++i) work[i] = 1e30f;
    y[0] = y[sizeof y / sizeof *y - 1] = 7.0f;
    net_run(x, 0, y, work); /* writes nothing */
    good = y[0] == 7.0f && work[0] == 1e30f;
    net_run(x, STEPS, y + 1, work + 1);
    good = good && y[0] == 7.0f && y[sizeof y / sizeof *y - 1] == 7.0f && work[0] == 1e30f && work[last] == 1e30f;
    net_run(x, STEPS, again, work + 1);
    for (i = 0; i < STEPS * NET_OUTPUT_SIZE; ++i) good = good && again[i] == y[1 + i];
    printf("%d", good);
    return 0;
}
"""


def test_a_run_keeps_to_its_memory_and_needs_nothing_in_it(tmp_path: Path) -> None:
    to_c99(model_of(*chain("attention", True, 2)), tmp_path / "c", name="net")
    (tmp_path / "c" / "main.c").write_text(MAIN.replace("STEPS", "9"))
    program = GCC.build(tmp_path / "c", "net.c", "main.c", output="main", strict=False)
    assert GCC.run(program).stdout == "1"


def test_a_run_allocates_nothing_and_its_figures_are_the_compilers(tmp_path: Path) -> None:
    folder, model = tmp_path / "c", model_of(*chain("attention", True, 2))
    to_c99(model, folder, name="net")
    page, header = (folder / "README.md").read_text(), (folder / "net.h").read_text()
    command = ["gcc", "-std=c99", "-O2", "-fno-inline", "-fstack-usage", "-c", "net.c"]
    subprocess.run(command, cwd=folder, check=True)
    listed = subprocess.run(["nm", "net.o"], cwd=folder, capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-2:] for line in listed.splitlines()]
    assert {name for kind, name in symbols if kind == "T"} == {"net_run"}
    needed = {name for kind, name in symbols if kind == "U"}
    assert needed <= {"memcpy", "memset", "expf", "tanhf", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    assert {kind for kind, _ in symbols} <= set("TtRrU"), "data that may be written to"
    frames = [int(line.split("\t")[1]) for line in (folder / "net.su").read_text().splitlines()]
    arrays = int(re.findall(r"\| stack: arrays in a run \| ([\d,]+) bytes", page)[0].replace(",", ""))
    assert arrays <= sum(sorted(frames)[-3:]) <= arrays + 600
    (floats,) = re.findall(r"#define NET_WORK_SIZE\(steps\) \((\d+) \* \(size_t\)\(steps\)\)", header)
    assert f"| RAM: work memory | {4 * int(floats):,} bytes a step of the sequence" in page
    assert "net_state" not in header and "STATE_BYTES" not in header


@pytest.mark.parametrize("weights", ["source", "file"])
@pytest.mark.parametrize("blocks", [GRID["attention-both-1"], GRID["mean-one-2"]], ids=["both", "one"])
def test_verify_tells_whether_it_is_the_same(blocks: tuple[Block, ...], weights: Any, tmp_path: Path) -> None:
    model, other = model_of(*blocks), model_of(*blocks, seed=1)
    to_c99(model, tmp_path / "c", weights=weights)
    assert verify(model, tmp_path / "c").good and not verify(other, tmp_path / "c").good
    source = tmp_path / "c" / "c.c"
    text = source.read_text()
    source.write_text(text.replace("tanhf(", "0.999f * tanhf("))
    report = verify(model, tmp_path / "c")
    assert not report.good and "the self-test failed: c: " in report.what


def test_onnx_of_other_pooling_is_noticed() -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    for name in ("0.weight", "2.query", "2.bias"):
        model = model_of(*chain("attention", False, 1))
        arrays = dict(model.arrays) | {name: model.arrays[name] + np.float32(1e-3)}
        assert not exporter.prove(Model(model.spec, arrays), exporter.build(model, 17)).good
    mean, most = (model_of(Pool(4, function)) for function in ("mean", "max"))  # type: ignore[arg-type]
    assert not exporter.prove(mean, exporter.build(most, 17)).good


NAMES = ("bad", 'so "so"', "good ?" + "?= \\ */", "größer 火", "a\nb")
WORDS = Words(("the", 'a "b"', "größer", "line\nend", "\u2028", "\ud800"))


def classifier(task: Task, outputs: int, *, both: bool = True) -> Model:
    size = 1 if not isinstance(task.input, Series) else task.input.size  # type: ignore[union-attr]
    text = (Embedding(task.input.size, 4),) if size == 1 and not isinstance(task.input, Series) else ()  # type: ignore[union-attr]
    blocks = (*text, GRU(4 if text else size, 3, bidirectional=both), Linear(6 if both else 3, outputs))
    return Model(Spec(blocks, task), model_of(*blocks).arrays)


def test_classes_are_in_the_header(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    to_c99(classifier(Classify(WORDS, NAMES), len(NAMES)), folder, name="net")
    main = '#include "net.h"\n#include <stdio.h>\nstatic const char *const names[] = NET_CLASSES;\n'
    main += "int main(void)\n{\n    int i;\n    for (i = 0; i < NET_OUTPUT_SIZE; ++i) puts(names[i]);\n"
    (folder / "main.c").write_text(main + "    return sizeof names != NET_OUTPUT_SIZE * sizeof *names;\n}\n")
    program = GCC.build(folder, "main.c", "net.c", output="main")
    done = subprocess.run([program], capture_output=True, check=True)
    assert done.stdout.decode() == "".join(name + "\n" for name in NAMES)


@pytest.mark.parametrize("text", [WORDS, Characters(("a", "\n", '"', "é")), Subwords(("a", "b", "ab"), ("a b",))])
def test_the_vocabulary_is_a_file(text: Any, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    written = to_c99(classifier(Classify(text, ("a", "b")), 2), folder, name="net", weights="file")
    assert {p.name for p in written} == {"net.h", "net.c", "net_test.c", "net.bin", "net_vocab.txt", "README.md"}
    lines = (folder / "net_vocab.txt").read_text("ascii").splitlines()
    assert tuple(map(json.loads, lines)) == text.vocabulary
    assert "net_vocab.txt" in (folder / "net.h").read_text()
    page = (folder / "README.md").read_text()
    assert f"has the {len(text.vocabulary)} tokens" in page and "softmax(y / 1.0)" in page
    to_c99(model_of(GRU(3, 5)), folder, name="net")  # it goes when another export takes its place
    assert {p.name for p in folder.iterdir()} == {"net.h", "net.c", "net_test.c", "README.md"}


def test_the_readme_says_what_goes_in_and_comes_out(tmp_path: Path) -> None:
    series = Series((Numeric("left", 1.5, 2.0), Numeric("right", -3.0, 0.25)))
    task = Classify(series, ("up", "down"), temperature=1.25, longest=100)
    model = classifier(task, 2)

    def page(model: Model) -> str:
        to_c99(model, tmp_path / "c", name="net")
        return (tmp_path / "c" / "README.md").read_text()

    said = page(model)
    assert "x[1]: right: (value - -3.0) / 0.25" in said and "softmax(y / 1.25)" in said and "first 100 steps" in said
    assert "sequence's last step" in said and "Whole sequences" in said and "net_run(x, steps, y, work);" in said
    by_step = Model(replace(model.spec, task=replace(task, labels="step")), model.arrays)
    assert "Every step's y is about that step" in page(by_step)
    language = classifier(Language(Characters(("a", "b"))), 3, both=False)
    said = page(language)
    assert "logits of the next token" in said and "what a text begins with" in said and "net_step(" in said
    assert "CLASSES" not in (tmp_path / "c" / "net.h").read_text()


def test_examples_for_a_text_are_ids(tmp_path: Path) -> None:
    model = model_of(*chain("mean", True, 1))
    to_c99(model, tmp_path / "c", name="net", examples=np.array([[3], [10], [0]]))
    assert Compiled(tmp_path / "c").self_test() is None
    with pytest.raises(InputError, match=r"examples hold the id 11, expected integers from 0 to 10"):
        to_c99(model, tmp_path / "c", examples=np.array([[3], [11]]))
