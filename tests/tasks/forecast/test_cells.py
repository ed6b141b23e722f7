"""A few cells that are no numbers are missing values, and said; a column of such is the wrong one, and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus.cli import main
from grus.errors import InputError, Note
from grus.model import Model
from grus.tasks.forecast.backtest import plan
from grus.tasks.forecast.evaluate import evaluate
from grus.tasks.forecast.predict import predict
from grus.tasks.forecast.prepare import prepare
from grus.tasks.forecast.settings import Settings
from grus.tasks.forecast.table import Table, as_table

Columns = Callable[..., dict[str, Any]]
Fitted = Callable[..., tuple[Model, Table]]
KINDS: dict[str, Any] = {"past": ("weather",), "future": ("price",), "static": ("size",)}
PANDAS = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"]
PANDAS += ["NA", "NULL", "NaN", "None", "n/a", "nan", "null"]


@pytest.fixture
def columns(make_columns: Columns) -> dict[str, Any]:
    """Two series, cells as text, as a file of them has it; the prices of their last six steps stand without y."""
    made, step = make_columns(60, 60), np.arange(120) % 60
    y = np.where(step >= 54, "", made["y"].astype(str))
    kinds = {"weather": 5 + step % 7, "price": 3 + step % 5, "size": np.repeat([30, 40], 60)}
    return made | {"y": y.astype(object)} | {name: kind.astype(str).astype(object) for name, kind in kinds.items()}


def with_cells(columns: dict[str, Any], name: str, cells: dict[int, Any]) -> dict[str, Any]:
    spoiled = columns[name].copy()
    for row, cell in cells.items():
        spoiled[row] = cell
    return columns | {name: spoiled}


@pytest.mark.parametrize("cell", [*PANDAS, " na ", None, float("nan")])
def test_what_is_missing(cell: Any) -> None:
    table = Table({"unique_id": ["a"] * 3, "ds": [1, 2, 3], "y": np.array(["1", cell, "3"], dtype=object)})
    np.testing.assert_array_equal(table["y"], [1, np.nan, 3])
    assert table.notes == ()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["1", "broken", "3"],
            "1 cell of y read as missing: the table, row 2: y is 'broken', expected a number (leave",
        ),
        (["1", "2", "?", "-", "5"], "2 cells of y read as missing: the table, row 3: y is '?', expected a number"),
        (["1", "2", "12,5"], "row 3: y is '12,5', expected a number (use a point for decimals)"),
        (
            ["9", "?", "8", "1,234", "5"],
            "2 cells of y read as missing: the table, row 4: y is '1,234', expected a number",
        ),
        (["1", "2", "1.234,5"], "(use a point for decimals, and nothing between thousands)"),
        (["1", "2", "12 345"], "(use a point for decimals, and nothing between thousands)"),
        (["1", "2", [3]], "row 3: y is '[3]', expected a number"),
    ],
)
def test_what_is_no_number(cells: list[Any], said: str) -> None:
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    rows = {"unique_id": ["a"] * len(cells), "ds": range(len(cells))}
    table = Table(rows | {"y": values})
    (note,) = table.notes
    assert said in note
    read = [float(cell) if str(cell).isdigit() else np.nan for cell in cells]
    np.testing.assert_array_equal(table["y"], read)
    most = np.array([cell if value != value else "word" for cell, value in zip(cells, read, strict=True)], dtype=object)
    with pytest.raises(InputError, match="row 1: y is 'word', expected a number"):
        Table(rows | {"y": most})


def test_the_first_line_is_named(tmp_path: Path) -> None:
    rows = [f"{series},{i},{'broken' if i == 7 - (series == 'a') else i}" for series in "ba" for i in range(1, 10)]
    (tmp_path / "a.csv").write_text("\n".join(["unique_id,ds,sold", *reversed(rows)]) + "\n")
    table = Table.read(tmp_path / "a.csv", target_col="sold")
    assert [note.replace(str(tmp_path), "") for note in table.notes] == [
        "2 cells of sold read as missing: /a.csv, line 5: sold is 'broken', expected a number (leave the cell empty "
        "where it is missing)"
    ]


def test_a_frame() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"unique_id": "a", "ds": range(5), "y": [1, 2.5, "broken", None, 5]})
    table = as_table(frame)
    np.testing.assert_array_equal(table["y"], [1, 2.5, np.nan, np.nan, 5])
    assert "1 cell of y read as missing: the table, row 3: y is 'broken'" in table.notes[0]


@pytest.mark.parametrize("name", ["y", "weather", "price", "size"])
def test_forecasts_are_those_without_the_cells(columns: dict[str, Any], fitted: Fitted, name: str) -> None:
    model, _ = fitted(columns, **KINDS)
    broken = with_cells(columns, name, {70: "broken", 80: "lost"})
    empty = with_cells(columns, name, {70: "", 80: ""})
    with pytest.warns(Note, match=f"2 cells of {name} read as missing: the table, row 71: {name} is 'broken'"):
        forecast = predict(model, broken)
    np.testing.assert_array_equal(forecast["q0.5"], predict(model, empty)["q0.5"])
    report = evaluate(model, broken)
    assert report.rows == evaluate(model, empty).rows
    assert any(f"2 cells of {name} read as missing" in note for note in report.notes)
    for use in (predict, evaluate):
        with pytest.raises(InputError, match=f"row 71: {name} is 'broken', expected a number"):
            use(model, broken, strict=True)
    most = with_cells(columns, name, dict.fromkeys(range(10, 110), "broken"))
    with pytest.raises(InputError, match=f"row 11: {name} is 'broken', expected a number"):
        predict(model, most)


@pytest.mark.parametrize("name", ["y", "weather", "price"])
def test_a_training_without_the_cells(columns: dict[str, Any], name: str) -> None:
    broken = with_cells(columns, name, {20: "broken"})
    panel, task = prepare(Table(broken), Settings(6, **KINDS))
    _, without = prepare(Table(with_cells(columns, name, {20: ""})), Settings(6, **KINDS))
    assert task == without
    assert next(note for note in panel.notes if "'broken'" in note).startswith(f"1 cell of {name} read as missing: the")
    assert plan(Table(broken), Settings(6, **KINDS), 2).whole.num_rows == 120
    with pytest.raises(InputError, match=f"row 21: {name} is 'broken', expected a number"):
        prepare(Table(broken), Settings(6, strict=True, **KINDS))


def test_a_static_column_of_numbers_and_few_words(columns: dict[str, Any]) -> None:
    broken = with_cells(columns, "size", dict.fromkeys(range(60, 62), "broken") | dict.fromkeys(range(62, 120), ""))
    panel, _ = prepare(Table(broken), Settings(6, **KINDS))
    said = "static column 'size' is read as categories, for the table, row 61: size is 'broken', expected a number"
    assert any(note.startswith(said) for note in panel.notes)
    panel, _ = prepare(Table(broken), Settings(6, categorical=("size",), **KINDS))
    assert panel.notes == ()


def test_a_future_table(columns: dict[str, Any], fitted: Fitted) -> None:
    model, _ = fitted(columns, **KINDS)
    step = np.arange(120) % 60
    history = {name: values[step < 54] for name, values in columns.items()}
    ahead = {name: values[step >= 54] for name, values in columns.items() if name in ("unique_id", "ds", "price")}
    whole = predict(model, history, ahead)
    ahead = with_cells(ahead, "price", {8: "broken"})
    with pytest.warns(Note, match="1 cell of price read as missing: the table, row 9: price is 'broken'"):
        forecast = predict(model, history, ahead)
    assert forecast.ids.tolist() == ["s0"]  # of the other the price is not known
    np.testing.assert_array_equal(forecast["q0.5"], whole["q0.5"][:6])
    with pytest.raises(InputError, match="row 9: price is 'broken', expected a number"):
        predict(model, history, ahead, strict=True)


def test_a_note_is_printed_once(
    columns: dict[str, Any], fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = fitted(columns, **KINDS)
    model.save(tmp_path / "m.safetensors")
    rows = [columns["unique_id"], columns["ds"].astype(str), *[columns[k] for k in ("y", "weather", "price", "size")]]
    rows[2][7] = "broken"
    lines = [",".join(row) for row in zip(*rows, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["unique_id,ds,y,weather,price,size", *lines]) + "\n")
    assert main(["forecast", "predict", str(tmp_path / "m.safetensors"), str(tmp_path / "a.csv")]) == 0
    assert capsys.readouterr().err.count("note: 1 cell of y read as missing") == 1


def test_a_category_of_a_future_table_that_is_new(columns: dict[str, Any], fitted: Fitted) -> None:
    sky = np.where(np.arange(120) % 3 == 0, "sun", "rain").astype(object)
    model, _ = fitted(columns | {"sky": sky}, future=("sky",), past=("weather",))
    step = np.arange(120) % 60
    history = {name: values[step < 54] for name, values in (columns | {"sky": sky}).items()}
    ahead = {"unique_id": columns["unique_id"][step >= 54], "ds": columns["ds"][step >= 54], "sky": sky[step >= 54]}
    with pytest.warns(Note, match="1 rows of 'sky' read as missing: the model has never seen hail"):
        predict(model, history, with_cells(ahead, "sky", {3: "hail"}))
