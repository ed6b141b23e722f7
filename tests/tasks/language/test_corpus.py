"""Texts: reading, splitting, and the streams that are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grus.errors import InputError
from grus.tasks.language import Settings
from grus.tasks.language.corpus import Streams, as_text, read_text, split


def test_read_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfgr\xc3\xbcn\r\nblau\n")
    assert read_text(path) == "grün\nblau\n"
    path.write_bytes(b"unix\nold mac\rdos\r\n\rend")
    assert read_text(path) == "unix\nold mac\ndos\n\nend"
    path.write_bytes("grün".encode("latin-1"))
    assert read_text(path, "latin-1") == "grün"
    assert as_text(["rot", path, "blau"], "latin-1") == "rotgrünblau"


def test_wrong_encoding_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("abc grün".encode("latin-1"))
    with pytest.raises(InputError, match=r"text\.txt is not UTF-8 text \(byte 0xfc at offset 6: .*encoding=.latin-1"):
        read_text(path)
    for unknown in ("klingon", "undefined", "rot13", "hex"):
        with pytest.raises(InputError, match=f"encoding is '{unknown}'"):
            read_text(path, unknown)
    path.write_bytes(b"\xef\xbb\xbfab\xfc")
    with pytest.raises(InputError, match="byte 0xfc at offset 5:"):
        read_text(path)
    path.write_bytes(b"a sentence with no punycode-!!")
    with pytest.raises(InputError, match="text.txt is not punycode text: "):
        read_text(path, "punycode")
    path.write_bytes(rb"half \ud800")
    with pytest.raises(InputError, match="a lone surrogate: it is half a character"):
        read_text(path, "unicode_escape")


def test_a_file_name_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my plays").write_text("To be", encoding="utf-8")
    for name in ("my plays", "not-there.txt", "plays/Hamlet.TXT"):
        with pytest.raises(InputError, match="name of a file: pathlib.Path"):
            as_text(name)
    with pytest.raises(InputError, match="name of a file"):
        as_text([Path("my plays"), "poems.md"])
    for text in ("my", "I opened plays.txt", "plays.txt\n", "." * 4000 + ".txt", str(tmp_path)):
        assert as_text(text) == text


def test_no_text(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(InputError, match="empty.txt' is empty"):
        as_text(path)
    with pytest.raises(InputError, match="the text is empty"):
        as_text("")
    with pytest.raises(InputError, match="text is a int, expected a str"):
        as_text(3)
    with pytest.raises(InputError, match="half a surrogate pair at character 1"):
        as_text("a\ud800")
    with pytest.raises(FileNotFoundError):
        as_text([tmp_path / "none.txt"])


def test_split_keeps_every_character_in_order() -> None:
    text = "".join(map(chr, range(1000, 2000)))
    parts = split(text, Settings(held_out=0.1, validation=0.2))
    assert parts.train + parts.validation + parts.test == text
    assert (len(parts.test), len(parts.validation)) == (100, 180)
    assert split(text, Settings(held_out=0, validation=0)).train == text
    with pytest.raises(InputError, match=r"too few to set a share of 0.05 aside \(held_out\)"):
        split("abc", Settings())


@pytest.mark.parametrize("count", [120, 131])
def test_streams_follow_the_text(count: int) -> None:
    ids = np.arange(1, count + 1)
    streams = Streams(ids, 4, 7)
    windows = [streams(step) for step in range(streams.epoch_steps)]
    target = np.concatenate([w.target for w in windows])  # [T, B]
    assert (target.T.reshape(-1) == ids[: target.size]).all()
    assert count - target.size < 4
    x = np.concatenate([w.x for w in windows])
    assert (x[0] == 0).all()
    assert (x[1:] == target[:-1]).all()
    assert {len(w.target) for w in windows} <= {6, 7}
    assert [w.first for w in windows] == [True] + [False] * (len(windows) - 1)
    again = streams(streams.epoch_steps)
    assert again.first
    assert (again.x == windows[0].x).all()


def test_processes_share_the_streams() -> None:
    ids = np.arange(1, 200)
    whole = Streams(ids, 6, 10)
    ranks = [Streams(ids, 3, 10, rank, 2) for rank in range(2)]
    for step in range(whole.epoch_steps):
        assert (np.concatenate([r(step).target for r in ranks], axis=1) == whole(step).target).all()
        assert (np.concatenate([r(step).x for r in ranks], axis=1) == whole(step).x).all()


def test_a_text_shorter_than_a_window() -> None:
    with pytest.raises(InputError, match="the text has 39 tokens .* 4 streams with a window of 10 need 40"):
        Streams(np.ones(39, np.int64), 4, 10)
    assert Streams(np.ones(40, np.int64), 4, 10).epoch_steps == 1
