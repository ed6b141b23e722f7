"""What stands around every fit, whatever it fits: processes, checkpoint, progress, measurements, an early end."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypedDict, TypeVar

from grus.model import Model
from grus.spec import Classify, Forecast, Language, Mean, Spec
from grus.torch.network import Network, to_model
from grus.training import distributed
from grus.training.checkpoint import Journal, Result
from grus.training.interrupt import Interrupt
from grus.training.loop import train
from grus.training.metrics import Metrics
from grus.training.objective import Objective
from grus.training.progress import Reporter
from grus.training.schedule import Optimisation

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["Around", "Fitting", "Trained", "identity", "numbered", "optimisation"]

LOOKS = 20  # at what is held back
GROUPS = ("architecture", "optimiser", "trainer")  # of settings, whose fields' names say enough by themselves
Task = TypeVar("Task", Classify, Forecast, Language)


class Around(TypedDict, total=False):
    """The keywords of every fit, beside its data and settings.

    progress: tell on stderr how far it is (the default). checkpoint: a file to go on from after an interruption,
    written every 20 seconds and when SIGINT or SIGTERM ends the training; it is left in place for the caller to delete
    once the model is safe. resume: go on from it; with the same number of threads the weights are the same to the bit
    as without the interruption. metrics: a file of JSON lines of what is measured, or a
    :class:`grus.training.metrics.Metrics`. device: "cpu" (the default) or "cuda".

    Under torchrun all processes train one model together, each with ``batch_size`` of what a step is made of, and all
    of them get it; each needs the whole data.

    A fit raises InputError for data or settings that do not fit, and for a checkpoint of others; what ends a training
    early, :func:`grus.training.loop.train` says.
    """

    progress: bool
    checkpoint: str | os.PathLike[str] | None
    resume: bool
    metrics: Metrics | str | os.PathLike[str] | None
    device: str


class Fitting:
    """A fit under way: first it is made, then the data prepared, then within :meth:`trainings` each is run.

    history: rows of training (its name), step, loss, and validation where measured.
    """

    journal: Journal
    interrupt: Interrupt
    reporter: Reporter

    def __init__(
        self,
        *,
        progress: bool = True,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        metrics: Metrics | str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> None:
        self.processes = distributed.start(device)
        self.metrics = metrics if metrics is None or isinstance(metrics, Metrics) else Metrics(metrics)
        self.progress, self.checkpoint, self.resume = progress, checkpoint, resume
        self.history: list[dict[str, Any]] = []

    @contextmanager
    def trainings(self, identity: dict[str, Any], steps: int) -> Iterator[None]:
        """Within, trainings of ``steps`` steps in all, at most. identity: what makes two fits the same."""
        self.journal = Journal.open(self.checkpoint, identity, resume=self.resume)
        with Interrupt() as self.interrupt, Reporter(steps, show=self.progress) as self.reporter:
            yield

    def train(
        self,
        name: str,
        network: Network,
        objective: Objective,
        optimisation: Optimisation,
        seed: Sequence[int],
        *,
        validate: Callable[[Network], float] | None = None,
        stop: int | None = None,
    ) -> Result:
        """As :func:`grus.training.loop.train`; what was measured on the way goes to the history."""
        result = train(
            network,
            objective,
            optimisation,
            name=name,
            seed=seed,
            stop=stop,
            journal=self.journal,
            interrupt=self.interrupt,
            reporter=self.reporter,
            validate=validate,
            metrics=self.metrics,
        )
        self.history.extend({"training": name} | row for row in result.curve)
        return result


@dataclasses.dataclass(frozen=True)
class Trained(Generic[Task]):
    """Networks whose mean output is read as ``task`` says. They may hold what no model can.

    history: as of :class:`Fitting`. validation: what was found by what was held back; {} where nothing was.
    """

    networks: list[Network]
    task: Task
    history: list[dict[str, Any]]
    validation: dict[str, float]

    def model(self) -> Model:
        """One model of them all. Raises InputError for networks with other modules in the place of their GRUs."""
        chain, count = self.networks[0].blocks, len(self.networks)
        if count == 1:
            return to_model(self.networks[0], Spec(chain, self.task))
        arrays = {
            f"0.{member}.{name}": array
            for member, network in enumerate(self.networks)
            for name, array in to_model(network, Spec(chain)).arrays.items()
        }
        return Model(Spec((Mean((chain,) * count),), self.task), arrays)


class Optimiser(Protocol):
    """What every task's settings say of it."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def schedule(self) -> Literal["cosine", "linear", "constant"]: ...
    @property
    def precision(self) -> Literal["float32", "bfloat16"]: ...


def optimisation(
    optimiser: Optimiser, steps: int, *, patience: int, average: float = 0.0, tolerance: float = 0.0
) -> Optimisation:
    """``steps`` steps as the settings say, with twenty looks at what is held back."""
    return Optimisation(
        steps=steps,
        learning_rate=optimiser.learning_rate,
        weight_decay=optimiser.weight_decay,
        clip_norm=optimiser.clip,
        average=average,
        validate_every=-(-steps // LOOKS),
        patience=patience,
        tolerance=tolerance,
        schedule=optimiser.schedule,
        precision=optimiser.precision,
    )


def numbered(name: str, member: int, members: int) -> str:
    """The name of a member's training, with its number where there are several."""
    return f"{name} {member + 1}/{members}" if members > 1 else name


def identity(task: str, settings: Any, data: _Hash, recurrent: Callable[..., Any] | None = None) -> dict[str, Any]:
    """What makes two fits the same: task, processes, every setting by its name, and the digest of the data.

    In how many parts a batch is computed is not among them: it changes no more than the rounding, and may change when
    one does not fit into memory.
    """
    named: dict[str, Any] = {
        "task": task,
        "processes": distributed.current().world,
        "recurrent": getattr(recurrent, "__name__", None),
    }
    for group, value in dataclasses.asdict(settings).items():
        if not isinstance(value, dict):
            named[group] = value
        else:
            named |= value if group in GROUPS else {f"{name} {group}": each for name, each in value.items()}
    del named["accumulate"]
    return named | {"data": data.hexdigest()}
