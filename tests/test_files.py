"""Files are written whole or not at all, where their name leads to."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from grus.files import write_whole


def test_a_file_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to(Path("store") / "c")
    for data in (b"first, where the link leads to nothing", b"second"):
        write_whole(tmp_path / "a", data)
        assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink()
        assert (tmp_path / "store" / "c").read_bytes() == data
        assert os.listdir(tmp_path / "store") == ["c"]


@pytest.mark.parametrize("length", [241, 255])
def test_a_name_as_long_as_names_may_be(tmp_path: Path, length: int) -> None:
    name = "n" * length
    write_whole(tmp_path / name, b"data")
    assert os.listdir(tmp_path) == [name]


def test_what_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a", b"old")
    (tmp_path / "link").symlink_to("a")

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a", b"new")


HANGS = """\
import os, sys
from grus.files import write_whole
def hang(*_):
    print("written", flush=True)
    sys.stdin.read()
os.replace = hang
write_whole(sys.argv[1], b"never seen")
"""


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, tmp_path / "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        (left,) = os.listdir(tmp_path)
        write_whole(tmp_path / "a", b"first")
        assert sorted(os.listdir(tmp_path)) == [left, "a"]
        process.kill()
    write_whole(tmp_path / "b", b"another file")
    assert sorted(os.listdir(tmp_path)) == [left, "a", "b"]
    write_whole(tmp_path / "a", b"second")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == b"second"
