"""A hint names a command that works for the copy of Grus that gives it."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from grus import installed

REQUIRES = [
    "numpy>=1.24",
    'torch>=2.7; extra == "torch"',
    'grus[torch]; extra == "train"',
    'tqdm>=4.60; extra == "train"',
    'grus[train,plot]; extra == "all"',
    "matplotlib>=3.7; extra == 'plot'",
]


class Copy:
    def __init__(self, origin: dict[str, Any] | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


def command(monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None, extra: str = "train") -> str:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Copy(origin))
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRES)
    return installed.command(extra)


def test_a_checkout_and_a_wheel_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    editable = {"url": folder.as_uri(), "dir_info": {"editable": True}}
    assert command(monkeypatch, editable) == f"pip install -e '{folder}[train]'"
    assert command(monkeypatch, {"url": folder.as_uri(), "dir_info": {}}) == f"pip install '{folder}[train]'"
    wheel = folder / "grus-0.1.0-cp312-abi3-linux_x86_64.whl"
    wheel.touch()
    assert command(monkeypatch, {"url": wheel.as_uri(), "archive_info": {}}, "plot") == f"pip install '{wheel}[plot]'"


def test_a_repository_is_named() -> None:
    origin = {"url": "https://example.org/grus.git", "vcs_info": {"vcs": "git", "commit_id": "a1b2"}}
    with pytest.MonkeyPatch.context() as patch:
        assert command(patch, origin) == "pip install 'grus[train] @ git+https://example.org/grus.git@a1b2'"


@pytest.mark.parametrize("origin", [None, {"url": "file:///no/such/folder/grus.whl", "archive_info": {}}])
def test_where_nothing_is_left_the_packages_are(monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None) -> None:
    assert command(monkeypatch, origin) == "pip install 'torch>=2.7' 'tqdm>=4.60'"
    assert command(monkeypatch, origin, "all") == "pip install 'torch>=2.7' 'tqdm>=4.60' 'matplotlib>=3.7'"


def test_every_extra_of_a_hint_is_there() -> None:
    assert {"onnx", "keras", "plot", "baselines", "train", "parquet", "text", "torch"} <= set(
        importlib.metadata.metadata("grus").get_all("Provides-Extra") or []
    )
