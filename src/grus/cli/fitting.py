"""What a ``fit`` verb does around its training: files of the first process alone, and what an early end leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from grus.cli.shared import check_output
from grus.errors import InputError

__all__ = ["check_files", "ending", "is_first", "resumes"]


def is_first() -> bool:
    """Whether this is the process that writes the files and prints, as torchrun numbers them."""
    return os.environ.get("RANK", "0") == "0"


def is_restarted() -> bool:
    """Whether torchrun has started this process again, after one was lost (``--max-restarts``)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")


def check_files(outputs: Mapping[str, Path | None], data: Path, checkpoint: Path, *, resume: bool) -> None:
    """Raise InputError, before any work, where an output (by its option) could not be written, two are the same file,
    or a checkpoint is missing or left of another run.
    """
    given = {"the checkpoint": checkpoint.resolve()}
    for option, path in outputs.items():
        if path is None:
            continue
        check_output(option, path, data)
        for other, taken in given.items():
            if path.resolve() == taken:
                raise InputError(f"{option} and {other} are the same file {str(path)!r}: choose another name")
        given[option] = path.resolve()
    if resume and not checkpoint.exists():
        raise InputError(f"--resume: there is no checkpoint {str(checkpoint)!r}: leave --resume out to start")
    if checkpoint.exists() and not resume and not is_restarted():
        raise InputError(f"{str(checkpoint)!r} is left of an interrupted run: go on with --resume, or delete the file")


def resumes(checkpoint: Path, *, asked: bool) -> bool:
    """Whether to go on from the checkpoint: where that was asked for, and where torchrun starts the processes again and
    the first of them finds one. All processes must ask.
    """
    if asked or not is_restarted():
        return asked
    from grus.training.distributed import from_first

    return from_first(lambda: b"yes" if checkpoint.exists() else b"no") == b"yes"


@contextmanager
def ending(checkpoint: Path) -> Iterator[None]:
    """Around a training: when it ends early, say how to go on from the checkpoint, or remove one that leads nowhere."""
    from grus.training.failures import Diverged, LostWorker, OutOfMemory
    from grus.training.interrupt import Interrupted

    try:
        yield
    except Interrupted as stop:
        raise Interrupted(f"{stop}, kept in {checkpoint}: go on with the same command and --resume") from None
    except Diverged as error:  # no settings but its own go on from the checkpoint, and they lead to the same end
        if is_first():
            checkpoint.unlink(missing_ok=True)
        raise InputError(f"{error}; then start again, {checkpoint} is removed") from None
    except (LostWorker, OutOfMemory) as error:
        if not checkpoint.exists():
            raise
        raise InputError(f"{error}, by the same command and --resume (delete it to change settings)") from None
