"""What the examples share: options, rows of results, and the record that is kept of them."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grus
from grus.files import write_whole
from grus.tasks.classify import Classifier
from grus.tasks.classify.examples import as_examples
from grus.tasks.classify.fit import fit_networks
from grus.torch.network.peers import lstm_of_equal_parameters

T = TypeVar("T")
KINDS = ("gru", "lstm", "baselines")
LSTM = "LSTM of equal parameters"


def options(title: str, name: str, *, seeds: int | None = None) -> argparse.Namespace:
    """The command line of an example: where its record goes, and with ``seeds`` how many runs it makes."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the model (default: demo)")
    parser.add_argument(
        "--record", type=Path, help=f"also write the results as JSON, such as benchmarks/results/{name}.json"
    )
    if seeds is not None:
        parser.add_argument("--seeds", type=int, default=seeds, help="runs, seeds 0, 1, … (default: %(default)s)")
    parser.add_argument(
        "--only",
        type=_some,
        default=KINDS,
        metavar="KINDS",
        help=f"some of {','.join(KINDS)}; the record keeps its other rows (default: all)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    return given


def _some(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(KINDS)}")
    return kinds


def percent(guesses: Sequence[Any], truth: Sequence[Any]) -> float:
    """How many guesses are right, in percent."""
    return 100 * sum(a == b for a, b in zip(guesses, truth, strict=True)) / len(truth)


def timed(work: Callable[..., T], *given: Any, **named: Any) -> tuple[T, float]:
    """What ``work`` gives, and the seconds it took."""
    begin = time.perf_counter()
    result = work(*given, **named)
    return result, time.perf_counter() - begin


def row(model: str, score: float, seconds: float | None = None, **more: Any) -> dict[str, Any]:
    """A result: the score, the seconds that training and testing took, and what else is to be known."""
    return {"model": model, "score": score, "seconds": None if seconds is None else round(seconds, 1)} | more


def average(model: str, runs: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    """The mean of runs (score, seconds) with other seeds, the deviation of their scores, and every score."""
    scores = [score for score, _ in runs]
    seconds = sum(each for _, each in runs) / len(runs)
    spread = {"deviation": statistics.stdev(scores)} if len(runs) > 1 else {}
    return row(model, statistics.mean(scores), seconds, seeds=list(range(len(runs))), scores=scores, **spread, **more)


def published(model: str, score: float, source: str) -> dict[str, Any]:
    """A result that is not ours, and not run here."""
    return row(f"{model} (published)", score, source=source)


def guesses_of_lstm(classifier: Classifier, X: Any, labels: Any, test: Any, *, progress: bool = False) -> list[Any]:
    """What the classifier's networks answer with LSTMs of as many parameters in the place of their GRUs.

    They are trained by the same loop, with the same settings, on the same batches.
    """
    examples = as_examples(X, labels)
    trained = fit_networks(examples, classifier.settings, recurrent=lstm_of_equal_parameters, progress=progress)
    return [trained.task.classes[int(p[-1].argmax())] for p in trained.predict_proba(test)]


def finish(given: argparse.Namespace, name: str, measure: str, data: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows, the best first, and keep them where ``--record`` says. measure: what the scores are.

    With ``--only`` the record's rows of other kinds stay as they are.
    """
    run = {"date": dt.date.today().isoformat(), "machine": platform.processor() or platform.machine()}
    rows = [r | run | {"threads": grus.get_num_threads()} for r in rows]
    if given.record is not None and given.record.exists():
        kept = json.loads(given.record.read_text(encoding="utf-8"))["rows"]
        rows += [r for r in kept if kind(r) not in given.only]
    rows = sorted(rows, key=lambda r: r["score"], reverse=not lower_is_better(measure))
    width = max(len(r["model"]) for r in rows)
    print(f"\n{data}\n{'':{width}}  {measure}  seconds")
    for r in rows:
        spread = f" ± {r['deviation']:.2f}" if "deviation" in r else ""
        seconds = "" if r["seconds"] is None else f"{r['seconds']:.0f}"
        print(f"{r['model']:{width}}  {r['score']:>{len(measure)}.{digits(measure)}f}  {seconds:>7}{spread}")
    if given.record is None:
        return
    record = {
        "command": f"python examples/{name}.py",
        "data": data,
        "measure": measure,
        "rows": rows,
    }
    write_whole(given.record, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"{given.record} is written")


def kind(of: dict[str, Any]) -> str:
    """Which of KINDS a row is."""
    model = of["model"]
    if model.startswith(LSTM):
        return "lstm"
    return "gru" if model.startswith("GRU") and "source" not in of else "baselines"


def lower_is_better(measure: str) -> bool:
    return measure.startswith("bits")


def digits(measure: str) -> int:
    return 3 if lower_is_better(measure) else 2
