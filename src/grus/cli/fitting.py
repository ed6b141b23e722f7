"""What every ``fit`` verb does around its task: its options, its files, its training, and what an early end leaves."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.cli import options as settings
from grus.cli import shared
from grus.errors import InputError
from grus.files import check_outputs, write_whole
from grus.tasks import pictures
from grus.tasks.options import Options
from grus.training.torchrun import is_first, is_restarted

if TYPE_CHECKING:
    from grus.model import Model
    from grus.tasks.fitted import Fitted

__all__ = ["Files", "add", "train", "use_torch"]


def add(parser: argparse.ArgumentParser, kind: type[Options]) -> None:
    """The options of every fit, and those of a task's settings."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model file to write")
    settings.add(parser, kind)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted run")
    parser.add_argument("--history", type=Path, metavar="FILE", help="write loss and validation by step, as JSON")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="a picture of loss and validation by step")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="write them as they come, as JSON lines")
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="write them for TensorBoard")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary of the fit")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what computes (default: %(default)s)")
    shared.add_threads(parser)


def train(files: Files, fit: Callable[..., Fitted], data: Any, chosen: Options) -> Fitted:
    """A task's ``fit`` of the data as its settings say, after :func:`use_torch`: its files are written, and what is
    told of it is printed.
    """
    from grus.training import distributed
    from grus.training.metrics import Metrics

    options = files.options
    distributed.start(options.device)
    metrics = Metrics(options.metrics, options.tensorboard) if options.metrics or options.tensorboard else None
    resume, begin = resumes(files), time.perf_counter()
    around = {"progress": not options.quiet, "checkpoint": files.checkpoint, "resume": resume, "metrics": metrics}
    with ending(files):
        fitted = fit(data, chosen, device=options.device, **around)
    took = f"{time.perf_counter() - begin:.0f} s" + " after the resume" * resume
    if is_first():
        files.write(fitted.model, fitted.history)
        if not options.quiet:
            print(
                f"{files.output}: {fitted.model.num_parameters:,} weights, {fitted.told.replace('{took}', took)}",
                flush=True,
            )
    return fitted


class Files:
    """The files of a fit: the model, the checkpoint beside it, the history.

    Raises InputError, before any work and in the first process alone, where an output could not be written or has an
    ending of ``other_kinds``, two are the same file, or a checkpoint is missing or left of another run.
    """

    def __init__(self, options: argparse.Namespace, inputs: Sequence[Path], other_kinds: Sequence[str]) -> None:
        self.options, self.output = options, options.output
        self.checkpoint: Path = self.output.with_name(self.output.name + ".checkpoint")
        if is_first():
            written = {"--output": self.output, "the checkpoint": self.checkpoint, "--history": options.history}
            written |= {"--plot": options.plot, "--metrics": options.metrics}
            read = [path for path in inputs if not path.is_dir()]
            check_outputs(written, *read, suffixes={"--plot": (".png",)})
            self._check_checkpoint()
            if options.plot is not None:
                pictures.new_figure(1, 1)  # raises now where there is no matplotlib
        if (kind := self.output.suffix.lower()) in other_kinds:
            raise InputError(f"--output {str(self.output)!r}: a model is a .safetensors file, not {kind}")

    def _check_checkpoint(self) -> None:
        left = self.checkpoint.exists()
        if self.options.resume and not left:
            raise InputError(f"--resume: there is no checkpoint {str(self.checkpoint)!r}: leave --resume out to start")
        if left and not self.options.resume and not is_restarted():
            raise InputError(
                f"{str(self.checkpoint)!r} is left of an interrupted run: go on with --resume, or delete the file"
            )

    def write(self, model: Model, history: list[dict[str, Any]]) -> None:
        """Write the model, the history and its picture, and then remove the checkpoint: nothing is lost in between."""
        model.save(self.output)
        if self.options.history is not None:
            write_whole(self.options.history, (json.dumps(history, indent=1) + "\n").encode())
        if self.options.plot is not None:
            write_whole(self.options.plot, pictures.training(history, self.output.name))
            if not self.options.quiet:
                print(f"picture: {self.options.plot}", flush=True)
        self.checkpoint.unlink()


def use_torch(threads: int | None) -> None:
    """Raise InputError where PyTorch is not installed; else let it and the kernels have ``threads`` of the CPU."""
    from grus.tasks.needs import check_torch

    check_torch()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    shared.set_threads(threads)


def resumes(files: Files) -> bool:
    """Whether to go on from the checkpoint: where that was asked for, and where torchrun starts the processes again and
    the first of them finds one. All processes must ask, after ``distributed.start``.
    """
    asked: bool = files.options.resume
    if asked or not is_restarted():
        return asked
    from grus.training.distributed import from_first

    return from_first(lambda: b"yes" if files.checkpoint.exists() else b"no") == b"yes"


@contextmanager
def ending(files: Files) -> Iterator[None]:
    """Around a training: when it ends early, say how to go on from the checkpoint, or remove one that leads nowhere."""
    from grus.training.failures import Diverged, LostWorker, OutOfMemory
    from grus.training.interrupt import Interrupted

    checkpoint = files.checkpoint
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
