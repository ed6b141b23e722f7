"""The forecaster from the command line: fit, predict, evaluate; and what is left when they are interrupted."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from grus import installed
from grus.cli import main

SMALL = ["--horizon", "4", "--hidden-size", "8", "--steps", "30", "--threads", "1"]
WITHOUT_TORCH = "import sys\nsys.modules['torch'] = None\nfrom grus.cli import main\nsys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data.csv (two series) and a model trained on it."""
    folder = tmp_path_factory.mktemp("cli")
    with open(folder / "data.csv", "w") as file:
        file.write("shop,month,sales\n")
        for shop, base in (("north", 100.0), ("south, east", 20.0)):
            for i in range(60):
                value = base * (1 + 0.3 * math.sin(i * math.pi / 6)) + i
                file.write(f'"{shop}",{2000 + i // 12}-{i % 12 + 1:02d}-01,{"" if i == 20 else round(value, 3)}\n')
    arguments = ["forecast", "fit", str(folder / "data.csv"), "-o", str(folder / "model.safetensors"), *SMALL, *COLUMNS]
    more = ["--history", str(folder / "history.json"), "--metrics", str(folder / "metrics.jsonl")]
    assert main([*arguments, "--quiet", *more]) == 0
    return folder


COLUMNS = ["--id-col", "shop", "--time-col", "month", "--target-col", "sales"]


def grus(*arguments: object, code: str = WITHOUT_TORCH) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def test_fit_leaves_the_model_and_nothing_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"data.csv", "model.safetensors", "history.json"}
    assert not list(folder.glob("*checkpoint*"))
    rows = json.loads((folder / "history.json").read_text())
    assert {row["training"] for row in rows} == {"search", "training"}
    assert all(row["loss"] > 0 and row["step"] > 0 for row in rows)
    assert all("validation" in row for row in rows if row["training"] == "search")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [{name: line[name] for name in row} for row, line in zip(rows, lines, strict=True)] == rows


def test_predict_without_torch(folder: Path) -> None:
    out, picture = folder / "out.csv", folder / "out.png"
    done = grus(
        "forecast", "predict", folder / "model.safetensors", folder / "data.csv", "-o", out, "--plot", picture, *COLUMNS
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}: 2 series, 8 rows; picture: {picture}\n"
    with open(out) as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["unique_id", "ds", "q0.1", "q0.5", "q0.9"]
    assert [row["unique_id"] for row in rows] == ["north"] * 4 + ["south, east"] * 4
    assert [row["ds"] for row in rows[:4]] == ["2005-01-01", "2005-02-01", "2005-03-01", "2005-04-01"]
    assert all(float(row["q0.1"]) <= float(row["q0.5"]) <= float(row["q0.9"]) for row in rows)
    assert 80 < float(rows[0]["q0.5"]) < 300
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate_without_torch(folder: Path) -> None:
    report = folder / "report.json"
    done = grus(
        *("forecast", "evaluate", folder / "model.safetensors", folder / "data.csv", "--windows", 2, "-o", report),
        *COLUMNS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in ("GRU", "seasonal naive", "naive", "sMAPE", "MASE"))
    assert json.loads(report.read_text())["rows"][0]["model"] == "GRU"


def test_fit_needs_torch_and_says_so(folder: Path) -> None:
    target = folder / "none.safetensors"
    done = grus("forecast", "fit", folder / "data.csv", "-o", target, *SMALL, *COLUMNS)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"grus: error: training needs PyTorch: {installed.command('train')}\n"
    assert not target.exists()


def test_fit_says_what_it_chose(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "told.safetensors"
    assert main(["forecast", "fit", str(folder / "data.csv"), "-o", str(target), *SMALL, *COLUMNS]) == 0
    end = r": [\d,]+ weights, trained on 2 series in \d+ s \(window 60, frequency MS, season 12, log scale\)\n"
    out, errors = capsys.readouterr()
    assert re.fullmatch(re.escape(str(target)) + end, out)
    assert "note: " not in errors


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_series_too_short_to_hold_values_back(
    folder: Path, quiet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["forecast", "fit", str(folder / "data.csv"), "-o", str(folder / f"short{len(quiet)}.safetensors")]
    assert main([*arguments, *COLUMNS, *SMALL, "--horizon", "40", "--steps", "3", *quiet]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    words = "note: the series are too short to hold their last 40 values back: no early stopping, and no calibration"
    assert notes == [f"{words} of the intervals"] * (not quiet)


def test_unknown_series_in_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "never.csv"
    arguments = ["forecast", "predict", str(folder / "model.safetensors"), str(folder / "data.csv"), "-o", str(out)]
    assert main([*arguments, "--plot", str(folder / "never.png"), "--plot-ids", "west", *COLUMNS]) == 2
    assert "'west'" in capsys.readouterr().err
    assert not list(folder.glob("never*"))


def test_backtest_in_the_same_call(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "backtested.safetensors"
    arguments = ["forecast", "fit", str(folder / "data.csv"), "-o", str(target), *SMALL, *COLUMNS]
    assert main([*arguments, "--backtest", "2", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "GRU" in text
    assert "seasonal naive" in text
    assert "flatter" not in text  # what is hidden was not trained on
    assert target.exists()


def test_a_reader_that_has_gone(folder: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "grus",
            "forecast",
            "evaluate",
            folder / "model.safetensors",
            folder / "data.csv",
            *COLUMNS,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (141, b"")


LONG = ["--horizon", "4", "--hidden-size", "8", "--steps", "400", "--members", "2", "--threads", "1"]


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> bytes:
    target = folder / "unbroken.safetensors"
    assert main(["forecast", "fit", str(folder / "data.csv"), "-o", str(target), *COLUMNS, *LONG, "--quiet"]) == 0
    return target.read_bytes()


def test_interrupt_and_resume(
    folder: Path,
    unbroken: bytes,
    capsys: pytest.CaptureFixture[str],
    interrupted: Callable[[Sequence[str], Path], Path],
) -> None:
    target = folder / "broken.safetensors"
    arguments = ["forecast", "fit", str(folder / "data.csv"), "-o", str(target), *COLUMNS, *LONG]
    checkpoint = interrupted(arguments, target)

    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "seed was 0, is 1" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--quiet"]) == 0
    assert target.read_bytes() == unbroken
    assert not checkpoint.exists()


def test_other_data_is_not_resumed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from grus.training.interrupt import Interrupt

    target = tmp_path / "model.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interrupt, "__enter__", lambda self: setattr(self, "requested", True) or self)
        assert (
            main(["forecast", "fit", str(folder / "data.csv"), "-o", str(target), *SMALL, *COLUMNS, "--quiet"]) == 130
        )
    assert capsys.readouterr().err.startswith("grus: stopped at step 0 of 30 (search)")
    changed = tmp_path / "changed.csv"
    changed.write_text((folder / "data.csv").read_text().replace("2004-12-01,", "2004-12-01,1"))
    assert main(["forecast", "fit", str(changed), "-o", str(target), *SMALL, *COLUMNS, "--quiet", "--resume"]) == 2
    assert "the data are not the same" in capsys.readouterr().err


def test_ctrl_c_while_predicting(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from grus.tasks.forecast import predict

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "forecast_panel", interrupted)
    out = folder / "interrupted.csv"
    arguments = ["forecast", "predict", str(folder / "model.safetensors"), str(folder / "data.csv"), "-o", str(out)]
    assert main([*arguments, *COLUMNS]) == 130
    assert capsys.readouterr().err == "grus: interrupted\n"
    assert not out.exists()


def test_a_training_that_diverges(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from grus.tasks.forecast import fit

    pinball = fit._pinball
    monkeypatch.setattr(fit, "_pinball", lambda *arguments: pinball(*arguments) * float("nan"))
    target = folder / "diverged.safetensors"
    arguments = ["forecast", "fit", str(folder / "data.csv"), "-o", str(target), *SMALL, *COLUMNS, "--quiet"]
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith("grus: error: the loss became nan ")
    assert "lower the learning rate (it is 0.004)" in line
    assert line.count("\n") == 1
    # only the same run could go on from its checkpoint, to the same end: it is removed, and the advice can be followed
    assert line.endswith("then start again, " + str(folder / "diverged.safetensors.checkpoint") + " is removed\n")
    assert not list(folder.glob("diverged*"))
    monkeypatch.undo()
    assert main([*arguments, "--learning-rate", "0.001"]) == 0
    assert target.exists()


def broken_off(folder: Path, target: Path, at: int, error: Exception) -> list[str]:
    """The arguments of a fit that ended by ``error`` when it had taken so many batches."""
    from grus.tasks.forecast import fit

    arguments = ["forecast", "fit", str(folder / "data.csv"), "-o", str(target), *SMALL, *COLUMNS, "--quiet"]
    taken, tensors = 0, fit._tensors

    def fails(batch: object) -> object:
        nonlocal taken
        taken += 1
        if taken == at:
            raise error
        return tensors(batch)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_tensors", fails)
        assert main(arguments) == 2
    return arguments


def test_out_of_memory_leaves_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "full.safetensors"
    arguments = broken_off(folder, target, 12, MemoryError())
    step = r"out of memory at step \d+ of 30 \(search\): take a smaller batch; the checkpoint '.*' holds step \d+: "
    ending = r"resume goes on from there, by the same command and --resume \(delete it to change settings\)\n"
    assert re.fullmatch("grus: error: " + step + ending, capsys.readouterr().err)
    assert main([*arguments, "--resume"]) == 0
    assert target.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_what_torchrun_starts_again_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = folder / "again.safetensors"
    arguments = broken_off(folder, target, 12, MemoryError())
    assert main(arguments) == 2
    assert "is left of an interrupted run" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main(arguments[:-1]) == 0
    assert "after the resume" in capsys.readouterr().out
    assert target.read_bytes() == (folder / "model.safetensors").read_bytes()
    assert main(arguments) == 0  # the last life did not come to its first checkpoint


@pytest.mark.timeout(300)  # a process takes two seconds to load PyTorch, on a busy disk ten
def test_the_other_processes_write_nothing(folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "grus"]
    target = folder / "together.safetensors"
    arguments = ["forecast", "fit", folder / "data.csv", "-o", target, *SMALL, *COLUMNS, "--batch-size", "1"]
    before = {path.name for path in folder.iterdir()}
    done = subprocess.run([*command, *map(str, arguments), "--backtest", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("together.safetensors: ") == done.stdout.count("seasonal naive") == 1
    assert {path.name for path in folder.iterdir()} - before == {target.name}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--metrics m.safetensors", "--metrics and --output are the same file 'm.safetensors'"),
        ("--history m.safetensors.checkpoint", "--history and the checkpoint are the same file"),
        ("--metrics none/m.jsonl", "there is no folder 'none'"),
        ("--batch-size 0", "--batch-size: '0' is not an integer of at least 1"),
    ],
)
def test_outputs_that_cannot_be(folder: Path, failing: Callable[[str], str], more: str, words: str) -> None:
    line = failing(f"forecast fit {folder / 'data.csv'} --horizon 4 -o m.safetensors {' '.join(COLUMNS)} {more}")
    assert words in line
