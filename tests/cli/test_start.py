"""How the command line starts and ends."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator

import pytest

from grus import __version__
from grus.cli import main, parser


def verbs(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """Every command and verb that the parser has, with those it is below."""
    yield []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from ([name, *verb] for verb in verbs(below))


VERBS = list(verbs(parser()))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"grus {__version__}\n"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: grus")
    assert " ".join(["grus", *(verb or ["forecast"])]) in text.partition("\n\n")[2]  # an example
    assert max(map(len, text.splitlines())) <= 120


def test_help_shows_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    from grus.tasks.forecast.settings import Architecture, Optimiser

    with pytest.raises(SystemExit):
        main(["forecast", "fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"units (default: {Architecture().hidden_size})" in text
    assert f"the highest rate of the schedule (default: {Optimiser().learning_rate})" in text
    assert "(default: 0.1,0.5,0.9)" in text


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys\nfrom grus.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'matplotlib', 'tqdm', 'onnx', 'onnxruntime', 'h5py'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    for arguments in (["--version"], ["forecast", "fit", "--help"], ["export", "--help"]):
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "grus", "fly"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("grus: error: ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_gone() -> None:
    """``grus … | head -0``: no traceback, neither from us nor from Python's shutdown."""
    code = "import sys, grus.cli\nsys.exit(grus.cli.main(['forecast', 'fit', '--help']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert errors == b""
