"""The options of a fit follow from the fields of its settings: in the parser and in the docs."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.option_tables import TABLES, page

from grus.cli import main, options, parser
from grus.tasks.options import every

ROOT = Path(__file__).parent.parent.parent


def commands(above: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands that do something, by their names."""
    below = [action for action in above._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        return {above.prog: above}
    return {name: each for one in below[0].choices.values() for name, each in commands(one).items()}


COMMANDS = commands(parser())


@pytest.mark.parametrize("task", TABLES)
def test_every_field_has_an_option(task: str) -> None:
    verb, kind = COMMANDS[f"grus {task} fit"], TABLES[task][1]
    known = {flag: action for action in verb._actions for flag in action.option_strings}
    for _, fields in every(kind).values():
        for one in fields:
            action = known[one.flag]
            assert action.help and action.help.startswith(one.option.help)
            assert action.required or action.default == one.default
    needed = ["--horizon", "3"] if task == "forecast" else []
    given = verb.parse_args(["data", "-o", "m", *needed])
    assert options.settings(given, kind) == (kind(horizon=3) if needed else kind())  # type: ignore[call-arg]


@pytest.mark.parametrize("task", TABLES)
def test_the_tables_in_the_docs_are_the_fields(task: str) -> None:
    path, text = page(task)
    assert path.read_text(encoding="utf-8") == text, "write them: python -m tests.option_tables"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_docs(command: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(command in each.read_text(encoding="utf-8") for each in pages)


def seconds(*arguments: str) -> float:
    """The time of a CPU that Python takes with these arguments, in the best of five runs."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


@pytest.mark.alone
def test_help_comes_at_once() -> None:
    """Within 0.3 s of the process's own time, of which NumPy alone would take most: it is not loaded."""
    assert seconds("-m", "grus", "--help") < 0.3


def test_the_settings_of_a_forecast_that_had_no_option() -> None:
    line = ["d.csv", "-o", "m", "--horizon", "3", "--weight-decay", "0.1", "--clip", "2", "--no-early-stopping"]
    given = COMMANDS["grus forecast fit"].parse_args(line)
    settings = options.settings(given, TABLES["forecast"][1])
    assert (settings.optimiser.weight_decay, settings.optimiser.clip) == (0.1, 2.0)  # type: ignore[attr-defined]
    assert settings.trainer.early_stopping is False  # type: ignore[attr-defined]


def test_a_number_below_its_bound_is_refused_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "fit", "--steps", "0"]) == 2
    assert "argument --steps: '0' is not an integer of at least 1" in capsys.readouterr().err
