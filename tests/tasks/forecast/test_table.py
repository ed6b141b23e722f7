"""Reading tables: every format, and every way they can be wrong, as one line that says what to do."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus import installed
from grus.errors import InputError
from grus.tasks.forecast.table import Table, as_table

GOOD = "unique_id,ds,y\na,2020-01-31,1\na,2020-02-29,2.5\nb,2020-01-31,\nb,2020-02-29,NA\n"


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def error_of(folder: Path, text: str | bytes, **columns: str) -> str:
    with pytest.raises(InputError) as caught:
        Table.read(write(folder, text), **columns)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder) + "/", "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    text = GOOD.replace(",", delimiter).replace("\n", end)
    table = Table.read(write(tmp_path, text.encode(encoding)))
    assert list(table) == ["unique_id", "ds", "y"]
    assert table["unique_id"].tolist() == ["a", "a", "b", "b"]
    assert table["ds"].dtype == np.dtype("datetime64[us]") and str(table["ds"][1])[:10] == "2020-02-29"
    np.testing.assert_array_equal(table["y"], [1, 2.5, np.nan, np.nan])


def test_rows_are_sorted_by_first_appearance_and_time(tmp_path: Path) -> None:
    table = Table.read(write(tmp_path, "unique_id,ds,y\nz,2,20\na,1,1\n\nz,1,10\n"))
    assert table["unique_id"].tolist() == ["z", "z", "a"]
    assert table["ds"].tolist() == [1, 2, 1] and table["y"].tolist() == [10, 20, 1]
    assert table.where(0, "y").endswith("line 5: y")  # the blank line counts
    assert table.ids.tolist() == ["z", "a"] and table.starts.tolist() == [0, 2]


def test_names_of_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "shop,day,sold\n007,2020-01-01,1\n007,2020-01-02,2\n")
    table = Table.read(path, id_col="shop", time_col="day", target_col="sold")
    assert list(table) == ["unique_id", "ds", "y"] and table.ids.tolist() == ["007"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "unique_id,date,y\na,1,1\n",
            "data.csv has no column 'ds'; it has 'unique_id', 'date', 'y'. Name the right one with --time-col",
        ),
        ("id,ds,y\na,1,1\n", "--id-col"),
        ("unique_id,ds,value\na,1,1\n", "--target-col"),
        ("unique_id,ds,y\na,2020-01-01,1\na,tomorrow,1\n", "data.csv, line 3: ds is 'tomorrow', not a date"),
        ("unique_id,ds,y\na,2020-13-01,1\n", "line 2: ds is '2020-13-01', not a date"),
        ("unique_id,ds,y\na,2021-02-29,1\n", "'2021-02-29', not a date"),
        ("unique_id,ds,y\na,31/01/2020,1\n", "'31/01/2020', not a date: write dates as 2020-01-31"),
        ("unique_id,ds,y\na,now,1\n", "'now', not a date"),
        ("unique_id,ds,y\na,2020-01-01T00:00:00+24:00,1\n", "'2020-01-01T00:00:00+24:00', not a date"),
        (
            "unique_id,ds,y\na,2020-01-01T00:00:00Z,1\na,2020-01-02T00:00:00,1\n",
            "line 3: ds is '2020-01-02T00:00:00', but",
        ),
        ("unique_id,ds,y\na,,1\n", "line 2: ds is ''"),
        ("unique_id,ds,y\na,1,1\na,2020-01-02,1\n", "line 3: ds is '2020-01-02', but '1' came before"),
        (
            "unique_id,ds,y\n" + "".join(f"a,{202000 + i},1\n" for i in range(1, 14)),
            "line 14: ds is 202013, no date, but the others are years and months (202001)",
        ),
        (
            "unique_id,ds,y\n" + "".join(f"a,{20200220 + i},1\n" for i in range(11)),
            "line 12: ds is 20200230, no date, but the others are days",
        ),
        ("unique_id,ds,y\na,1,1\na,2,many\n", "data.csv, line 3: y is 'many', expected a number"),
        ("unique_id;ds;y\na;1;1,5\n", "line 2: y is '1,5', expected a number (use a point for decimals)"),
        ("unique_id,ds,y\na,1,1_000\n", "y is '1_000', expected a number"),
        ("unique_id,ds,y\na,1,1e200\n", "line 2: y is 1e+200, expected a finite number"),
        ("unique_id,ds,y\na,1,inf\n", "line 2: y is inf, expected a finite number"),
        ("unique_id,ds,y\na,1,1\nb,1,1\na,1,2\n", "data.csv, line 4: series a has ds 1 twice (first in line 2)"),
        ("unique_id,ds,y\na,2020-01-01,1\na,2020-01-01 00:00,1\n", "has ds 2020-01-01 twice"),
        ("unique_id,ds,y\n,1,1\n", "line 2: unique_id is empty"),
        ("", "data.csv is empty"),
        ("\n \n", "data.csv is empty"),
        (",,\n,,\n", "data.csv is empty"),
        ("unique_id,ds,y\n", "data.csv has a header but no rows"),
        ("unique_id,ds,y\na,1,1,9\n", "data.csv, line 2: 4 cells, but the header has 3"),
        ("unique_id,ds,y,y\na,1,1,1\n", "has the column 'y' twice"),
        ("unique_id,ds,y\na,1,\xe9".encode("latin-1"), "data.csv is not UTF-8 text (byte"),
        ("unique_id,ds,y\na,1,1".encode("utf-16"), "data.csv is not UTF-8 text"),
    ],
)
def test_errors(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in error_of(tmp_path, text)


def test_the_users_name_of_a_column_is_in_the_message(tmp_path: Path) -> None:
    text = "shop,day,sold\na,1,many\n"
    said = error_of(tmp_path, text, id_col="shop", time_col="day", target_col="sold")
    assert said.startswith("data.csv, line 2: sold is 'many'")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data file"):
        Table.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("2020-02", "2020-02-01"),
        ("2020-02-03", "2020-02-03"),
        ("2020/02/03", "2020-02-03"),
        ("2020Q2", "2020-04-01"),
        ("2020-Q4", "2020-10-01"),
        ("2020-02-03 14:05", "2020-02-03T14:05"),
        ("2020-02-03 14:05:06.250", "2020-02-03T14:05:06.250"),
    ],
)
def test_dates(text: str, stamp: str) -> None:
    table = Table({"unique_id": ["a"], "ds": [text], "y": [1.0]})
    assert table["ds"][0] == np.datetime64(stamp, "us")


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    columns = {"unique_id": ["a", "a"], "ds": np.array(["2020-01-01", "2020-01-02"], "M8[us]"), "y": [1.0, np.nan]}
    Table(columns).write(path)
    table = Table.read(path)
    assert table["unique_id"].tolist() == ["a", "a"]
    np.testing.assert_array_equal(table["ds"], columns["ds"])
    np.testing.assert_array_equal(table["y"], [1, np.nan])


def test_parquet_of_pandas_with_categories(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"unique_id": ["a", "a"], "ds": pd.date_range("2020-01-31", periods=2, freq="ME"), "y": [1, 2]}
    )
    frame["unique_id"] = frame["unique_id"].astype("category")
    frame.to_parquet(tmp_path / "data.pq")
    assert Table.read(tmp_path / "data.pq")["y"].tolist() == [1.0, 2.0]


def test_parquet_with_columns_that_no_one_asked_for(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    columns = {"unique_id": ["a", "a"], "ds": [1, 2], "y": [1.0, 2.0], "photo": [b"\xff", b"\xfe"], "tags": [[1], [2]]}
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), tmp_path / "data.parquet")
    assert Table.read(tmp_path / "data.parquet")["y"].tolist() == [1.0, 2.0]


def test_parquet_with_a_time_zone(tmp_path: Path) -> None:
    """The zone stays: nothing is moved to UTC."""
    arrow = pytest.importorskip("pyarrow")
    for zone in ("UTC", "Europe/Berlin"):
        ds = arrow.array(np.array(["2020-01-01", "2020-01-02"], "M8[us]"), arrow.timestamp("us", tz=zone))
        table = arrow.table({"unique_id": ["a", "a"], "ds": ds, "y": [1.0, 2.0]})
        pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / f"{zone[:3]}.parquet")
    assert str(Table.read(tmp_path / "UTC.parquet")["ds"][0]) == "2020-01-01 00:00:00+00:00"
    assert str(Table.read(tmp_path / "Eur.parquet")["ds"][0]) == "2020-01-01 01:00:00+01:00"


def test_damaged_parquet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.parquet is not a Parquet file, or is damaged"):
        Table.read(write(tmp_path, b"PAR1 nothing", "data.parquet"))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=re.escape(installed.command("parquet"))):
        Table.read(write(tmp_path, b"PAR1", "data.parquet"))


def test_pandas() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "unique_id": [7, 7, 3],
            "ds": pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-01"]),
            "y": pd.array([2, None, 5], dtype="Int64"),
            "sort": pd.Categorical(["p", "p", "q"]),
        }
    )
    table = as_table(frame)
    assert table.ids.tolist() == [7, 3] and table["unique_id"].dtype == np.int64
    np.testing.assert_array_equal(table["y"], [np.nan, 2, 5])
    assert not table.is_numeric("sort")
    back = table.to_pandas()
    assert list(back.columns) == ["unique_id", "ds", "y", "sort"] and len(back) == 3


def test_frames_that_only_look_like_one() -> None:
    class Frame:  # as polars: iterating it gives columns, not names
        columns = ("unique_id", "ds", "y")

        def __getitem__(self, name: str) -> list[Any]:
            return {"unique_id": ["a", None][:1], "ds": [1], "y": [None]}[name]

        def __iter__(self) -> Any:
            raise AssertionError("the names are in .columns")

    assert np.isnan(as_table(Frame())["y"]).all()


@pytest.mark.parametrize("data", [3, [1, 2], np.ones(3)])
def test_what_is_no_table(data: Any) -> None:
    with pytest.raises(InputError, match="expected a path, a DataFrame or a dict"):
        as_table(data)


def test_columns_of_unequal_length_or_shape() -> None:
    with pytest.raises(InputError, match="unequal length"):
        Table({"unique_id": ["a"], "ds": [1, 2], "y": [1, 2]})
    with pytest.raises(InputError, match="one value a row"):
        Table({"unique_id": ["a"], "ds": [1], "y": [[1.0]]})


def test_missing_id_in_a_frame() -> None:
    with pytest.raises(InputError, match="row 2: unique_id is empty"):
        Table({"unique_id": np.array(["a", None], dtype=object), "ds": [1, 2], "y": [1, 2]})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"y": np.array(["2020-01-01", "2020-01-02"], "M8[ns]")},
            "row 1: y is 2020-01-01.*, a time, expected a number",
        ),
        ({"y": np.array([1, 2], "m8[ns]")}, "a time, expected a number"),
        ({"y": [10**400, 1]}, "y is inf, expected a finite number"),
        ({"y": [[1], [2, 3]]}, "column 'y' is no column"),
        ({"ds": np.array([1, 2**63 + 5], np.uint64)}, "row 2: ds is 9223372036854775813, too large"),
        ({"ds": np.array([1, 1e300])}, "row 2: ds is 1e\\+300, too large"),
    ],
)
def test_numbers_that_are_none(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Table({"unique_id": ["a", "a"], "ds": [1, 2], "y": [1.0, 2.0]} | columns)


def test_round_trip(tmp_path: Path) -> None:
    columns = {"unique_id": ['a "b", c', "d"], "ds": np.array(["2020-01-01T10:30", "2020-01-02"], "M8[us]")}
    table = Table(columns | {"y": [0.1 + 0.2, np.nan], "sort": ["x", "é"]})
    table.write(tmp_path / "out.csv")
    again = Table.read(tmp_path / "out.csv")
    for name in table:
        np.testing.assert_array_equal(again[name], table[name])
    assert (
        (tmp_path / "out.csv")
        .read_text(encoding="utf-8")
        .splitlines()[1]
        .startswith('"a ""b"", c",2020-01-01 10:30:00')
    )


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "old", "out.csv")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Table({"unique_id": ["a"], "ds": [1], "y": [1.0]}).write(path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_parquet_has_rows_not_lines(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    parquet.write_table(arrow.table({"unique_id": ["a", "a"], "ds": [1, 2], "y": ["1", "many"]}), path)
    with pytest.raises(InputError, match=r"data\.parquet, row 2: y is 'many'"):
        Table.read(path)
    parquet.write_table(arrow.table({"unique_id": ["a", "a"], "ds": [1, 1], "y": [1, 2]}), path)
    with pytest.raises(InputError, match=r"data\.parquet, row 2: series a has ds 1 twice \(first in row 1\)"):
        Table.read(path)


def test_parquet_with_a_column_twice(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.Table.from_arrays([arrow.array([1, 2])] * 4, ["unique_id", "ds", "y", "y"])
    parquet.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(InputError, match=r"data\.parquet has the column 'y' twice: rename one"):
        Table.read(tmp_path / "data.parquet")


@pytest.mark.parametrize("name", ["out.xlsx", "out.csv.gz", "out.tsv", "out.json"])
def test_formats_that_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"ends in none of \.csv, \.parquet, \.pq"):
        Table({"unique_id": ["a"], "ds": [1], "y": [1.0]}).write(tmp_path / name)
    assert not list(tmp_path.iterdir())
