"""Writing a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from grus.errors import InputError
from grus.files import sync

__all__ = ["write_folder"]


def write_folder(target: Path, files: Mapping[str, bytes], *, optional: Collection[str] = ()) -> list[Path]:
    """Write ``files`` to the folder ``target``, made anew, so that a reader never sees a part of it.

    A folder that is there already is replaced if it holds nothing but files of these names and the ``optional`` ones.
    Raises InputError where it holds something else or is no folder, and OSError where it cannot be written; what was
    there then stands.
    """
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_dir():
        raise InputError(f"{str(target)!r} is there and is no directory")
    others = sorted({p.name for p in target.iterdir()} - set(files) - set(optional)) if target.exists() else []
    if others:
        raise InputError(f"{str(target)!r} holds other files, such as {others[0]!r}: give a new directory, or empty it")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".grus."))
    try:
        new = work / "new"
        new.mkdir()
        for name, data in files.items():
            with open(new / name, "wb") as file:
                file.write(data)
                file.flush()
                sync(file.fileno())
        _exchange(new, target, work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [target / name for name in files]


def _exchange(new: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
