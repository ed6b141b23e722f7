"""Writing files whole or not at all, and saying before any work where one could not be written."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from grus.errors import InputError

if sys.platform != "win32":
    import fcntl

__all__ = ["STDIN", "check_output", "check_outputs", "is_piped", "sync", "write_whole"]

STDIN = os.path.normpath("/dev/stdin")  # the path that stands for the standard input
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
            sync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes it private; a result is not
            if sys.platform != "win32":
                os.replace(temporary, target)  # before the lock goes with the descriptor
        if sys.platform == "win32":  # which renames no open file, and has no folders to sync
            os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    if sys.platform != "win32":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_piped() -> bool:
    """Whether the standard input is a pipe or a file, not a terminal nor nothing."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # it is closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def sync(descriptor: int) -> None:
    """Return when what was written to the open file is on the disk."""
    if sys.platform == "darwin":  # whose fsync leaves it in the disk's own memory
        with suppress(OSError):  # not every file system has more
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def check_output(option: str, path: Path | None, *inputs: Path | None, suffixes: Sequence[str] = ()) -> None:
    """Raise InputError, before any work, when ``path`` could not be written or is one of the inputs.

    suffixes: the endings its name may have, besides none; () for any.
    """
    if path is None:
        return
    if str(path) == "-":
        raise InputError(f"{option} '-': nothing is written to standard output, expected the name of a file")
    if suffixes and path.suffix.lower() not in ("", *suffixes):
        raise InputError(f"{option} {str(path)!r}: cannot write {path.suffix!r}, expected {' or '.join(suffixes)}")
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if path.is_dir():
        raise InputError(f"{option} {str(path)!r} is a folder, expected the name of a file to write")
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {str(path)!r} is a device or a pipe, expected the name of a file to write")
    if not folder.is_dir():
        raise InputError(f"{option} {str(path)!r}: there is no folder {str(folder)!r}, make it first")
    for other in inputs:
        if other is not None and other.exists() and path.exists() and os.path.samefile(path, other):
            raise InputError(f"{option} {str(path)!r} is also an input, and would be written over: choose another name")
    try:  # only a trial says whether a file can be made: access() does not know every file system
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{option} {str(path)!r}: cannot write into {str(folder)!r}: {error.strerror}") from None


def check_outputs(
    written: Mapping[str, Path | None], *inputs: Path | None, suffixes: Mapping[str, Sequence[str]] | None = None
) -> None:
    """:func:`check_output` of each path by its option, with its ``suffixes``; no two may be the same file."""
    taken: dict[Path, str] = {}
    for option, path in written.items():
        if path is not None:
            check_output(option, path, *inputs, suffixes=(suffixes or {}).get(option, ()))
            if other := taken.get(path.resolve()):
                raise InputError(f"{option} and {other} are the same file {str(path)!r}: choose another name")
            taken[path.resolve()] = option


def _make_locked(folder: Path, prefix: str) -> tuple[int, str]:
    """A new file, and its name. Its lock says that its process lives: the system takes it from a dead one.

    On Windows that it is open is lock enough: no one can remove it.
    """
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=SUFFIX)
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks: then nothing is ever stale
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if sys.platform == "win32" or os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)  # another process took it for stale before it was locked


def _remove_stale(folder: Path, prefix: str) -> None:
    for name in folder.glob(f"{prefix}*{SUFFIX}"):
        with suppress(OSError):  # another user's, or just gone
            if sys.platform == "win32":
                os.unlink(name)
            else:
                descriptor = os.open(name, os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(name)
                finally:
                    os.close(descriptor)
