"""How this copy of Grus was installed, and so which command adds to it what is missing."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

__all__ = ["command"]


def command(extra: str) -> str:
    """The command that installs the packages of an extra: ``pip install -e '/home/me/grus[train]'``.

    From the same place where that is known, else of the packages by name: no index need have Grus.
    """
    # imported here: they would take as long as the rest of the package together
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = json.loads(metadata.distribution("grus").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # a folder on the path
        return f"pip install {_quoted(f'grus[{extra}]')}"
    place = urlsplit(origin.get("url", ""))
    path = url2pathname(place.path) if place.scheme == "file" else ""
    if path and Path(path).exists():
        editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
        return f"pip install {editable}{_quoted(f'{path}[{extra}]')}"
    if "vcs_info" in origin:
        source = f"{origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
        return f"pip install {_quoted(f'grus[{extra}] @ {source}')}"
    return "pip install " + " ".join(map(_quoted, _packages(extra, metadata.requires("grus") or [])))


def _packages(extra: str, lines: list[str]) -> list[str]:
    """What an extra asks for in the metadata's lines, with the extras within it."""
    found: list[str] = []
    for line in lines:
        requirement, _, condition = line.partition(";")
        if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", condition):
            inner = re.fullmatch(r"grus\[(.*)\]", requirement.strip())
            parts = inner[1].split(",") if inner else []
            found += [package for part in parts for package in _packages(part.strip(), lines)]
            found += [] if inner else [requirement.strip()]
    return list(dict.fromkeys(found))


def _quoted(text: str) -> str:
    return f'"{text}"' if sys.platform == "win32" else shlex.quote(text)
