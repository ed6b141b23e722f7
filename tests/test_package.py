"""The package as it is installed: its version, its public names, its files."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import grus
from grus.runtime import _native

ROOT = Path(__file__).parent.parent


def test_version_is_the_same_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (declared,) = re.findall(r'^version = "(.*)"$', project, flags=re.MULTILINE)
    assert grus.__version__ == declared == importlib.metadata.version("grus")


def test_public_names_are_there_and_have_a_docstring() -> None:
    public = {"InputError", "Model", "Session", "Spec", "State", "__version__", "load", "quantize"}
    public |= {"get_num_threads", "set_num_threads"}
    assert set(grus.__all__) == public
    for name in public - {"__version__"}:
        assert getattr(grus, name).__doc__


def test_base_needs_numpy_and_safetensors_alone() -> None:
    requirements = importlib.metadata.requires("grus") or []
    base = {re.split(r"[<>=! ]", r)[0] for r in requirements if "extra ==" not in r}
    assert base == {"numpy", "safetensors"}


def test_extras() -> None:
    assert {"torch", "train", "plot", "parquet", "all"} <= set(
        importlib.metadata.metadata("grus").get_all("Provides-Extra")
    )


def test_types_are_declared() -> None:
    assert Path(grus.__file__).with_name("py.typed").is_file()


def test_console_script_and_module_are_the_same_command() -> None:
    (script,) = (e for e in importlib.metadata.entry_points(group="console_scripts") if e.name == "grus")
    assert script.value == "grus.cli:main"
    done = subprocess.run([sys.executable, "-m", "grus", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert grus.__version__ in done.stdout


def test_constraints_pin_every_line_and_name_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r'[A-Za-z0-9._-]+==[0-9][0-9a-z.]*( ; python_version >= "3\.11")?', pin) for pin in pins)
    pinned = {pin.split("==")[0].lower() for pin in pins}
    assert {"numpy", "safetensors", "torch", "scikit-build-core", "nanobind", "cmake", "ninja"} <= pinned


def test_continuous_integration_runs_make_test() -> None:
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    text = run.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash")
    assert "set -euo pipefail" in text and "make test" in text


def test_stub_of_the_extension_says_what_it_takes() -> None:
    def compiled(function: object) -> str:
        ((signature, *_),) = function.__nb_signature__  # type: ignore[attr-defined]
        return re.sub(r"(numpy\.)?ndarray\[[^\]]*\]", "_Array", signature).replace("grus.runtime._native.", "")

    def written(node: ast.FunctionDef) -> str:
        return ast.unparse(node).partition(":\n")[0]

    stub = ast.parse((ROOT / "src" / "grus" / "runtime" / "_native.pyi").read_text(encoding="utf-8"))
    functions = {node.name: written(node) for node in stub.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name: node.body for node in stub.body if isinstance(node, ast.ClassDef)}
    assert functions.keys() | classes.keys() == {name for name in dir(_native) if not name.startswith("_")}
    for name, signature in functions.items():
        assert signature == compiled(getattr(_native, name))
    for name, body in classes.items():
        methods = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
        members = vars(getattr(_native, name))
        assert methods.keys() == {
            m for m in members if not m.startswith("_") or m in ("__call__", "__enter__", "__exit__")
        }
        for method, node in methods.items():
            if not node.decorator_list:
                assert written(node) == compiled(members[method])
