"""make accuracy, after the forecasts: every example, one after the other, and their tables in docs/accuracy.md.

Each example trains on real data, prints its result beside those of other methods and keeps it under
benchmarks/results/. Then the same network is trained with other layers in the place of the GRU (benchmarks/layers.py).

    python benchmarks/uses.py [--only imdb,bbc] [--tables]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from grus.files import write_whole

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = ROOT / "docs" / "accuracy.md"
SAMPLE = 20  # lines
USES = {
    "japanese_vowels": "Speakers (JapaneseVowels)",
    "bbc": "Topics (BBC)",
    "imdb": "Sentiment (IMDb)",
    "shakespeare": "Language (Shakespeare)",
    "sequential_mnist": "Digits, a pixel a step (sequential MNIST)",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join([*USES, "layers"]), help="some of: %(default)s")
    parser.add_argument("--tables", action="store_true", help="write the tables of what is kept, run nothing")
    options = parser.parse_args()
    failed = []
    for name in [] if options.tables else options.only.split(","):
        record = RESULTS / f"{name}.json"
        script = ROOT / ("benchmarks" if name == "layers" else "examples") / f"{name}.py"
        print(f"== {script.relative_to(ROOT)}", flush=True)
        if subprocess.run([sys.executable, str(script), "--record", str(record)], cwd=ROOT).returncode:
            failed.append(name)
    put_in_docs("uses", uses())
    put_in_docs("layers", layers())
    if failed:
        print(f"error: these did not reach what they must: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def uses() -> str:
    """Markdown: of each use the rows, the best first."""
    lines = ["| use | model | result | training and test | seeds |", "|---|---|---|---|---|"]
    for name, title in USES.items():
        record = _record(name)
        if record is None:
            continue
        for index, row in enumerate(record["rows"]):
            use = f"**{title}**, {record['measure']}" if index == 0 else ""
            seeds = str(len(row["seeds"])) if "seeds" in row else "–"
            model = f"{row['model']}: {row['source']}" if "source" in row else row["model"]
            lines.append(f"| {use} | {model} | {score(row, record['measure'])} | {time(row)} | {seeds} |")
    return "\n".join([*lines, *sample()])


def sample() -> list[str]:
    """The first lines of what the language model wrote, indented."""
    record = _record("shakespeare")
    written = [row["sample"] for row in record["rows"] if "sample" in row] if record else []
    text = [f"    {line}".rstrip() for line in written[0].splitlines()[:SAMPLE]] if written else []
    return ["", "What the language model writes after `ROMEO.` (temperature 0.8, seed 1):", "", *text] if text else []


def layers() -> str:
    """Markdown: the same training with each layer."""
    record = _record("layers")
    if record is None:
        return "Not run yet."
    lines = ["| data | layer | weights | result | whole process, s | times ours |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['data']} | {row['layer']} | {row['weights']:,} | {score(row, row['measure'])} | "
        f"{row['seconds']:.0f} | {row['ratio']:.2f} |"
        for row in record["rows"]
    ]
    return "\n".join(lines)


def score(row: dict[str, Any], measure: str) -> str:
    places = 3 if measure.startswith("bits") else 2
    spread = f" ± {row['deviation']:.{places}f}" if "deviation" in row else ""
    return f"{row['score']:.{places}f}{spread}"


def time(row: dict[str, Any]) -> str:
    seconds = row["seconds"]
    if seconds is None:
        return "–"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _record(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def put_in_docs(name: str, text: str) -> None:
    """Replace what stands between the two marks of docs/accuracy.md."""
    begin, end = f"<!-- {name}: written by make accuracy -->", f"<!-- {name}: end -->"
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    write_whole(DOCUMENT, f"{before}{begin}\n\n{text}\n\n{end}{after}".encode())


if __name__ == "__main__":
    sys.exit(main())
