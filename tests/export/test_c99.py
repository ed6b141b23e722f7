"""The C that is exported: it builds without a warning, passes its own test, and computes what Session computes."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_session import CHAINS, inputs, model_of
from tests.export.compiled import CHECKED, CLANG, CORTEX_M, CORTEX_M_FPU, GCC, STRICT, Target, stream, targets
from tolerance import check_float32

from grus import InputError, Model, Session, exact
from grus.calibration import quantize
from grus.export import to_c99
from grus.export.c99 import folder as folders
from grus.spec import (
    GRU,
    Activation,
    Block,
    Bypass,
    Categorical,
    Forecast,
    Linear,
    Mean,
    Numeric,
    Residual,
    Spec,
    parameters,
)
from grus.tasks.forecast import windows

Array = NDArray[Any]

chains = pytest.mark.parametrize("blocks", CHAINS.values(), ids=CHAINS)
precisions = pytest.mark.parametrize("precision", ["float32", "w8a16"])
MEMBER = (GRU(21, 64), Residual((GRU(64, 64),)), Linear(64, 90))  # of the forecaster that `make demo` trains
LAST = {"demo": (Mean((MEMBER,) * 5),)}


def as_precision(model: Model, precision: str) -> Model:
    return model if precision == "float32" else quantize(model, inputs(model.spec.blocks, 40))


def trained(*blocks: Block) -> Model:
    """Weights and biases as large as those of trained layers."""
    rng = np.random.default_rng(5)

    def draw(shape: tuple[int, ...]) -> Array:
        bound = 2 / np.sqrt(shape[-1]) if len(shape) == 2 else 0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    return Model(Spec(blocks), {name: draw(shape) for name, shape in parameters(blocks).items()})


@chains
@precisions
@targets(GCC, CLANG)
def test_builds_clean_and_passes_its_own_test(
    blocks: tuple[Block, ...], precision: str, target: Target, tmp_path: Path
) -> None:
    weights = "source" if target is GCC or blocks is CHAINS["deep"] else "file"
    to_c99(as_precision(model_of(*blocks), precision), tmp_path / "c", name="net", weights=weights)  # type: ignore[arg-type]
    program = target.build(tmp_path / "c", "net.c", "net_test.c", output="self-test")
    done = target.run(program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("net: 0 of ")


@chains
@targets(GCC, CHECKED)
def test_float_stream_is_the_sessions(blocks: tuple[Block, ...], target: Target, tmp_path: Path) -> None:
    model, x = model_of(*blocks), inputs(blocks, 60, 1)
    to_c99(model, tmp_path / "c", name="net")
    y, _ = stream(target, tmp_path / "c", "net", x[:, 0], model.spec.output_size, fixed=False)
    right = exact.run(blocks, model.arrays, x)[:, 0]
    check_float32("y", y, right, exact.run(blocks, model.arrays, x, dtype=np.float32)[:, 0])


def by_torch(model: Model, x: Array) -> Array:
    """The chain MEMBER in PyTorch's own modules, float32: x [T, I] to y [T, O]."""

    def gru(h: torch.Tensor, name: str) -> torch.Tensor:
        layer = torch.nn.GRU(h.shape[1], 64)
        layer.load_state_dict(
            {k.removeprefix(name): torch.tensor(v) for k, v in model.arrays.items() if k.startswith(name)}
        )
        return layer(h)[0]  # type: ignore[no-any-return]

    with torch.no_grad():
        h = gru(torch.tensor(x), "0.")
        h = h + gru(h, "1.0.")
        y = torch.nn.functional.linear(h, *(torch.tensor(model.arrays[f"2.{n}"]) for n in ("weight", "bias")))
    result: Array = y.numpy()
    return result


@pytest.mark.slow
def test_twenty_thousand_steps_stay_within_the_tolerance(tmp_path: Path) -> None:
    model = trained(*MEMBER)
    x = np.random.default_rng(2).normal(size=(20_000, 21)).astype(np.float32)
    right, baseline = exact.run(MEMBER, model.arrays, x[:, None])[:, 0], by_torch(model, x)
    to_c99(model, tmp_path / "c", name="net")
    y, end = stream(GCC, tmp_path / "c", "net", x, 90, fixed=False)
    check_float32("C", y, right, baseline)
    session = Session(model)
    streamed, state = session.run(x[:, None])
    check_float32("Session", streamed[:, 0], right, baseline)
    assert np.abs(end - np.concatenate([a[0] for a in state.arrays])).max() < 1e-5


@pytest.mark.alone
def test_the_demos_model_compiles_quickly_and_is_four_times_smaller_in_int8(tmp_path: Path) -> None:
    model = trained(*LAST["demo"])
    small = quantize(model, np.random.default_rng(0).normal(size=(50, 2, 21)))
    seconds, sizes = {}, {}
    for kind, export in (("float32", model), ("w8a16", small)):
        to_c99(export, tmp_path / kind, name="net")
        begin = time.perf_counter()
        GCC.build(tmp_path / kind, "net.c", "net_test.c", output="self-test")
        seconds[kind] = time.perf_counter() - begin
        sizes[kind] = int(constants(tmp_path / kind / "net.h")["WEIGHT_BYTES"])
    assert max(seconds.values()) < 10, seconds
    matrices = [name for name, shape in parameters(model.spec.blocks).items() if len(shape) == 2]
    assert sum(model.arrays[n].nbytes for n in matrices) == 4 * sum(small.arrays[n].nbytes for n in matrices)
    assert sizes["float32"] > 3.5 * sizes["w8a16"]  # with biases and multipliers, which stay 32 bits


def constants(header: Path) -> dict[str, str]:
    return dict(re.findall(r"#define NET_(\w+) (\d+)", header.read_text()))


def quantised(blocks: tuple[Block, ...]) -> Model:
    return as_precision(trained(*blocks) if blocks in LAST.values() else model_of(*blocks), "w8a16")


def check_bits(target: Target, model: Model, x: Array, folder: Path) -> None:
    """C and the emulation, step by step, in outputs and states."""
    to_c99(model, folder, name="net")
    y, end = stream(target, folder, "net", x, model.spec.output_size, fixed=True)
    session = Session(model)
    state = session.initial_state(1)
    for t, step in enumerate(x):
        right, state = session.step(step[None], state)
        assert right[0].tobytes() == y[t].tobytes(), f"step {t}: {right[0]} and {y[t]}"
    after = [np.rint(a[0] * 32768).astype(np.int16) for a in state.arrays]
    assert not after or np.array_equal(np.concatenate(after), end)


@pytest.mark.parametrize("blocks", (CHAINS | LAST).values(), ids=CHAINS | LAST)
@targets(GCC, CLANG, CHECKED, CORTEX_M, CORTEX_M_FPU)
def test_int8_has_the_emulations_bits(blocks: tuple[Block, ...], target: Target, tmp_path: Path) -> None:
    model, x = quantised(blocks), inputs(blocks, 100, 1)[:, 0]
    check_bits(target, model, x, tmp_path / "c")


def random_chain(rng: np.random.Generator, size: int, depth: int = 0) -> tuple[Block, ...]:
    """One to four blocks, some of them with chains inside."""
    blocks: list[Block] = []
    for _ in range(rng.integers(1, 5)):
        out = int(rng.integers(1, 9))
        kind = rng.integers(0, 6 if depth < 2 else 3)
        if kind == 0:
            blocks.append(
                GRU(size, out, int(rng.integers(1, 3)), bias=bool(rng.integers(2)), reset_after=bool(rng.integers(2)))
            )
        elif kind == 1:
            blocks.append(Linear(size, out, bias=bool(rng.integers(2))))
        elif kind == 2:
            blocks.append(Activation(size, rng.choice(["relu", "tanh", "sigmoid"]).item()))
        elif kind == 3 and size > 1:
            blocks.append(Bypass(1, random_chain(rng, size - 1, depth + 1)))
        elif kind == 4:
            inner = random_chain(rng, size, depth + 1)
            blocks.append(Residual((*inner, Linear(inner[-1].output_size, size))))
        else:
            members = [random_chain(rng, size, depth + 1) for _ in range(rng.integers(1, 4))]
            blocks.append(Mean(tuple((*m, GRU(m[-1].output_size, out)) for m in members)))
        size = blocks[-1].output_size
    return tuple(blocks)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@targets(CHECKED)
def test_any_chain_in_either_precision(seed: int, target: Target, tmp_path: Path) -> None:
    blocks = random_chain(np.random.default_rng(seed), 4)
    model, x = model_of(*blocks, seed=seed), inputs(blocks, 30, 1)
    to_c99(model, tmp_path / "single", name="net")
    y, _ = stream(target, tmp_path / "single", "net", x[:, 0], model.spec.output_size, fixed=False)
    right, plain = (exact.run(blocks, model.arrays, x, dtype=d)[:, 0] for d in (np.float64, np.float32))
    check_float32("y", y, right, plain)
    check_bits(target, quantize(model, x), 3 * x[:, 0], tmp_path / "fixed")


def hostile(blocks: tuple[Block, ...], seed: int) -> Model:
    """A model no training gives: weights at the ends of int8, wild scales, biases and exponents."""
    rng = np.random.default_rng(seed)
    model = as_precision(model_of(*blocks), "w8a16")
    arrays = dict(model.arrays)
    for name, array in arrays.items():
        if name.endswith("input.exponent"):
            arrays[name] = rng.integers(-3, 18, array.shape).astype(np.int8)
        elif array.dtype == np.int8 and array.ndim == 2:
            arrays[name] = rng.choice(np.array([-128, 127, 0, 1], np.int8), array.shape)
        elif name.endswith(".scale"):
            arrays[name] = np.exp2(rng.uniform(-26, 12, array.shape)).astype(np.float32)
        elif array.dtype == np.float32:
            arrays[name] = (rng.normal(size=array.shape) * 10 ** rng.uniform(-3, 6)).astype(np.float32)
    return Model(model.spec, arrays)


@pytest.mark.parametrize(
    "blocks", [CHAINS["deep"], CHAINS["residual"], CHAINS["mean"]], ids=["deep", "residual", "mean"]
)
@pytest.mark.parametrize("seed", range(3))
@targets(CHECKED)
def test_int8_never_overflows(blocks: tuple[Block, ...], seed: int, target: Target, tmp_path: Path) -> None:
    x = inputs(blocks, 200, 1)[:, 0] * np.float32(10) ** np.random.default_rng(seed).uniform(-3, 6, (200, 1))
    x = x.astype(np.float32)
    x[5, 0], x[6, 1], x[7, 2], x[8, 3] = np.nan, np.inf, -np.inf, 1e-40
    model = hostile(blocks, seed)
    halves = np.arange(8, 8 + x.shape[1]) + np.float32(0.5)  # which round away from zero
    x[9] = np.ldexp(halves, -model.arrays["input.exponent"].astype(int))
    x[10] = -x[9]
    check_bits(target, model, x, tmp_path / "c")


def test_the_bound_of_a_sum_is_reached_and_holds(tmp_path: Path) -> None:
    model = quantize(model_of(Linear(517, 1)), np.ones((2, 1, 517)))
    weight = np.full((1, 517), 127, np.int8)
    weight[0, 0] = 3  # |w| add up to 65535, times 2^15 that is just below 2^31
    model = Model(model.spec, dict(model.arrays) | {"0.weight": weight})
    check_bits(CHECKED, model, np.array([[-1e30], [1e30]], np.float32) * np.ones((1, 517), np.float32), tmp_path / "c")
    with pytest.raises(
        InputError, match="array '0.weight' has a row whose .w. add up to 65536, expected at most 65535"
    ):
        Model(model.spec, dict(model.arrays) | {"0.weight": weight + (weight == 3).astype(np.int8)})


@precisions
def test_nothing_is_allocated_and_no_global_changes(precision: str, tmp_path: Path) -> None:
    to_c99(as_precision(model_of(*CHAINS["deep"]), precision), tmp_path / "c", name="net")
    subprocess.run(["gcc", *STRICT, "-O2", "-c", "net.c"], cwd=tmp_path / "c", check=True)
    listed = subprocess.run(["nm", "net.o"], cwd=tmp_path / "c", capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-2:] for line in listed.splitlines()]
    assert {kind for kind, _ in symbols} <= set("TtRrU"), "data that may be written to"
    needed = {name for kind, name in symbols if kind == "U"}
    assert needed <= {"memcpy", "memset", "expf", "tanhf", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    public = {name for kind, name in symbols if kind == "T"}
    assert public == {"net_init", "net_step"} | ({"net_quantize", "net_dequantize"} if precision == "w8a16" else set())


@precisions
@pytest.mark.parametrize("weights", ["source", "file"])
def test_the_figures_are_those_of_the_compiler(precision: str, weights: Any, tmp_path: Path) -> None:
    model = as_precision(model_of(*CHAINS["deep"]), precision)
    folder = tmp_path / "c"
    to_c99(model, folder, name="net", weights=weights)
    stated, page = constants(folder / "net.h"), (folder / "README.md").read_text()
    (folder / "size.c").write_text(
        '#include "net.h"\n#include <stdio.h>\nint main(void) { printf("%d", (int)sizeof(net_state)); return 0; }\n'
    )
    program = GCC.build(folder, "size.c", "net.c", output="size")
    assert GCC.run(program).stdout == stated["STATE_BYTES"]
    assert f"| RAM: state | {int(stated['STATE_BYTES']):,} bytes" in page
    assert f"| flash: weights | {int(stated['WEIGHT_BYTES']):,} bytes" in page
    if weights == "file":
        assert (folder / "net.bin").stat().st_size == int(stated["WEIGHT_BYTES"])
    subprocess.run(["gcc", "-O2", "-fno-inline", "-fstack-usage", "-c", "net.c"], cwd=folder, check=True)
    frames = [int(line.split("\t")[1]) for line in (folder / "net.su").read_text().splitlines()]
    arrays = int(re.findall(r"\| stack: arrays in a step \| ([\d,]+) bytes", page)[0].replace(",", ""))
    assert arrays <= sum(sorted(frames)[-2:]) <= arrays + 400
    assert int(stated["MULTIPLY_ACCUMULATES"]) == sum(
        int(np.prod(shape)) for shape in parameters(model.spec.blocks).values() if len(shape) == 2
    )


def test_the_readme_says_what_a_forecaster_takes_and_gives(tmp_path: Path) -> None:
    price, shop = Numeric("price", 3.5, 0.25), Categorical("shop", ("a", "b", "c"))
    task = Forecast(
        4, 20, (0.1, 0.5, 0.9), "D", 7, "log", past=(price,), future=(Numeric("day", 0, 1),), static=(shop,)
    )
    sizes = windows.input_size(task), windows.output_size(task)
    for task_, said in (
        (task, "They are sorted;\na forecast"),
        (replace(task, calibration=(1.5, 1.0, 1.25)), "by 1.5, 1, 1.25"),
    ):
        model = model_of(GRU(sizes[0], 5), Linear(5, sizes[1]))
        to_c99(Model(replace(model.spec, task=task_), model.arrays), tmp_path / "c")
        page = (tmp_path / "c" / "README.md").read_text()
        assert said in page and "y is [4][3]" in page and "exp of that" in page
        places = [int(n) for n in re.findall(r"x\[(\d+)\]:", page)]
        assert places[-1] == sizes[0] - 1
        assert "price: (value - 3.5) / 0.25" in page and f"x[{sizes[0] - 4}] to x[{sizes[0] - 1}]: day of each" in page


@precisions
def test_the_self_test_fails_where_a_weight_is_wrong(precision: str, tmp_path: Path) -> None:
    model = as_precision(model_of(GRU(3, 5)), precision)
    to_c99(model, tmp_path / "c", name="net")
    source = tmp_path / "c" / "net.c"
    text = source.read_text()
    changed = re.sub(r"(/\* W_0_l0 \*/\n\s+)[^,]+,", r"\g<1>3,", text)
    assert changed != text
    source.write_text(changed)
    done = GCC.run(GCC.build(tmp_path / "c", "net.c", "net_test.c", output="self-test"))
    assert done.returncode == 1 and " 0 of " not in done.stdout


@precisions
def test_a_foreign_or_damaged_weights_file_is_refused(precision: str, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    to_c99(as_precision(model_of(*CHAINS["deep"]), precision), folder, name="net", weights="file")
    program = GCC.build(folder, "net.c", "net_test.c", output="self-test")
    good = (folder / "net.bin").read_bytes()
    flipped, swapped = bytearray(good), bytearray(good)
    flipped[len(good) // 2] ^= 1
    swapped[:4] = good[3::-1]
    other = tmp_path / "other"
    to_c99(as_precision(model_of(*CHAINS["deep"], seed=1), precision), other, name="net", weights="file")
    for bad in (bytes(flipped), bytes(swapped), good[:-1], b"", (other / "net.bin").read_bytes()):
        (folder / "net.bin").write_bytes(bad)
        assert GCC.run(program).returncode == 2
    (folder / "net.bin").write_bytes(good)
    assert GCC.run(program).returncode == 0


def test_the_header_can_be_used_from_cpp(tmp_path: Path) -> None:
    to_c99(as_precision(model_of(GRU(3, 5)), "w8a16"), tmp_path / "c", name="net", weights="file")
    (tmp_path / "c" / "use.cpp").write_text('#include "net.h"\nint size() { return sizeof(net_state); }\n')
    command = ["g++", "-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-c", "use.cpp"]
    subprocess.run(command, cwd=tmp_path / "c", check=True)


def test_examples_are_what_the_self_test_runs_on(tmp_path: Path) -> None:
    examples = np.full((2, 3), 0.5, np.float32)
    written = to_c99(model_of(GRU(3, 5)), tmp_path / "c", name="net", examples=examples)
    assert {p.name for p in written} == {"net.h", "net.c", "net_test.c", "README.md"}
    assert (tmp_path / "c" / "net_test.c").read_text().count("0.5f, 0.5f, 0.5f") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "3net"}, "name is '3net', expected a letter"),
        ({"name": "a b"}, "name is 'a b', expected a letter"),
        ({"name": 'x"'}, "expected a letter"),
        ({"name": "n" * 41}, "expected a letter"),
        ({"weights": "both"}, "weights is 'both', expected 'source' or 'file'"),
        ({"examples": np.zeros((0, 3))}, r"examples have shape \(0, 3\), expected \(T, 3\) with at least one step"),
        ({"examples": np.zeros((2, 4))}, r"examples have shape \(2, 4\), expected \(T, 3\)"),
        ({"examples": np.full((2, 3), np.nan)}, "examples hold NaN or infinity"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        to_c99(model_of(GRU(3, 5)), tmp_path / "net", **options)
    assert not (tmp_path / "net").exists()


def test_an_earlier_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder, model = tmp_path / "my-net", model_of(GRU(3, 5))
    to_c99(model, folder, weights="file")
    assert {p.name for p in folder.iterdir()} == {"my_net.h", "my_net.c", "my_net_test.c", "my_net.bin", "README.md"}
    GCC.build(folder, "my_net.c", "my_net_test.c", output="my_net_test")  # as the README says
    to_c99(model, folder)
    assert {p.name for p in folder.iterdir()} == {"my_net.h", "my_net.c", "my_net_test.c", "README.md"}
    (folder / "notes.txt").write_text("mine")
    before = (folder / "my_net.c").read_bytes()
    with pytest.raises(InputError, match="holds other files, such as 'notes.txt'"):
        to_c99(model_of(GRU(3, 6)), folder)
    assert (folder / "my_net.c").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is there and is no directory"):
        to_c99(model, tmp_path / "file")


def test_a_directory_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "net"
    to_c99(model_of(GRU(3, 5)), folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    count = 0

    def fail(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError("no space left on device")

    monkeypatch.setattr(folders.os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        to_c99(model_of(GRU(3, 6)), folder)
    count = 0
    with pytest.raises(OSError, match="no space left"):
        to_c99(model_of(GRU(3, 6)), tmp_path / "other")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]
