"""The classifier from the command line: fit, predict, evaluate; bad input; and what is left when it is interrupted."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from grus import installed
from grus.cli import main

NETWORK = ["--hidden-size", "8", "--embedding-size", "8", "--threads", "1"]
SMALL = [*NETWORK, "--epochs", "12", "--batch-size", "10", "--learning-rate", "0.02", "--validation", "0.2"]
WITHOUT_TORCH = "import sys\nsys.modules['torch'] = None\nfrom grus.cli import main\nsys.exit(main(sys.argv[1:]))"
Failing = Callable[[str], str]


def rows(count: int, seed: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        words = rng.choice(["the", "film", "was", "a"], 4 + i % 5).tolist()
        words[0] = str(rng.choice(["fine", "lovely"] if i % 2 else ["dull", "awful"]))
        found.append((" ".join(words), "good" if i % 2 else "bad"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv, test.csv (texts), tags.csv (a label a word), and models of the first and the last."""
    folder = tmp_path_factory.mktemp("classify")
    for name, count, seed in (("train.csv", 60, 0), ("test.csv", 20, 1)):
        with open(folder / name, "w") as file:
            csv.writer(file).writerows([("review", "mood"), *rows(count, seed)])
    with open(folder / "tags.csv", "w") as file:
        file.write("unique_id,word,label\n")
        for i, (text, _) in enumerate(rows(40, 2)):
            for t, word in enumerate(text.split()):
                file.write(f"s{i},{word},{'mood' if t == 0 else 'other'}\n")
    assert main(fit(folder, "--quiet", "--history", folder / "history.json")) == 0
    command = ["classify", "fit", folder / "tags.csv", "-o", folder / "tagger.safetensors", "--token-col", "word"]
    assert main([*map(str, command), *SMALL, "--quiet"]) == 0
    return folder


COLUMNS = ["--text-col", "review", "--label-col", "mood"]


def fit(folder: Path, *more: object, to: str = "model.safetensors") -> list[str]:
    command = ["classify", "fit", folder / "train.csv", "-o", folder / to, *COLUMNS, *SMALL, *more]
    return [str(part) for part in command]


def grus(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_fit_leaves_the_model_and_nothing_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "history.json", "tagger.safetensors"}
    assert not list(folder.glob("*checkpoint*"))
    history = json.loads((folder / "history.json").read_text())
    assert {row["training"] for row in history} == {"training"}
    assert all(row["loss"] > 0 and row["validation"] > 0 for row in history)


def test_fit_tells_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--test", folder / "test.csv", "--compare-lstm", "--metrics", folder / "metrics.jsonl"]
    more += ["--plot", folder / "training.png"]
    assert main(fit(folder, *more, to="told.safetensors")) == 0
    picture, first, second, *table = capsys.readouterr().out.splitlines()
    assert picture == f"picture: {folder / 'training.png'}" and (folder / "training.png").read_bytes()[1:4] == b"PNG"
    told = r": [\d,]+ weights, trained on 60 sequences in \d+ s \(2 classes, one a sequence\)"
    assert re.fullmatch(re.escape(str(folder / "told.safetensors")) + told, first)
    assert re.fullmatch(r"held back: 12 sequences, accuracy [\d.]+, log loss [\d.]+, temperature [\d.]+", second)
    names = [line.split("  ")[0] for line in table[1:5]]
    assert names == ["GRU", "LSTM of equal parameters", "most frequent class", "TF-IDF + logistic regression"]
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 20
    assert {"training", "step", "loss", "validation", "learning_rate", "seconds"} <= set(json.loads(lines[0]))


def test_predict_without_torch(folder: Path) -> None:
    out = folder / "out.csv"
    done = grus(
        "classify", "predict", folder / "model.safetensors", folder / "test.csv", "-o", out, "--proba", *COLUMNS
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}: 20 sequences, 20 rows\n"
    with open(out) as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["unique_id", "label", "p(bad)", "p(good)"]
    assert [row["unique_id"] for row in found] == [str(i + 1) for i in range(20)]
    truth = [label for _, label in rows(20, 1)]
    assert sum(row["label"] == label for row, label in zip(found, truth, strict=True)) >= 18
    assert all(abs(float(row["p(bad)"]) + float(row["p(good)"]) - 1) < 1e-5 for row in found)
    assert all((float(row["p(good)"]) > 0.5) == (row["label"] == "good") for row in found)


def test_one_text(folder: Path) -> None:
    done = grus("classify", "predict", folder / "model.safetensors", "--text", "lovely was the film", "--proba")
    assert (done.returncode, done.stderr) == (0, "")
    label, *p = done.stdout.rstrip("\n").split("\t")
    assert label == "good"
    assert [part.split()[0] for part in p] == ["good", "bad"]


def test_a_label_for_each_word(folder: Path) -> None:
    out = folder / "tags.jsonl"
    done = grus(
        *("classify", "predict", folder / "tagger.safetensors", folder / "tags.csv", "-o", out, "--token-col", "word")
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(found[0]) == ["unique_id", "step", "token", "label"]
    assert [row["step"] for row in found[:4]] == [1, 2, 3, 4]
    right = sum(row["label"] == ("mood" if row["step"] == 1 else "other") for row in found)
    assert right > 0.95 * len(found)
    done = grus("classify", "predict", folder / "tagger.safetensors", "--text", "Dull, was the film")
    assert done.stdout.split("\n")[0] == "Dull\tmood"


def test_evaluate_without_torch(folder: Path) -> None:
    report = folder / "report.json"
    done = grus("classify", "evaluate", folder / "model.safetensors", folder / "test.csv", "-o", report, *COLUMNS)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in ("GRU", "most frequent class", "precision", "true \\ predicted"))
    whole = json.loads(report.read_text())
    assert whole["rows"][0]["accuracy"] >= 0.9
    assert [row["class"] for row in whole["classes"]] == ["bad", "good"]


def test_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["classify", "evaluate", folder / "model.safetensors", folder / "test.csv", *COLUMNS]
    assert main([*map(str, command), "--plot", str(folder / "confusion.png")]) == 0
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        for line in (
            fit(folder, "--plot", folder / "p.png", to="p"),
            [*map(str, command), "--plot", str(folder / "p.png")],
        ):
            assert main(line) == 2
            assert capsys.readouterr().err == f"grus: error: a picture needs matplotlib: {installed.command('plot')}\n"
    assert main(fit(folder, "--plot", folder / "p.jpg", to="p")) == 2
    assert "--plot" in capsys.readouterr().err
    assert not list(folder.glob("p*"))


def test_as_many_steps_as_are_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(*more: str) -> str:
        text = ["--text", "fine was the film awful awful awful awful", "--proba"]
        assert main(["classify", "predict", str(folder / "model.safetensors"), *text, *more]) == 0
        return capsys.readouterr().out

    whole, head = answer(), answer("--longest", "4")
    assert answer("--longest", "0") == whole != head
    assert answer("--text", "fine was the film") == whole + head
    command = ["classify", "evaluate", folder / "model.safetensors", folder / "test.csv", *COLUMNS, "--longest"]
    assert main([*map(str, command), "4"]) == 0
    assert main([*map(str, command), "-1"]) == 2
    command = ["classify", "predict", folder / "tagger.safetensors", "--text", "a", "--longest", "3"]
    assert main([*map(str, command)]) == 2
    assert "--longest is for one label a sequence" in capsys.readouterr().err


def test_fit_needs_torch_and_says_so(folder: Path) -> None:
    done = grus(*fit(folder, to="none.safetensors"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"grus: error: training needs PyTorch: {installed.command('train')}\n"
    assert not (folder / "none.safetensors").exists()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("text,label\na,x\nb,x\n", "", "all labels are 'x': expected two classes at least"),
        ("text,label\na,x\n ,y\n", "", "data.csv, line 3 is empty: it has no words"),
        ("text,label\na,x\nb,\n", "", "data.csv, line 3: label is empty, expected a label"),
        ("text\na\nb\n", "", "the data have no labels"),
        ("text,label\na,x\nb,y\n", "--label-col stars", "data.csv has no column 'stars' (--label-col); it has 'text'"),
        ("unique_id,a,label\nq,1,x\np,2,y\n", "--time-col when", "data.csv has no column 'when' (--time-col)"),
        ("body,label\na,x\n", "", "neither a column 'text' (--text-col) nor 'unique_id' (--id-col)"),
        (b"text,label\n\xe4,x\n", "", "data.csv is not UTF-8 text (byte 0xe4 at offset 11"),
        ("text,label\na,x\n", "--encoding klingon", "encoding is 'klingon', expected the name of one"),
        ("unique_id,a,label\nq,,x\np,1,y\n", "", "data.csv, series q has no number, only missing values"),
        ("unique_id,a,label\nq,inf,x\n", "", "data.csv, line 2: a is inf"),
        ("text,label\na,x\nb,y\n", "--vocabulary data.csv --tokens subwords", "'data.csv' is no vocabulary, expected"),
        ("text,label\na,x\nb,y\n", "--vocabulary none.txt", "no vocabulary file 'none.txt'"),
        ("text,label\na,x\nb,y\n", "", "the texts have no word that occurs 2 times"),
        ("text,label\na,x\nb,y\n", "--refit --validation 0", "--refit is given, but --validation is 0"),
        ("unique_id,a,label\nq,1,x\np,1,y\n", "--vocabulary none.txt", "'none.txt', but the data are series"),
        ("text,label\na,x\nb,y\n", "--dropout 1", "dropout is 1.0, expected a number from 0 to below 1"),
        ("text,label\na,x\nb,y\n", "--longest -1", "-1"),
        ("text,label\na,x\nb,y\n", "--compare-lstm", "--compare-lstm needs --test DATA"),
        ("text,label\na,x\nb,y\n", "--resume", "there is no checkpoint"),
        ("text,label\na,x\nb,y\n", "--metrics m.safetensors", "--metrics and --output are the same file"),
        ("text,label\na,x\nb,y\n", "--history m.safetensors.checkpoint", "--history and the checkpoint are the same"),
        ("text,label\na,x\nb,y\n", "--test none.csv", "no data file 'none.csv'"),
    ],
)  # fmt: skip
def test_bad_input_of_fit(failing: Failing, tmp_path: Path, data: str | bytes, options: str, message: str) -> None:
    (tmp_path / "data.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
    line = failing(f"classify fit data.csv -o m.safetensors {options}")
    assert message in line


def test_an_output_that_is_no_model(failing: Failing, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\na,x\nb,y\n")
    assert "a model is a .safetensors file, not .csv" in failing("classify fit data.csv -o out.csv")
    assert "is also an input" in failing("classify fit data.csv -o data.csv")


def test_a_vocabulary_is_not_written_over(failing: Failing, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / "words").write_text("a\nb\n")
    for written in ("-o words", "-o m.safetensors --history words", "-o m.safetensors --metrics words"):
        assert "'words' is also an input" in failing(f"classify fit data.csv --vocabulary words {written}")
    line = failing("classify fit data.csv --vocabulary words -o m.safetensors --save-config words")
    assert "--save-config 'words' is another file of this command" in line
    assert (tmp_path / "words").read_text() == "a\nb\n"


def test_a_test_file_without_labels_before_any_work(failing: Failing, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\na a,x\nb b,y\n")
    (tmp_path / "other.csv").write_text("text\na\n")
    line = failing("classify fit data.csv -o m.safetensors --test other.csv")
    assert "the data have no labels to compare with" in line


@pytest.mark.parametrize(
    ("data", "command", "message"),
    [
        ("text\na\n", "evaluate {model} data.csv", "the data have no labels to compare with"),
        ("text\na,b\n", "predict {model} data.csv -o out.csv", "data.csv, line 2: 2 cells, but the header has 1"),
        ("text,label\n ,x\n", "predict {model} data.csv -o out.csv", "data.csv, line 2 is empty: it has no words"),
        ("unique_id,a\nq,1\n", "predict {model} data.csv -o out.csv", "the data are series of numbers, but the model"),
        ("text\na\n", "predict {model}", "expected either DATA or --text"),
        ("text\na\n", "predict {model} data.csv -o out.parquet", "cannot write '.parquet', expected .csv or .jsonl"),
        ("text\na\n", "predict {model} data.csv -o data.csv", "is also an input"),
        ("text\na\n", "predict data.csv data.csv -o out.csv", "'data.csv' is not a model file, or is damaged"),
        ("text,label\na,good\n", "evaluate {model} data.csv --train none.csv", "no data file 'none.csv'"),
    ],
)  # fmt: skip
def test_bad_input_of_the_others(
    failing: Failing, tmp_path: Path, folder: Path, data: str, command: str, message: str
) -> None:
    (tmp_path / "data.csv").write_text(data)
    assert message in failing("classify " + command.format(model=folder / "model.safetensors"))


def test_an_empty_text(failing: Failing, folder: Path) -> None:
    assert "--text is empty: it has no words" in failing(f"classify predict {folder / 'model.safetensors'} --text=")


def test_a_model_of_another_task(failing: Failing, tmp_path: Path) -> None:
    from grus.model import Model
    from grus.spec import Linear, Spec

    Model(Spec((Linear(1, 1, bias=False),)), {"0.weight": np.ones((1, 1), np.float32)}).save(tmp_path / "m.safetensors")
    line = failing("classify predict m.safetensors --text x")
    assert "the model is no classifier: its file has no classes; fit one with grus classify fit" in line


def test_interrupt_and_resume(
    folder: Path, capsys: pytest.CaptureFixture[str], interrupted: Callable[[Sequence[str], Path], Path]
) -> None:
    longer = ["--epochs", "60", "--patience", "99"]
    assert main(fit(folder, *longer, "--quiet", to="unbroken.safetensors")) == 0
    target = folder / "broken.safetensors"
    arguments = fit(folder, *longer, to="broken.safetensors")
    checkpoint = interrupted(arguments, target)
    assert main(arguments) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "seed was 0, is 1" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--quiet"]) == 0
    assert target.read_bytes() == (folder / "unbroken.safetensors").read_bytes()
    assert not checkpoint.exists()


def test_a_training_that_diverges(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from grus.tasks.classify import fit as module

    monkeypatch.setattr(module.F, "cross_entropy", lambda logits, *_, **__: logits.sum() * float("nan"))
    assert main(fit(folder, "--quiet", to="diverged.safetensors")) == 2
    line = capsys.readouterr().err.splitlines(keepends=True)[-1]  # after a note of what stands twice
    assert line.startswith("grus: error: the loss became nan ")
    assert line.endswith(f"then start again, {folder / 'diverged.safetensors.checkpoint'} is removed\n")
    assert not list(folder.glob("diverged*"))


@pytest.mark.parametrize("verb", ["fit", "predict", "evaluate"])
def test_help_says_what_data_looks_like(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["classify", verb, "--help"])
    text = capsys.readouterr().out
    assert "FOLDER/CLASS/*.txt" in text
    assert f"grus classify {verb} " in text


def test_notes_are_lines_on_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit(folder, "--longest", "3", "--quiet", to="short.safetensors")) == 0
    out, errors = capsys.readouterr()
    assert out == ""
    assert "note: 60 of 60 sequences have more than 3 steps, of which the first 3 are read: " in errors
    assert main(["classify", "predict", str(folder / "model.safetensors"), "--text", "wholly else"]) == 0
    assert capsys.readouterr().err.startswith("note: 2 of 2 words are not in the vocabulary")
