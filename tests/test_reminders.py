"""Who adds a block, a task, a precision or an export target is told of every place that it needs: by mypy, or here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from grus import cli
from grus.export.targets import TARGETS
from grus.spec import Spec
from grus.spec.chains import BLOCKS, walk
from grus.spec.limits import LIMITS, Backend, rows

ROOT = Path(__file__).parents[1]

BLOCK = """
@dataclass(frozen=True)
class ToyBlock:
    size: int

    @property
    def input_size(self) -> int:
        return self.size

    @property
    def output_size(self) -> int:
        return self.size

    @property
    def facts(self) -> Facts:
        return Facts(words="toy", products=0, count=0, arrays=(), states=(), accumulates=False, streams=True, ids=0)


"""
TASK = """
@dataclass(frozen=True)
class ToyTask:
    steps: int

    @property
    def facts(self) -> TaskFacts:
        return TaskFacts(reads=None, longest=0, gives=None)


"""
TARGET = """
TOY = Target(what="a toy", suffix=".toy", options=(), limits="toy", holds=_ends(".toy"), write=_write_c, tried=_try_c)
"""
EDITS = {  # file: (what stands there, what the toy makes of it)
    "spec/chains.py": ("Block: TypeAlias = ", BLOCK + "Block: TypeAlias = ToyBlock | "),
    "spec/task.py": ("Task: TypeAlias = ", TASK + "Task: TypeAlias = ToyTask | "),
    "spec/facts.py": ('Literal["float32", ', 'Literal["toy", "float32", '),
    "export/targets.py": ("TARGETS: Mapping", TARGET + "TARGETS: Mapping"),
}
CONFIG = """\
[mypy]
enable_error_code = exhaustive-match
ignore_missing_imports = True
[mypy-torch.*,numpy.*,onnx.*,onnxruntime.*,pandas.*,matplotlib.*,pyarrow.*,google.*,h5py.*,yaml.*,safetensors.*]
follow_imports = skip
"""  # other libraries are not read, for that takes a minute: what they are makes no difference to the cases of a match


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """mypy's lines on a copy of the sources that has a toy of each kind: "spec/chains.py: error: …"."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    copy = tmp_path_factory.mktemp("toys")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name, (old, new) in EDITS.items():
        path = copy / "src" / "grus" / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has changed: this test has to follow"
        path.write_text(text.replace(old, new), encoding="utf-8")
    (copy / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "src/grus"]
    done = subprocess.run(command, cwd=copy, env={"MYPYPATH": "src", "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    return [re.sub(r"^src/grus/(.*?):\d+: ", r"\1: ", line) for line in done.stdout.splitlines()]


def places(told: Sequence[str], toy: str) -> set[str]:
    """The files with a match that leaves the toy out."""
    unhandled = (line for line in told if re.search(rf"(unhandled case|assert_never).*{toy}", line))
    return {line.partition(":")[0] for line in unhandled}


@pytest.mark.timeout(300)
def test_a_block_is_missed_where_its_meaning_is_told(told: list[str]) -> None:
    meaning = [line for line in told if re.search(r"(unhandled case|assert_never).*ToyBlock", line)]
    assert places(told, "ToyBlock") == {
        "exact.py",
        "quantized.py",  # what it computes, and the exponents of what it gives
        "calibration.py",
        "runtime/operations.py",
        "export/onnx/graph.py",
        "export/c99/plan.py",
        "torch/network/modules.py",
    }
    assert len(meaning) == 8
    missing = [line for line in told if 'for "Facts"' in line]
    assert [re.findall(r'argument "(\w+)"', line) for line in missing] == [["sums"], ["chains"]]


def test_a_task_is_missed_where_its_meaning_is_told(told: list[str]) -> None:
    assert places(told, "ToyTask") == {"cli/export.py", "export/describe.py", "export/c99/readme.py"}
    assert 'spec/task.py: error: Missing named argument "begins" for "TaskFacts"  [call-arg]' in told


def test_a_precision_is_missed_where_its_meaning_is_told(told: list[str]) -> None:
    assert places(told, "'toy'") == {"spec/facts.py", "quantized.py", "runtime/session.py", "export/agreement.py"}


def test_an_export_target_is_missed(told: list[str]) -> None:
    lines = "\n".join(line for line in told if line.startswith("export/targets.py"))
    assert 'Missing positional argument "verify" in call to "Target"' in lines
    assert '"limits" to "Target" has incompatible type "Literal[\'toy\']"' in lines


def test_no_two_targets_hold_the_same(tmp_path: Path) -> None:
    for name, target in TARGETS.items():
        place = tmp_path / name if not target.suffix else tmp_path / f"x{target.suffix}"
        place.touch() if target.suffix else place.mkdir()
        assert [each for each in TARGETS if TARGETS[each].holds(place)] == [name]


def test_every_backend_has_its_row_and_the_docs_have_the_table() -> None:
    assert set(LIMITS) == set(Backend.__args__)  # type: ignore[attr-defined]
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = "".join(f"| {what} | {feature} | {message} |\n" for what, feature, message in rows())
    assert f"|---|---|---|\n{table}\n" in page


def test_blocks_count_their_arrays_as_they_name_them() -> None:
    from test_session import EVERY

    seen = set()
    for blocks in EVERY.values():
        for _, block in walk(Spec(blocks).blocks):
            seen.add(type(block))
            assert block.facts.count == len(list(block.facts.arrays))
    assert seen == set(BLOCKS), "tests/runtime/test_session.py has every kind of block"


TOY_TASK = '''
"""``grus toy fit``: numbers in, a model file out."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from grus import Model, Spec
from grus.cli import fitting, options as settings, shared
from grus.spec import Linear
from grus.tasks.fitted import Fitted
from grus.tasks.options import Options, option

SUMMARY, DESCRIPTION = "fit a line", "Fit a line."
VERBS = ("fit",)
EXAMPLES = EPILOG = "examples:\\n  grus toy fit numbers.txt -o model.safetensors\\n"


@dataclass(frozen=True)
class Settings(Options):
    """All that training needs beside the numbers."""

    slope: float = option(1.0, "of the line", least=0)


def add(verbs):
    parser = shared.verb(verbs, "fit", run, "fit a line", "Fit a line to numbers, and write it to one file.", EPILOG)
    shared.add_data(parser, "a text with numbers")
    fitting.add(parser, Settings)


def run(options: argparse.Namespace) -> int:
    chosen = settings.settings(options, Settings)
    files = fitting.Files(options, [options.data], (".txt",))
    numbers = np.loadtxt(options.data, ndmin=1)
    fitting.use_torch(options.threads)

    def fit(numbers, chosen, *, checkpoint, **around):
        checkpoint.touch()
        weight = np.full((1, 1), chosen.slope * numbers.mean(), np.float32)
        return Fitted(Model(Spec((Linear(1, 1, bias=False),)), {"0.weight": weight}), [], {}, "a line in {took}")

    fitting.train(files, fit, numbers, chosen)
    return 0
'''


def test_a_task_costs_little_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its flags, settings file, checks, checkpoint and summary come from what all tasks share."""
    module = ModuleType("grus.cli.toy.fit")
    monkeypatch.setitem(sys.modules, "grus.cli.toy.fit", module)
    exec(compile(TOY_TASK, "toy.py", "exec"), vars(module))
    monkeypatch.setattr(cli, "TASKS", cli.TASKS | {"toy": module})
    assert len(TOY_TASK.strip().splitlines()) + 7 <= 60  # and its entry in TASKS, with its import
    monkeypatch.chdir(tmp_path)
    Path("numbers.txt").write_text("1\n2\n")
    assert (
        cli.main(["toy", "fit", "numbers.txt", "-o", "m.safetensors", "--slope", "2", "--save-config", "c.yaml"]) == 0
    )
    assert capsys.readouterr().out.startswith("m.safetensors: 1 weights, a line in ")
    assert "slope: 2.0" in Path("c.yaml").read_text()
    assert cli.main(["toy", "fit", "numbers.txt", "-o", "m.safetensors", "--slope", "-1"]) == 2
    assert capsys.readouterr().err.startswith("grus: error: --slope is -1")
