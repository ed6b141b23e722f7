"""The .ts files of the UCR and UEA archive of time series classification.

A line of @data is a series: its channels between colons, the values of a channel between commas, "?" for a missing
one, and last its label. Source: https://www.aeon-toolkit.org/en/stable/api_reference/file_specifications/ts.html
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.tasks.classify.objects import LARGEST, Examples, channel_names
from grus.tasks.columns import read_text

__all__ = ["parse_ts", "read_ts"]


def read_ts(path: str | os.PathLike[str], encoding: str = "utf-8") -> Examples:
    """The series of a file, with their labels. Raises InputError that names the line that is wrong."""
    return parse_ts(read_text(path, encoding), os.fspath(path))


def parse_ts(text: str, name: str) -> Examples:
    """As :func:`read_ts`, from the text of a file; ``name`` is for messages."""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    header: dict[str, list[str]] = {}
    while lines and lines[0][1].startswith("@"):
        key, *values = lines.pop(0)[1].split()
        header[key.lower()] = values
        if key.lower() == "@data":
            break
    if "@data" not in header or not lines:
        raise InputError(f"{name} is no .ts file of series: it has no @data with lines after it")
    if header.get("@timestamps", ["false"])[:1] == ["true"]:
        raise InputError(f"{name} has time stamps: expected values alone, at equal distances")
    labelled = header.get("@classlabel", ["true"])[:1] != ["false"] and "@targetlabel" not in header
    series: list[NDArray[np.float64]] = []
    labels, where = [], []
    for number, line in lines:
        place = f"{name}, line {number}"
        parts = line.split(":")
        if labelled:
            labels.append(parts.pop().strip())
            if not labels[-1] or not parts:
                raise InputError(f"{place} has no label after its last colon")
        array = _series(parts, place)
        if series and array.shape[1] != series[0].shape[1]:
            raise InputError(f"{place} has {array.shape[1]} channels, but the first line has {series[0].shape[1]}")
        series.append(array)
        where.append(place)
    names = channel_names(series[0].shape[1])
    return Examples("series", series, labels if labelled else None, channels=names, where=where)


def _series(parts: list[str], place: str) -> NDArray[np.float64]:
    channels = [_channel(part, place) for part in parts]
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise InputError(f"{place} has channels of unequal lengths {sorted(lengths)}")
    array = np.array(channels).T
    # a file of equal lengths pads shorter series with missing values
    steps = np.flatnonzero(~np.isnan(array).all(axis=1))
    return array[: steps[-1] + 1] if steps.size else array


def _channel(text: str, place: str) -> list[float]:
    values = []
    for cell in text.split(","):
        try:
            value = np.nan if cell.strip() in ("?", "NaN", "nan") else float(cell)
        except ValueError:
            raise InputError(f"{place} has {cell.strip()[:40]!r}, expected a number or ?") from None
        if abs(value) > LARGEST:
            raise InputError(f"{place} has {value}, expected a finite number or ?")
        values.append(value)
    return values
