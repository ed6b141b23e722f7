"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["STDIN", "write_whole"]

STDIN = "/dev/stdin"  # the path that stands for the standard input
SUFFIX = ".tmp"


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the new one, never a part.

    A symbolic link stays one: the file it leads to is written. What a process that was killed at it left behind, the
    next write of the same file removes. Raises OSError where the folder is missing or not writable; the old file then
    stands.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():  # not the name of a temporary in it
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    # short: with the target's name in it, it could be longer than the file system allows
    prefix = f".grus.{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}."
    _remove_stale(target.parent, prefix)
    descriptor, temporary = _make_locked(target.parent, prefix)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes it private; a result is not
            os.replace(temporary, target)  # before the lock goes with the descriptor
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make_locked(folder: Path, prefix: str) -> tuple[int, str]:
    """A new file, and its name. Its lock says that its process lives: the system takes it from a dead one."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=SUFFIX)
        with suppress(OSError):  # a file system without locks: then nothing is ever stale
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)  # another process took it for stale before it was locked


def _remove_stale(folder: Path, prefix: str) -> None:
    for name in folder.glob(f"{prefix}*{SUFFIX}"):
        with suppress(OSError):  # another user's, or just gone
            descriptor = os.open(name, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name)
            finally:
                os.close(descriptor)
