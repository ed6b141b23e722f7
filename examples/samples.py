"""A small real table for every task, under the names that the README and the help of the commands use.

    python examples/samples.py [--output samples]    (or: make examples)

Some are drawn from a larger set, always the same ones. The network is needed once; what was fetched is in the cache of
the examples.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
from pathlib import Path

from datasets import IMDB, JAPANESE_VOWELS, M3, SHAKESPEARE, fetch_all, imdb_training, long_table, m3, shakespeare

from grus.files import write_whole

SERIES, REVIEWS, TESTED, NEW = 24, 1000, 300, 20
PLAYS, UNSEEN = ("hamlet", "julius_caesar", "lear", "macbeth", "othello", "romeo_and_juliet"), ("tempest",)
TRY = """\
try them:
  cd {folder}
  {grus} forecast fit sales.csv --horizon 18 -o forecaster.safetensors
  {grus} forecast predict forecaster.safetensors sales.csv -o forecast.csv --plot forecast.png
  {grus} forecast evaluate forecaster.safetensors later-sales.csv
  {grus} classify fit reviews.csv -o mood.safetensors --test reviews_test.csv
  {grus} classify predict mood.safetensors new.csv
  {grus} classify fit Vowels_TRAIN.ts -o speakers.safetensors --test Vowels_TEST.ts
  {grus} language fit plays.txt -o writer.safetensors
  {grus} language generate writer.safetensors --prompt "ROMEO." --length 300 --seed 1
  {grus} language evaluate writer.safetensors unseen.txt --train plays.txt"""


def table(columns: dict[str, list[str]] | dict[str, list[str] | list[int] | list[float]]) -> str:
    """As CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def sales() -> dict[str, tuple[str, str]]:
    """Monthly series of industry: up to the end of the training part, and to that of the test part."""
    chosen = [one for one in m3() if one.period == "MONTHLY" and one.category == "INDUSTRY"][:SERIES]
    past, future = long_table(chosen, test=False), long_table(chosen, test=True)
    both = {name: [*past[name], *future[name]] for name in past}
    what = f"{SERIES} monthly series of industry"
    return {
        "sales.csv": (table(past), f"{what}; {M3.credit}"),
        "later-sales.csv": (table(both), "the same and the 18 months that followed"),
    }


def reviews() -> dict[str, tuple[str, str]]:
    """Film reviews and whether they praise: to learn from, to test on, and without an answer."""
    texts, labels = imdb_training()
    chosen = random.Random(0).sample(range(len(texts)), REVIEWS + TESTED + NEW)
    parts = chosen[:REVIEWS], chosen[REVIEWS:-NEW], chosen[-NEW:]
    train, test, new = ({"text": [texts[i] for i in part], "label": [labels[i] for i in part]} for part in parts)
    return {
        "reviews.csv": (table(train), f"{REVIEWS:,} reviews, positive or negative; {IMDB[0].credit}"),
        "reviews_test.csv": (table(test), f"{TESTED} others"),
        "new.csv": (table({"text": new["text"]}), f"{NEW} more, without the answer"),
    }


def vowels() -> dict[str, tuple[str, str]]:
    train, test = (data.decode() for data in fetch_all(JAPANESE_VOWELS))
    return {
        "Vowels_TRAIN.ts": (train, f"270 utterances of nine speakers; {JAPANESE_VOWELS[0].credit}"),
        "Vowels_TEST.ts": (test, "370 others"),
    }


def plays() -> dict[str, tuple[str, str]]:
    return {
        "plays.txt": (shakespeare(PLAYS), f"{len(PLAYS)} tragedies; {SHAKESPEARE.credit}"),
        "unseen.txt": (shakespeare(UNSEEN), "The Tempest"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("samples"), metavar="FOLDER")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for make in (sales, reviews, vowels, plays):
        for name, (text, what) in make().items():
            write_whole(folder / name, text.encode())
            print(f"{folder / name}: {len(text.encode()):,} bytes, {what}", flush=True)
    command = Path(sys.prefix, "bin", "grus")
    print("\n" + TRY.format(folder=folder, grus=command if command.exists() else "grus"))


if __name__ == "__main__":
    main()
