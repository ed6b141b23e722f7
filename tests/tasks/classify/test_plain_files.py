"""Files without a header: CoNLL, the UCR archive's tables, .npy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grus.errors import InputError
from grus.tasks.classify.files import read

CONLL = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\nPeter NNP B-NP B-PER\n"
UNIVERSAL = """# sent_id = 1
# text = vámonos
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnos\tPRON\t_\t_\t1\tobj\t_\t_

1\tno\tno\t_\t_\t_\t0\troot\t_\t_
"""


@pytest.mark.parametrize("name", ["a.conll", "eng.txt", "a.bio", "tabs.tsv"])
def test_conll(tmp_path: Path, name: str) -> None:
    text = CONLL.replace(" ", "\t") if name == "tabs.tsv" else CONLL
    (tmp_path / name).write_text(text)
    examples = read(tmp_path / name)
    assert (examples.kind, examples.labelled) == ("tokens", "step")
    assert examples.inputs == [["EU", "rejects"], ["Peter"]]
    assert examples.labels == [["B-ORG", "O"], ["B-PER"]]
    assert examples.place(1) == f"{tmp_path / name}, line 7"


def test_conllu(tmp_path: Path) -> None:
    (tmp_path / "a.conllu").write_text(UNIVERSAL)
    examples = read(tmp_path / "a.conllu")
    assert examples.inputs == [["vamos", "nos"], ["no"]]
    assert examples.labels == [["VERB", "PRON"], [None]]


@pytest.mark.parametrize(("name", "between"), [("a.tsv", "\t"), ("a.txt", ","), ("b.txt", "  ")])
def test_the_archives_tables(tmp_path: Path, name: str, between: str) -> None:
    rows = [["1", "0.5", "1.5", "2"], ["-1.0", "3", "4", "NaN"]]
    (tmp_path / name).write_text("".join(between.join(row) + "\n" for row in rows))
    examples = read(tmp_path / name)
    assert examples.labels == ["1", "-1"]
    assert [values[:, 0].tolist() for values in examples.inputs] == [[0.5, 1.5, 2], [3, 4]]


def test_other_files_are_what_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\none two\tx\n")
    assert read(tmp_path / "a.tsv").inputs == ["one two"]
    np.save(tmp_path / "a.npy", np.ones((2, 3)))
    assert [values.shape for values in read(tmp_path / "a.npy").inputs] == [(3, 1)] * 2
    for name, data, message in (
        ("a.txt", "some words\n", "is one text"),
        ("a.conll", "EU B-ORG\nx\n", "line 2 has 1 columns, expected 2"),
        ("a.arff", "@relation", "is ARFF, expected the archive's .ts"),
        ("b.npy", "no", "is not an .npy file"),
        ("wide.csv", "label,t0,t1\n1,2,3\n", "a table with a series a row is read as .tsv without a header, its label"),
    ):
        (tmp_path / name).write_text(data)
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)
