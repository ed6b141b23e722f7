"""Every format that is read, and every way a file can be wrong, as one line that names it."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from grus.errors import InputError, Note
from grus.tasks.classify.files import Names, read


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, data: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def test_a_table_of_texts(write: Any, tmp_path: Path) -> None:
    path = write("data.csv", 'text,label\n"one, two",x\n"a\nb",y\n')
    examples = read(path)
    assert (examples.kind, examples.inputs, examples.labels) == ("text", ["one, two", "a\nb"], ["x", "y"])
    assert examples.place(0) == f"{path}, line 2"
    parquet = tmp_path / "data.parquet"
    pd.DataFrame({"body": ["one, two", "a\nb"], "kind": [1, 2], "unique_id": ["p", "q"]}).to_parquet(parquet)
    examples = read(parquet, Names(text="body", label="kind"))
    assert (examples.inputs, examples.labels, examples.ids) == (["one, two", "a\nb"], [1, 2], ["p", "q"])
    assert read(write("data.csv", "text\nonly\n")).labels is None


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("text,label\na,x\n", {"labels": "step"}, "labels is 'step', but .* has a label a sequence: leave labels out"),
        ("unique_id,token,label\n1,a,x\n", {"labels": "sequence"}, "labels is 'sequence', but .* has a label a step"),
        ("text,label\na,x\n", {"names": Names(channels=("p",))}, "channels names 'p', but .* holds texts"),
    ],
)
def test_what_would_have_no_effect_is_refused(write: Any, data: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write("a.csv", data), **options)


def test_a_class_without_texts(write: Any, tmp_path: Path) -> None:
    write("topics/sport/a.txt", "a match")
    (tmp_path / "topics" / "trade").mkdir()
    with pytest.raises(InputError, match="trade' has no .txt files, expected the texts of a class"):
        read(tmp_path / "topics")


@pytest.mark.parametrize(
    "data", ["text,label\na,x\nb,y\n", '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n']
)
def test_a_pipe(tmp_path: Path, data: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(data,))
    writer.start()
    examples = read(tmp_path / "pipe")
    writer.join()
    assert (examples.inputs, examples.labels) == (["a", "b"], ["x", "y"])


def test_a_cell_longer_than_pythons_limit(write: Any) -> None:
    assert read(write("long.csv", "text,label\n" + "word " * 60_000 + ",x\n")).inputs[0].startswith("word word")


def test_lines_of_json(write: Any) -> None:
    rows = [{"text": "one\u2028two", "label": "x"}, {"label": 2, "text": "b", "more": None}]
    path = write("data.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n")
    examples = read(path)
    assert (examples.inputs, examples.labels) == (["one\u2028two", "b"], ["x", 2])
    assert read(write("pair.jsonl", '{"text": "\\ud83d\\ude00"}')).inputs == ["\U0001f600"]
    path = write("tags.jsonl", '{"text": ["a", "b"], "label": ["x", "y"]}\n{"text": ["c"], "label": ["x"]}')
    examples = read(path)
    assert (examples.kind, examples.labelled) == ("tokens", "step")
    assert (examples.inputs, examples.labels) == ([["a", "b"], ["c"]], [["x", "y"], ["x"]])


def test_a_folder_of_each_class(write: Any, tmp_path: Path) -> None:
    write("topics/sport/b.txt", "a goal")
    write("topics/sport/a.txt", "a match")
    write("topics/law/1.txt", "a court")
    write("topics/law/readme.md", "no text")
    examples = read(tmp_path / "topics")
    assert (examples.inputs, examples.labels) == (["a court", "a match", "a goal"], ["law", "sport", "sport"])
    assert examples.ids == ["law/1.txt", "sport/a.txt", "sport/b.txt"]
    assert read(tmp_path / "topics" / "sport").labels is None


def test_a_table_of_tokens(write: Any) -> None:
    examples = read(write("tags.csv", "unique_id,word,label\n1,The,D\n1,cat,N\n2,Sits,V\n"), Names(token="word"))
    assert (examples.kind, examples.labelled, examples.ids) == ("tokens", "step", ["1", "2"])
    assert (examples.inputs, examples.labels) == ([["The", "cat"], ["Sits"]], [["D", "N"], ["V"]])


def test_a_table_of_series(write: Any) -> None:
    path = write("long.csv", "unique_id,ds,a,b,label\nq,2,1,2,up\np,1,5,,down\nq,1,3,NA,up\n")
    examples = read(path)
    assert (examples.channels, examples.ids, examples.labels) == (("a", "b"), ["q", "p"], ["up", "down"])
    np.testing.assert_array_equal(examples.inputs[0], [[3, np.nan], [1, 2]])  # in the order of time
    assert examples.labelled == "sequence"
    assert read(path, Names(channels=("b",))).inputs[0].shape == (2, 1)
    stepwise = read(path, labels="step")
    assert (stepwise.labelled, stepwise.labels) == ("step", [["up", "up"], ["down"]])
    differ = read(write("differ.csv", "unique_id,a,label\nq,1,on\nq,2,off\n"))
    assert (differ.labelled, differ.labels) == ("step", [["on", "off"]])
    first = read(write("first.csv", "unique_id,a,label\nq,1,on\nq,2,\n"))
    assert (first.labelled, first.labels) == ("sequence", ["on"])
    assert read(write("none.csv", "unique_id,a\nq,1\n")).labels is None


TS = """# a comment
@problemName Two
@timeStamps false
@univariate false
@classLabel true up down
@data
1,2,3:4,?,6:up
1:2: down
"""


def test_ts(write: Any) -> None:
    path = write("data.ts", TS)
    examples = read(path)
    np.testing.assert_array_equal(examples.inputs[0], [[1, 4], [2, np.nan], [3, 6]])
    assert examples.inputs[1].shape == (1, 2)
    assert examples.labels == ["up", "down"]
    assert examples.place(1) == f"{path}, line 8"
    assert read(write("none.ts", "@classLabel false\n@data\n1,2,?,?\n")).labels is None
    padded = read(write("padded.ts", "@classLabel true a\n@data\n1,2,?,?:a\n"))
    assert padded.inputs[0].shape == (2, 1)


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    X = np.arange(24.0).reshape(2, 4, 3)
    np.savez(path, X=X, y=["a", "b"])
    examples = read(path)
    assert [values.shape for values in examples.inputs] == [(4, 3), (4, 3)]
    assert examples.labels == ["a", "b"]
    np.savez(path, X=X, lengths=[1, 3], y=[0, 1])
    assert [values.shape for values in read(path).inputs] == [(1, 3), (3, 3)]
    np.savez(path, X=X.reshape(8, 3), lengths=[3, 5], y=np.arange(8) % 2)
    examples = read(path)
    np.testing.assert_array_equal(examples.inputs[1], X.reshape(8, 3)[3:])
    assert (examples.labelled, examples.labels) == ("step", [[0, 1, 0], [1, 0, 1, 0, 1]])
    np.savez(path, X=X.reshape(8, 3), lengths=[3, 5], y=np.arange(10).reshape(2, 5))
    assert read(path).labels == [[0, 1, 2], [5, 6, 7, 8, 9]]
    np.savez(path, X=X[:, :, 0])
    assert read(path).labels is None


def test_a_few_rows_without_a_text_or_a_label(write: Any) -> None:
    path = write("a.csv", 'text,label\na,x\n" ",y\nb,\nc,x\nd,y\n')
    with pytest.warns(Note) as told:
        found = read(path)
    assert [str(one.message).replace(str(path), "a.csv") for one in told] == [
        "1 of 5 rows left out, for their text is empty: first a.csv, line 3",
        "1 of 5 rows left out, for their label is empty: first a.csv, line 4",
    ]
    assert (found.inputs, found.labels, found.ids) == (["a", "c", "d"], ["x", "x", "y"], ["1", "4", "5"])
    assert found.place(1) == f"{path}, line 5"
    with pytest.warns(Note, match="1 of 5 rows left out, for their text is empty"):
        found = read(path, lines=True)  # to predict
    assert (found.inputs, found.ids) == (["a", "b", "c", "d"], ["1", "3", "4", "5"])
    assert read(write("b.csv", "text,label\na,\nb,\n"), lines=True).inputs == ["a", "b"]
    with pytest.raises(InputError, match="line 3: label is empty, expected a label"):
        read(write("c.csv", "text,label\na,x\nb,\nc,\nd,y\n"))


def test_an_empty_cell_of_the_only_column_is_a_row(write: Any) -> None:
    with pytest.warns(Note, match="1 of 3 rows left out, for their text is empty: first .*, line 3"):
        found = read(write("a.csv", 'text\na\n""\nb\n\n'))
    assert (found.inputs, found.ids) == (["a", "b"], ["1", "3"])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"text,label\n\xff,x\n", "a.csv is not UTF-8 text (byte 0xff at offset 11: invalid start byte): "),
        ("a.csv", b"PK\x03\x04 of a workbook", "a.csv is a ZIP archive, such as an Excel workbook, not text"),
        ("a.xlsx", b"PK\x03\x04 of a workbook", "a.xlsx is a ZIP archive, such as an Excel workbook, not text"),
        ("a.csv.gz", b"\x1f\x8b\x08", "a.csv.gz is packed by gzip, not text"),
        ("a.csv", "", "a.csv is empty: expected a header (text,label)"),
        ("a.csv", "text,label\n", "a.csv has a header but no rows"),
        ("a.csv", "body,kind\na,b\n", "neither a column 'text' (--text-col) nor 'unique_id' (--id-col); it has 'body'"),
        ("a.csv", "text,label\na\n", "a.csv, line 2: 1 cells, but the header has 2"),
        ("a.csv", "text,label\na,\n", "a.csv, line 2: label is empty"),
        ("a.csv", "unique_id,token,label\n1,a,x\n1,,y\n", "a.csv, line 3: token is '', expected a word"),
        ("a.csv", "unique_id,a,label\n,1,x\n", "a.csv, line 2: unique_id is empty"),
        ("a.csv", "unique_id,a,label\nq,one,x\n", "line 2: a is 'one', expected a number (--channels names"),
        ("a.csv", "unique_id,a,label\nq,inf,x\n", "line 2: a is inf, expected a finite number"),
        ("a.csv", "unique_id,a,label\nq,1,\n", "a.csv, series q has no label"),
        ("a.csv", "unique_id,label\nq,x\n", "a.csv has no column of numbers; it has 'unique_id', 'label'"),
        ("a.csv", "unique_id,ds,a,label\nq,noon,1,x\n", "line 2: ds is 'noon', not a date"),
        ("a.jsonl", "{", "a.jsonl, line 1: not JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("a.json", '[{"text": "a", "label": "x"}]', "a.json is a list in JSON: expected an object a line, as jq -c"),
        ("a.csv", "text,label\na,x\n".encode("utf-16"), "or give its encoding, such as encoding='utf-16'"),
        ("a.jsonl", "[1]\n", "a.jsonl, line 1: a JSON list, expected an object with text,label"),
        ("a.jsonl", "\n\n", "a.jsonl is empty"),
        ("a.jsonl", '{"text": 3, "label": "x"}', "line 1: text is 3, expected text"),
        ("a.jsonl", '{"text": ["a"], "label": ["x"]}\n{"text": "b", "label": ["x"]}', "line 2: text is b, expected a"),
        ("a.jsonl", '{"text": ["a"], "label": ["x", "y"]}', "line 1 has 1 tokens, but 2 labels"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b\\uD800", "label": "y"}', "line 2: \\ud800 is a lone"),
        ("a.jsonl", '{"text": ["a", "\\udfff"], "label": ["x", "y"]}', "a.jsonl, line 1: \\udfff is a lone surrogate"),
        ("a.jsonl", '{"text": "a", "label": {"x": 1}}', "line 1: label is {'x': 1}, expected one label"),
        ("a.parquet", "PAR1", "is not a Parquet file"),
        ("a.txt", "hello", "a.txt is one text: expected a table, or a folder"),
        ("a.ts", "hello", "a.ts is no .ts file of series: it has no @data"),
        ("a.ts", "@data\n", "it has no @data with lines after it"),
        ("a.ts", "@timeStamps true\n@data\n(0,1):x\n", "has time stamps"),
        ("a.ts", "@data\n1,2:3:x\n", "a.ts, line 2 has channels of unequal lengths [1, 2]"),
        ("a.ts", "@data\n1:x\n1:2:x\n", "line 3 has 2 channels, but the first line has 1"),
        ("a.ts", "@data\n1,two:x\n", "line 2 has 'two', expected a number or ?"),
        ("a.ts", "@data\n1,inf:x\n", "line 2 has inf, expected a finite number"),
        ("a.ts", "@data\n1,2:\n", "line 2 has no label after its last colon"),
        ("a.npz", "PK\x03\x04", "is not an .npz file of plain arrays, or is damaged"),
    ],
)  # fmt: skip
def test_bad_files(write: Any, name: str, data: str | bytes, message: str) -> None:
    path = write(name, data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert message.replace("\\(", "(").replace("\\)", ")") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "has no array 'X'"),
        ({"X": np.array([{}, {}], dtype=object)}, "not an .npz file of plain arrays"),
        ({"X": np.zeros(3)}, r"X is float64\(3,\), expected numbers"),
        ({"X": np.zeros((2, 3)), "y": np.zeros(3)}, "y has 3 labels, but X has 2 sequences"),
        ({"X": np.zeros((2, 3)), "lengths": np.array([1, 4])}, "which the lengths of 2 series do not fit"),
        ({"X": np.zeros((2, 3)), "y": np.array(5)}, r"y is int64\(\), expected labels \(N,\)"),
        ({"X": np.zeros((2, 3)), "y": np.array(5), "lengths": np.array([3, 3])}, r"y is int64\(\), expected labels"),
        ({"X": np.zeros((4, 1)), "lengths": np.array([2**63, 2**63 + 4], np.uint64)}, "which the lengths of 2 series"),
        ({"X": np.zeros((6, 1)), "lengths": np.array([2**63 - 1] * 2)}, "which the lengths of 2 series do not fit"),
        ({"X": np.zeros((2, 3)), "lengths": np.array([0.5])}, "expected integers"),
        ({"X": np.zeros((2, 3)), "lengths": np.array([1, 2]), "y": np.zeros(3)}, r"y has the shape \(3,\)"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        read(path)


def test_other_encodings(write: Any) -> None:
    path = write("latin.csv", "text,label\nGrüße,x\n".encode("latin-1"))
    assert read(path, encoding="latin-1").inputs == ["Grüße"]
    assert read(write("bom.csv", "text,label\na,x\n".encode("utf-8-sig"))).inputs == ["a"]
    assert read(write("wide.csv", "text,label\nâ,x\n".encode("utf-16")), encoding="utf-16").inputs == ["â"]
    for wrong in ("latin-17", "rot13", "zip"):
        with pytest.raises(InputError, match="expected the name of one"):
            read(path, encoding=wrong)
    with pytest.raises(InputError, match="is not ascii text"):
        read(path, encoding="ascii")
    with pytest.raises(InputError, match=r"odd.csv is not punycode text"):
        read(write("odd.csv", "text,label\na,x-!\n"), encoding="punycode")
    with pytest.raises(InputError, match=r"has \\ud800, a lone surrogate"):
        read(write("escaped.csv", "text,label\na\\ud800,x\n"), encoding="unicode_escape")


def test_an_npz_that_says_to_be_larger_than_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 44, 3)})
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as file:
        file.writestr("X.npy", header.getvalue() + b"1234")
    with pytest.raises(InputError, match=r"big.npz does not fit into memory"):
        read(tmp_path / "big.npz")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data file"):
        read(tmp_path / "none.csv")
    with pytest.raises(InputError, match="has no .txt files, nor folders of them"):
        read(tmp_path)
    with pytest.raises(InputError, match="labels is 'all', expected"):
        read(tmp_path, labels="all")
