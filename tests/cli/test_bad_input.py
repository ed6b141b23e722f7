"""Bad input to the command line: one line on stderr that says what to do, exit status 2, and nothing written."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from grus.cli import main
from grus.model import Model
from grus.spec import GRU, Spec, parameters

Files = dict[str, str]


def monthly(count: int = 30, extra: str = "") -> str:
    rows = [f"a,{2000 + i // 12}-{i % 12 + 1:02d}-01,{10 + i % 7}" for i in range(count)]
    return "unique_id,ds,y\n" + "\n".join(rows) + "\n" + extra


FIT = "forecast fit data.csv --horizon 6 -o model.safetensors --quiet"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (monthly().replace("unique_id,ds,y", "unique_id,ds,sales"), ["no column 'y'", "'sales'", "--target-col"]),
        (monthly().replace("unique_id,ds,y", "shop,ds,y"), ["no column 'unique_id'", "'shop'", "--id-col"]),
        (monthly().replace("unique_id,ds,y", "unique_id,month,y"), ["no column 'ds'", "'month'", "--time-col"]),
        (monthly(extra="a,soon,1\n"), ["data.csv, line 32", "ds", "'soon'", "2020-01-31"]),
        (monthly(extra="a,2002-13-01,1\n"), ["data.csv, line 32", "ds", "'2002-13-01'"]),
        (monthly(extra="a,2002-07-01,inf\n"), ["data.csv, line 32", "y", "inf", "finite"]),
        (monthly(extra="a,2001-01-01,5\n"), ["data.csv, line 32", "2001-01-01", "twice", "line 14"]),
        (monthly(extra="a,2002-07-15,5\na,2002-09-20,5\n"), ["data.csv", "--freq"]),
        ("", ["data.csv", "empty"]),
        ("unique_id,ds,y\n", ["data.csv", "no rows"]),
        (monthly(5), ["horizon", "6"]),
        ("unique_id,ds,y\na,2000-01-01,\na,2000-02-01,\n", ["no value of y"]),
        (monthly(extra="a,2002-07-01\n"), ["data.csv, line 32", "2 cells"]),
    ],
)
def test_bad_tables(failing: Callable[[str], str], tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "data.csv").write_text(text)
    line = failing(FIT)
    for word in words:
        assert word in line


def test_a_cell_that_is_no_number(failing: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(monthly(extra="a,2002-07-01,many\n"))
    assert "data.csv, line 32: y is 'many', expected a number" in failing(f"{FIT} --strict")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("forecast fit none.csv --horizon 6 -o m", ["none.csv"]),
        ("forecast fit data.csv --horizon 6 -o none/m", ["--output 'none/m'", "no folder 'none'"]),
        ("forecast fit data.csv --horizon 6 -o folder", ["--output 'folder'", "is a folder"]),
        ("forecast fit data.csv --horizon 6 -o data.csv", ["--output 'data.csv'", "is also an input"]),
        ("forecast fit data.csv --horizon 6 -o q.parquet", ["--output 'q.parquet'", "a .safetensors file"]),
        ("forecast fit data.csv --horizon 6 -o q.CSV", ["--output 'q.CSV'", "a .safetensors file"]),
        ("forecast fit data.csv --horizon 6 -o q.png", ["--output 'q.png'", "a .safetensors file"]),
        ("forecast fit data.csv --horizon 6 -o m --backtest 4", ["the 4 windows of the backtest", "last 24 steps"]),
        ("forecast fit data.csv --horizon 6 -o m --history m", ["--history", "same file"]),
        ("forecast fit data.csv --horizon 6 -o m --resume", ["no checkpoint", "m.checkpoint"]),
        ("forecast fit data.csv --horizon 6 -o old", ["old.checkpoint", "--resume"]),
        ("forecast fit data.csv --horizon 6 -o old --resume", ["old.checkpoint", "not a checkpoint"]),
        ("forecast fit data.csv --horizon 0 -o m", ["--horizon", "'0'", "at least 1"]),
        ("forecast fit data.csv --horizon six -o m", ["--horizon", "'six'"]),
        ("forecast fit data.csv --horizon 600 -o m", ["horizon", "600"]),
        ("forecast fit data.csv --horizon 99999999999999999999 -o m", ["horizon", "99999999999999999999"]),
        ("forecast fit data.csv --horizon 99999999999999999999 -o m --backtest 2", ["horizon"]),
        ("forecast fit data.csv --horizon 6 -o m --backtest 99999999999999999999", ["take fewer windows"]),
        ("forecast fit data.csv --horizon 6 -o m --hidden-size 10000000", ["out of memory"]),
        ("forecast fit data.csv --horizon 6 -o m --history m.checkpoint", ["--history", "checkpoint"]),
        ("forecast fit data.csv --horizon 6 -o m --quantiles 0.1,2", ["--quantiles are", "2"]),
        ("forecast fit data.csv --horizon 6 -o m --quantiles a", ["--quantiles", "0.1,0.5,0.9"]),
        ("forecast fit data.csv --horizon 6 -o m --past price", ["price"]),
        ("forecast fit data.csv --horizon 6 -o m --past p,", ["--past", "price,holiday"]),
        ("forecast fit data.csv --horizon 6 -o m --freq fortnight", ["fortnight"]),
        ("forecast fit data.csv --horizon 6 -o m --freq QS", ["2000-02-01", "'QS'"]),
        ("forecast fit data.csv --horizon 6 -o m --learning-rate 0", ["--learning-rate is 0"]),
        ("forecast fit data.csv --horizon 6 -o m --scale cubic", ["--scale", "cubic"]),
        ("forecast fit data.csv --horizon 6 -o m --backtest 9", ["9"]),
        ("forecast fit data.csv -o m", ["--horizon", "--help"]),
        ("forecast fit data.csv --horizon 6", ["--output"]),
        ("forecast fit data.csv --horizon 6 -o m --wings 2", ["--wings", "see grus forecast fit --help"]),
        ("forecast", ["VERB"]),
        ("fly", ["fly"]),
    ],
)
def test_bad_options(failing: Callable[[str], str], tmp_path: Path, command: str, words: list[str]) -> None:
    (tmp_path / "data.csv").write_text(monthly())
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.checkpoint").write_bytes(b"no checkpoint")
    line = failing(command)
    for word in words:
        assert word in line


def foreign(path: Path, kind: str) -> None:
    arrays = {name: np.zeros(shape, np.float32) for name, shape in parameters((GRU(2, 3),)).items()}
    if kind == "truncated":
        Model(Spec((GRU(2, 3),)), arrays).save(path)
        path.write_bytes(path.read_bytes()[:-10])
    elif kind == "foreign":
        save_file(arrays, path)
    elif kind == "no forecaster":
        Model(Spec((GRU(2, 3),)), arrays).save(path)
    elif kind == "text":
        path.write_text(monthly())
    elif kind == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize("kind", ["truncated", "foreign", "no forecaster", "text", "empty", "missing"])
def test_bad_models(failing: Callable[[str], str], tmp_path: Path, verb: str, kind: str) -> None:
    (tmp_path / "data.csv").write_text(monthly())
    foreign(tmp_path / "model.safetensors", kind)
    line = failing(f"forecast {verb} model.safetensors data.csv -o out")
    assert "model" in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("forecast predict model data.csv -o none/out.csv", ["--output 'none/out.csv'", "no folder"]),
        ("forecast predict model data.csv -o out.csv --plot none/p.png", ["--plot 'none/p.png'", "no folder"]),
        ("forecast predict model data.csv -o out --plot out", ["--plot and --output"]),
        ("forecast predict model data.csv -o model", ["--output 'model'", "is also an input"]),
        ("forecast predict model data.csv -o out.csv --plot-ids a", ["--plot-ids without --plot"]),
        ("forecast predict model data.csv -o out.csv --plot p.jpg", ["--plot 'p.jpg'", "'.jpg'", "expected .png"]),
        ("forecast predict model data.csv -o out.xlsx", ["--output 'out.xlsx'", ".csv or .parquet or .pq"]),
        ("forecast predict model data.csv -o out.csv.gz", ["--output 'out.csv.gz'", "cannot write '.gz'"]),
        ("forecast predict model data.csv -o out.tsv", ["--output 'out.tsv'", "cannot write '.tsv'"]),
        ("forecast evaluate model data.csv -o out.csv", ["--output 'out.csv'", "expected .json"]),
        ("forecast evaluate model data.csv --windows 0", ["--windows", "'0'"]),
        ("forecast evaluate model data.csv -o none/out.json", ["--output 'none/out.json'", "no folder"]),
    ],
)
def test_outputs_are_checked_first(
    failing: Callable[[str], str], tmp_path: Path, command: str, words: list[str]
) -> None:
    (tmp_path / "data.csv").write_text(monthly())
    (tmp_path / "model").write_bytes(b"looked at later")
    line = failing(command)
    for word in words:
        assert word in line


def test_an_output_is_a_file(failing: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(monthly())
    os.mkfifo(tmp_path / "pipe")
    assert "--output 'pipe' is a device or a pipe" in failing("forecast fit data.csv --horizon 6 -o pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_debugger_wants_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUS_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["forecast", "evaluate", str(tmp_path / "none"), "data.csv"])


def test_a_backtest_is_checked_before_the_training(failing: Callable[[str], str], tmp_path: Path) -> None:
    rows = monthly(40).splitlines()
    priced = [f"{row},{'' if i == 38 else i}" for i, row in enumerate(rows)]
    (tmp_path / "data.csv").write_text("\n".join(["unique_id,ds,y,price", *priced[1:]]) + "\n")
    line = failing(f"{FIT} --future price --backtest 2")
    assert "future covariate 'price' of series a is not known at 2003-02-01" in line


def test_an_output_behind_a_link(failing: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(monthly())
    (tmp_path / "link").symlink_to("none/m")
    assert "there is no folder" in failing("forecast fit data.csv --horizon 6 -o link")
