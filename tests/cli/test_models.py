"""grus export, import, info and verify: what they write, what they say, and what they refuse."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from interop.trained import random_model
from safetensors.numpy import save_file
from test_session import CHAINS, EVERY, POOLED, TWO_WAY, inputs, model_of

from grus import Model, Session, load, quantize
from grus.cli import main
from grus.export import to_c99
from grus.export.c99.compiled import Compiled
from grus.export.c99.plan import plan
from grus.export.describe import describe
from grus.interop import torch as from_torch
from grus.spec import GRU, Block, Bypass, Classify, Forecast, Linear, Mean, Numeric, Residual, Series, Spec, Words
from grus.spec.chains import products as multiply_accumulates

Say = Callable[[str], str]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command that ends well; gives what it printed. There is a deep model, a stack of GRUs and steps."""
    monkeypatch.chdir(tmp_path)
    model_of(*CHAINS["deep"]).save("deep.safetensors")
    random_model(GRU(3, 4, 2, bidirectional=True)).save("two.safetensors")
    random_model(GRU(3, 4, 2)).save("gru.safetensors")
    np.savetxt("steps.csv", inputs(CHAINS["deep"], 30, 1)[:, 0], delimiter=",")

    def run(command: str) -> str:
        status = main(command.split())
        captured = capsys.readouterr()
        assert status == 0, captured.err
        assert captured.err == ""
        return captured.out

    return run


@pytest.mark.parametrize("name", ["deep", "two", "gru"])
def test_onnx(say: Say, name: str) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    assert "ONNX Runtime computes the same" in say(f"export {name}.safetensors --to onnx -o m.onnx --opset 18")
    assert "by its metadata made of this model" in say(f"verify {name}.safetensors m.onnx")
    if name != "deep":
        say("import m.onnx -o back.safetensors")
        assert load("back.safetensors").hash == load(f"{name}.safetensors").hash


@pytest.mark.parametrize("options", ["", "--name net --weights file"])
def test_c(say: Say, options: str) -> None:
    assert "compiled, its self-test passed" in say(f"export deep.safetensors --to c -o folder/c {options}")
    assert (Path("folder/c/net.bin").is_file(), Path("folder/c/c.c").is_file()) == (options != "", options == "")
    assert "self-test passed, 200 steps run: 600 numbers" in say("verify deep.safetensors folder/c")
    assert "c.bin" not in {p.name for p in Path("folder/c").iterdir()}  # nothing was left there


def test_c_of_both_directions(say: Say) -> None:
    assert "compiled, its self-test passed" in say("export two.safetensors --to c -o c")
    assert "self-test passed, 200 steps run: 1,600 numbers" in say("verify two.safetensors c")


def test_a_model_of_text(say: Say) -> None:
    task = Classify(Words(("one", "two", "three", "four", "five", "six")), ("yes", "no"))
    Model(Spec(POOLED["text"], task), model_of(*POOLED["text"]).arrays).save("text.safetensors")
    assert "c.h, c.c, c_test.c, README.md, c_vocab.txt; compiled" in say("export text.safetensors --to c -o c")
    assert '#define C_CLASSES { \\\n    "yes", \\\n    "no" \\\n}' in Path("c/c.h").read_text()
    assert "200 steps run: 400 numbers" in say("verify text.safetensors c")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    say("export text.safetensors --to onnx -o m.onnx")
    assert "by its metadata made of this model" in say("verify text.safetensors m.onnx")


def test_int8_of_a_classifier_of_series_reads_its_steps(say: Say) -> None:
    blocks = (GRU(7, 5), Linear(5, 2))
    series = Series(tuple(Numeric(f"channel {i}", 0.0, 1.0) for i in range(7)))
    Model(Spec(blocks, Classify(series, ("yes", "no"))), model_of(*blocks).arrays).save("s.safetensors")
    say("export s.safetensors --to c -o c --int8 --calibrate steps.csv --int8-model q.safetensors")
    assert "allowed 0" in say("verify q.safetensors c")


@pytest.mark.parametrize("steps", ["steps.csv", "steps.npy"])
@pytest.mark.parametrize("options", ["", "--weights file"])
def test_int8(say: Say, options: str, steps: str) -> None:
    np.save("steps.npy", inputs(CHAINS["deep"], 30, 1))
    said = say(
        f"export deep.safetensors --to c -o c --int8 --calibrate {steps} --int8-model small.safetensors {options}"
    )
    assert "small.safetensors: the quantised model\nc: c.h, c.c, c_test.c, README.md" in said
    assert "largest error 0, allowed 0" in say("verify small.safetensors c")
    right = quantize(load("deep.safetensors"), inputs(CHAINS["deep"], 30, 1))
    assert load("small.safetensors").hash == right.hash
    assert "precision     w8a16" in say("info small.safetensors")


def test_int8_of_a_forecaster_reads_its_table(say: Say) -> None:
    from grus.tasks.forecast.windows import input_size, output_size

    task = Forecast(horizon=2, window=12, quantiles=(0.5,), frequency="1", season=1)
    blocks = (GRU(input_size(task), 5), Linear(5, output_size(task)))
    Model(Spec(blocks, task), model_of(*blocks).arrays).save("f.safetensors")
    rows = [f"{shop},{t},{10 + t % 5 + shop}" for shop in range(3) for t in range(40)]
    Path("sales.csv").write_text("\n".join(["shop,ds,y", *rows]))
    say("export f.safetensors --to c -o c --int8 --calibrate sales.csv --id-col shop --int8-model q.safetensors")
    assert "allowed 0" in say("verify q.safetensors c")
    assert "Forecast, horizon 2, window 12" in say("info f.safetensors")


@pytest.mark.parametrize("name", ["two", "gru"])
def test_torch_and_keras(say: Say, name: str) -> None:
    say(f"export {name}.safetensors --to torch --prefix a.b -o t.safetensors")
    assert from_torch.load_file("t.safetensors", "a.b").hash == load(f"{name}.safetensors").hash
    assert "every weight equal" in say(f"verify {name}.safetensors t.safetensors --prefix a.b")
    say("import t.safetensors --prefix a.b -o back.safetensors")
    pytest.importorskip("h5py", reason="h5py is not installed")
    say("export back.safetensors --to keras -o k.keras")
    assert "every weight equal" in say(f"verify {name}.safetensors k.keras")
    assert "GRU, 3 -> " in say("import k.keras -o back.safetensors")
    assert load("back.safetensors").hash == load(f"{name}.safetensors").hash


def test_a_reset_that_a_state_dict_does_not_say(say: Say) -> None:
    say("export gru.safetensors --to torch -o t.safetensors")
    assert "reset before the product" in say("import t.safetensors --reset-before -o x.safetensors")
    assert load("x.safetensors").spec.blocks == (GRU(3, 4, 2, reset_after=False),)


def test_one_block_of_many(say: Say) -> None:
    say("export deep.safetensors --to torch --block 1.1.0 -o t.safetensors")
    assert from_torch.load_file("t.safetensors").spec.blocks == (GRU(8, 9),)
    assert "every weight equal" in say("verify deep.safetensors t.safetensors --block 1.1.0")


def test_info(say: Say) -> None:
    model = load("deep.safetensors")
    said = say("info deep.safetensors")
    for words in (model.hash, f"{model.num_parameters:,}, {4 * model.num_parameters:,} bytes", "takes 7 numbers"):
        assert words in said
    remembered = sum(a.shape[1] for a in Session(model).initial_state(1).arrays)
    assert f"{remembered} numbers a stream, {4 * remembered} bytes" in said
    assert "cannot be streamed" in say("info two.safetensors")


def test_a_description() -> None:
    same = (GRU(4, 3, 2, bidirectional=True), Linear(6, 4))
    other = (GRU(4, 4, reset_after=False),)
    assert describe((Bypass(2, (Residual((Mean((same, same, other)),)),)),), "") == (
        "Bypass, 2 features around it:\n"
        "  Residual, added to its input:\n"
        "    Mean of 3:\n"
        "      members 0 to 1, each:\n"
        "        GRU, 4 -> 6, 2 layers, both directions, reset after the product\n"
        "        Linear, 6 -> 4\n"
        "      member 2:\n"
        "        GRU, 4 -> 4, reset before the product"
    )


@pytest.mark.parametrize("blocks", EVERY.values(), ids=EVERY)
def test_operations_are_those_of_the_exported_code(blocks: tuple[Block, ...]) -> None:
    model = model_of(*blocks)
    assert multiply_accumulates(blocks) == plan(model.spec, model.arrays).multiply_accumulates


def test_operations_of_both_directions() -> None:
    assert multiply_accumulates(TWO_WAY["two-way"]) == 2 * 3 * 6 * (4 + 6) + 2 * 3 * 6 * (12 + 6)


def test_what_differs_is_told_by_the_exit_status(say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    say("export gru.safetensors --to torch -o t.safetensors")
    say("export gru.safetensors --to c -o c")
    random_model(GRU(3, 4, 2), seed=9).save("other.safetensors")
    for export in ("t.safetensors", "c"):
        assert main(["verify", "other.safetensors", export]) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1
        assert (
            captured.err.startswith(f"grus: {export}: ") and "it does not compute what the model does" in captured.err
        )
    text = Path("c/c_test.c").read_text()
    Path("c/c_test.c").write_text(text.replace("wrong != 0", "1"))
    assert main(["verify", "gru.safetensors", "c"]) == 1
    assert "the self-test failed: c: 0 of" in capsys.readouterr().err


def test_c_without_a_compiler(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "its self-test not run, for there is no C compiler" in say("export gru.safetensors --to c -o c")


@pytest.mark.parametrize(("to", "output"), [("c", "c"), ("torch", "t.safetensors")])
def test_an_export_that_differs_is_told_at_once(
    say: Say, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], to: str, output: str
) -> None:
    """What is written is that of another model."""
    other = random_model(GRU(3, 4, 2), seed=9)
    if to == "c":
        from grus.export.c99.files import Export

        test, own = Export.test, random_model(GRU(3, 4, 2))
        monkeypatch.setattr(
            Export, "test", lambda self: test(Export(own, self.name, self.in_file, self.examples, self.version))
        )
        other.save("gru.safetensors")
    else:
        save = from_torch.save
        monkeypatch.setattr(from_torch, "save", lambda model, *a, **k: save(other, *a, **k))
    assert main(["export", "gru.safetensors", "--to", to, "-o", output]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith("do not use it\n")


def test_weights_of_c_from_another_folder(say: Say, tmp_path: Path) -> None:
    say("export gru.safetensors --to c -o net --weights file")
    if not Compiled(Path("net")).buildable:
        pytest.skip("there is no C compiler")
    program = Compiled(Path("net"))._build(tmp_path, Path("net/net_test.c").resolve())

    def told(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, done.stdout

    assert told() == (2, "net: cannot open net.bin: give the path of net.bin as an argument\n")
    assert told("net/net.h") == (2, "net: net/net.h does not hold its weights\n")
    assert told("net/net.bin")[0] == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("info none", ["no model file 'none'"]),
        ("info t.safetensors", ["holds no model of Grus: grus import reads weights of other libraries"]),
        ("info t.pt", ["grus import reads weights of other libraries"]),
        ("import t.safetensors -o x", ["there are 2 GRUs: name one with --prefix, one of 'a', 'b'"]),
        ("import t.safetensors --prefix c -o x", ["--prefix is 'c', expected one of 'a', 'b'"]),
        ("stream two", ["cannot be streamed or given a state\n"]),
        ("export m --to c -o x --int8 --calibrate zeros.csv", ["x is all zeros"]),
        ("info text.csv", ["'text.csv' is not a model file"]),
        ("export m --to onnx -o m", ["--output 'm'", "is also an input"]),
        ("export m --to onnx -o x.pt", ["cannot write '.pt'", "expected .onnx"]),
        ("export m --to torch -o x.pt", ["cannot write '.pt'", "expected .safetensors"]),
        ("export m --to keras -o x.h5", ["cannot write '.h5'", "expected .keras"]),
        ("export m --to onnx -o none/x.onnx", ["no folder 'none'"]),
        ("export m --to tflite -o x", ["--to", "'tflite'"]),
        ("export m -o x", ["--to"]),
        ("export m --to onnx -o x.onnx --opset 9", ["--opset is 9, expected an integer from 14"]),
        ("export m --to onnx -o x.onnx --name net", ["--name is for --to c, not for --to onnx"]),
        ("export m --to c -o x --opset 17", ["--opset is for --to onnx"]),
        ("export m --to c -o x --block 0", ["--block is for --to torch and keras"]),
        ("export m --to onnx -o x.onnx --int8 --calibrate text.csv", ["--int8 is for --to c"]),
        ("export m --to c -o x --int8", ["--int8 needs --calibrate FILE"]),
        ("export m --to c -o x --calibrate text.csv", ["--calibrate is for --int8"]),
        ("export m --to c -o x --int8-model y", ["--int8-model is for --int8"]),
        ("export m --to c -o x --int8 --calibrate none.csv", ["no file 'none.csv'"]),
        ("export m --to c -o x --int8 --calibrate text.csv", ["text.csv, line 1", "'no'", "expected a number"]),
        ("export m --to c -o x --int8 --calibrate empty", ["empty has no steps"]),
        ("export m --to c -o x --int8 --calibrate huge.npy", ["'huge.npy' is not a NumPy file, or is damaged"]),
        ("export m --to c -o x --int8 --calibrate odd.npy", ["'odd.npy' holds float64(3,)"]),
        ("export m --to c -o folder", ["'other'", "holds other files"]),
        ("export m --to c -o x --name 2x", ["name is '2x'"]),
        ("export deep --to keras -o x.keras", ["the model has Linear beside GRU", "take with --block, one"]),
        ("export m --to torch -o x.safetensors --block 7", ["--block is '7'", "'0'"]),
        ("import text.csv -o x", ["cannot read '.csv', expected .safetensors, .keras or .onnx"]),
        ("import x.pt -o x", ["'x.pt' is a pickle, which may run code"]),
        ("import x.h5 --nodes a -o x", ["--nodes is for .onnx files, and 'x.h5' is none"]),
        (
            "import t.safetensors --layers a -o x",
            ["--layers is for .keras files, or .h5 files, or .hdf5 files, and 't.saf"],
        ),
        ("import none.onnx -o x", ["no file 'none.onnx'"]),
        ("import none.onnx -o x --prefix a", ["--prefix is for .safetensors files"]),
        ("import none.onnx -o x --reset-before", ["--reset-before is for .safetensors files"]),
        ("import none.keras -o x --nodes a", ["--nodes is for .onnx files"]),
        ("import none.onnx -o x.onnx", ["cannot write '.onnx'"]),
        ("import none.onnx", ["--output"]),
        ("verify m none", ["none"]),
        ("verify m text.csv", ["'text.csv': is no export of Grus"]),
        ("verify m folder", ["'folder': holds 0 pairs of .h and .c"]),
        ("verify m text.csv --block 0", ["--block and --prefix are for"]),
        ("export text --to c -o x --int8 --calibrate ids.csv", ["the spec has an Embedding"]),
        ("verify two cdir", ["the C has sizes (4, 6), the model (3, 8)"]),
        ("verify q cdir", ["the C has float32, the model int8 weights"]),
        ("verify q junk.onnx", ["the model is quantised"]),
        ("verify m junk.onnx", ["'junk.onnx': is not ONNX, or is damaged"]),
    ],
)
def test_what_is_refused(failing: Callable[[str], str], tmp_path: Path, command: str, words: list[str]) -> None:
    model = model_of(GRU(4, 6))
    model.save(tmp_path / "m")
    model_of(GRU(3, 4, bidirectional=True)).save(tmp_path / "two")
    model_of(GRU(4, 3), Linear(3, 2)).save(tmp_path / "deep")
    quantize(model, inputs((GRU(4, 6),))).save(tmp_path / "q")
    model_of(*POOLED["text"]).save(tmp_path / "text")
    (tmp_path / "ids.csv").write_text("1\n2\n3\n")
    (tmp_path / "text.csv").write_text("no numbers\n")
    (tmp_path / "t.pt").write_bytes(b"\x80\x04pickle")
    both = from_torch.save(model, "a") | from_torch.save(model, "b")
    save_file(both, tmp_path / "t.safetensors")
    (tmp_path / "zeros.csv").write_text("0,0,0,0\n")
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "junk.onnx").write_bytes(b"\xff" * 50)
    np.save(tmp_path / "odd.npy", np.zeros(3))
    (tmp_path / "huge.npy").write_bytes(
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 4), }".ljust(128)
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other").touch()
    to_c99(model, tmp_path / "cdir")
    line = failing(command)
    for word in words:
        assert word in line


def test_weights_in_another_file_are_not_fetched(say: Say, failing: Callable[[str], str], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    say("export gru.safetensors --to onnx -o m.onnx")
    proto = onnx.load("m.onnx")
    tensor = next(t for t in proto.graph.initializer if t.name == "0.l0.W")
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    Path("m.onnx").write_bytes(proto.SerializeToString())
    for command in ("verify gru.safetensors m.onnx", "import m.onnx -o x.safetensors"):
        assert "another file" in failing(command)
