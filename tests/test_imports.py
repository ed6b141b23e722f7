"""What importing loads, seen from a fresh interpreter: the walls as they are at run time."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grus import installed

HEAVY = {"torch", "pandas", "matplotlib", "pyarrow", "tqdm", "scipy", "safetensors"}
HEAVY |= {"onnx", "onnxruntime", "h5py", "keras", "tensorflow", "jax", "flax"}
ROOT = Path(__file__).parents[1]
OF_TORCH = re.compile(r"grus\.(torch|training)\b|grus\.tasks\.\w+\.fit$")  # the rest is free of it, always
OF_FITS = {"cli", "tasks", "torch", "training"}  # what a fit begins in, of which some modules do without torch


def modules(path: Path, name: str) -> Iterator[str]:
    """All that can be imported below a package, by its files."""
    yield name
    for module in pkgutil.iter_modules([str(path)]):
        if module.ispkg:
            yield from modules(path / module.name, f"{name}.{module.name}")
        elif not module.name.startswith("__"):
            yield f"{name}.{module.name}"


FREE_OF_TORCH = [name for name in modules(ROOT / "src" / "grus", "grus") if not OF_TORCH.match(name)]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_heavy_is_imported() -> None:
    # one interpreter, module after module, so that the first to load something heavy is the one that is named
    code = f"""
import importlib, json, sys
loaded = {{}}
for name in {FREE_OF_TORCH!r}:
    before = set(sys.modules)
    importlib.import_module(name)
    loaded[name] = sorted({{m.partition(".")[0] for m in set(sys.modules) - before}} & set({sorted(HEAVY)!r}))
print(json.dumps(loaded))
"""
    loaded = json.loads(python(code))
    assert loaded == {name: [] for name in FREE_OF_TORCH}


def test_the_contract_names_every_room_that_is_free_of_torch() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = text.partition('name = "Free of torch and every other framework, always"')[2]
    listed = re.findall(r'"grus\.(\w+)"', contract.partition("source_modules = [")[2].partition("]")[0])
    rooms = {module.name for module in pkgutil.iter_modules([str(ROOT / "src" / "grus")])}
    assert listed == sorted(rooms - OF_FITS - {"__main__"})


def test_a_model_runs_where_torch_cannot_be_imported() -> None:
    code = """
import sys
sys.modules["torch"] = None  # importing it raises
import numpy as np
import grus
from grus import reference
from grus.spec import GRU, Linear, Spec, parameters

spec = Spec((GRU(3, 5), Linear(5, 2)))
random = np.random.default_rng(0)
arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in parameters(spec.blocks).items()}
x = random.normal(size=(4, 2, 3)).astype(np.float32)
y, _ = grus.Session(grus.Model(spec, arrays)).run(x)
layer = [arrays["0." + name] for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
exact = reference.forward(x, np.zeros((2, 5)), *layer) @ arrays["1.weight"].T + arrays["1.bias"]
print(np.abs(y - exact).max() < 1e-5)
"""
    assert python(code).strip() == "True"


@pytest.mark.alone
def test_import_takes_little_beyond_numpy() -> None:
    # the process's own time: what a busy neighbour takes from it is not the import's
    code = """
import time
import numpy
start = time.process_time()
import grus
everything = [getattr(grus, name) for name in grus.__all__]  # each is loaded when it is asked for
print(time.process_time() - start)
"""
    best = min(float(python(code)) for _ in range(5))
    assert best < 0.2


def test_the_layer_says_what_is_missing() -> None:
    code = """
import sys
sys.modules["torch"] = None
try:
    import grus.torch
except ImportError as error:
    print(error)
"""
    assert python(code) == f"grus.torch needs PyTorch: {installed.command('torch')}\n"


def test_training_says_what_is_missing() -> None:
    code = """
import sys
sys.modules["torch"] = None
from grus.errors import InputError
from grus.tasks.forecast import Forecaster
columns = {"unique_id": ["a"] * 40, "ds": range(40), "y": range(40)}
for train in (Forecaster(2).fit, Forecaster(2).backtest):
    try:
        train(columns)
    except InputError as error:
        print(error)
"""
    assert python(code) == 2 * f"training needs PyTorch: {installed.command('train')}\n"
