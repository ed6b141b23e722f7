"""A row as text, all rows as the table of docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.cases import PASSES, Case
from benchmarks.ceilings import Ceilings
from benchmarks.peers import COLUMNS

Row = dict[str, Any]
EXCEEDED = 1.03  # of a limit: past what clocks and rounding do
_TITLES = {
    "step": "### One step called from Python",
    "forward": "### Forward",
    "train": "### Forward and backward",
}


def number(microseconds: float) -> str:
    """Three figures, and all that stand before the point."""
    digits = 2 if microseconds < 10 else 1 if microseconds < 100 else 0
    return f"{microseconds:,.{digits}f}"


def text(row: Row) -> str:
    """What the terminal shows of one case."""
    lines = [str(Case(**row["case"]))]
    for name, entry in _in_order(row["contestants"]):
        if "microseconds" in entry:
            low, high = map(number, entry["quartiles"])
            line = f"{number(entry['microseconds']):>12} µs  [{low} to {high}]"
            if name in row["ratios"]:
                line += f"  {row['ratios'][name]:.2f} × {row['ours']}"
        else:
            line = f"{entry['status'].upper():>12}  {entry['reason']}"
        lines.append(f"  {name:14}{line}")
    if limit := row["limit"]:
        summary = f"limit {number(limit['microseconds'])} µs by {limit['bound']}, "
        summary += f"no time of {row['ours']}" if limit["share"] is None else f"reached {limit['share']:.0%}"
    else:
        summary = f"no limit: {row['ceilings']['left_out']}"
    if row["best_peer"]:
        summary = f"best peer {row['best_peer']}, {row['best_ratio']:.2f} × {row['ours']}; {summary}"
    return "\n".join([*lines, "  " + summary])


def behind(rows: list[Row]) -> list[str]:
    """The cases in which a peer is faster, or ours is not there."""
    found = []
    for row in rows:
        if row["gflops"] is None:
            found.append(f"{Case(**row['case'])}: no time of {row['ours']}")
        elif row["best_ratio"] is not None and row["best_ratio"] < 1:
            found.append(f"{Case(**row['case'])}: {row['best_peer']} takes {row['best_ratio']:.2f} of our time")
    return found


def exceeded(rows: list[Row]) -> str:
    """Which rows are quicker than the machine can be, so that a wrong limit is seen; "" where none is."""
    found = [
        f"{Case(**row['case'])} ({share:.0%}, {row['limit']['bound']})"
        for row in rows
        if row["limit"] and (share := row["limit"]["share"]) and share > EXCEEDED
    ]
    return f"Above {EXCEEDED:.0%} of a limit, which is wrong there: {', '.join(found)}." if found else ""


def markdown(results: Row) -> str:
    """The generated part of docs/performance.md."""
    machine = f"{results['cpu']}, {results['threads']} threads, {results['isa']}"
    versions = " · ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [f"Measured on {results['date']} with `{results['command']}`: {machine}; {results['rounds']} rounds."]
    parts += [f"Versions: {versions}." + _absent(results["not_installed"]), _ceilings(results["rows"])]
    parts += filter(None, [exceeded(results["rows"])])
    for mode in sorted(PASSES, key=list(_TITLES).index):
        rows = [row for row in results["rows"] if row["case"]["mode"] == mode]
        if rows:
            parts += [_TITLES[mode], _table(rows)]
    losses = behind(results["rows"])
    parts += ["### Where a peer is ahead", "\n".join(f"- {loss}" for loss in losses) or "Nowhere in this run."]
    return "\n\n".join(parts)


def insert(page: Path, generated: str, name: str = "table") -> str:
    """The page with a generated part replaced. Raises ValueError where its two markers are not there."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page} lacks {first} or {last}")
    return f"{before}{first}\n\n{generated}\n\n{last}{after}"


def _absent(names: list[str]) -> str:
    return f" Not installed: {', '.join(names)}." if names else ""


def _ceilings(rows: list[Row]) -> str:
    first = rows[0]["ceilings"]
    if "left_out" in first:
        return f"No limits: {first['left_out']}."
    if "product_gflops" in first:  # results from before the ceilings were measured in registers and by all threads
        product, l2, l3 = (_range([row["ceilings"][k] for row in rows]) for k in ("product_gflops", "l2_gbs", "l3_gbs"))
        return f"Ceilings over the run: a 1024³ product {product} GFLOP/s; reading from L2 {l2}, from L3 {l3} GB/s."
    found = [Ceilings(**row["ceilings"]) for row in rows]
    adds = _range([one.fma_gflops for one in found])
    l1, l2, l3 = (_range([one.gbs(level) for one in found]) for level in (1, 2, 3))
    return f"Ceilings over the run: multiply-adds {adds} GFLOP/s; reading from L1 {l1}, L2 {l2}, L3 {l3} GB/s."


def _range(values: list[float]) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f}"


def _table(rows: list[Row]) -> str:
    names = [name for name in COLUMNS if any(name in row["contestants"] for row in rows)]
    variants = any(Case(**row["case"]).variant for row in rows)
    head = ["T", "B", "I", "H", *(["variant"] if variants else []), *names]
    head += ["best peer ÷ ours", "GFLOP/s", "limit", "of limit", "bound"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        case = Case(**row["case"])
        cells = [str(case.T), str(case.B), str(case.I), str(case.H), *([case.variant] if variants else [])]
        cells += [_cell(row, name) for name in names]
        reached, best, limit = row["gflops"], row["best_ratio"], row["limit"]
        cells += [
            "–" if best is None else f"{best:.2f} ({row['best_peer']})",
            "–" if reached is None else f"{reached:,.0f}" if reached >= 10 else f"{reached:.1f}",
            number(limit["microseconds"]) if limit else "–",
            f"{limit['share']:.0%}" if limit and limit["share"] else "–",
            limit["bound"] if limit else "–",
        ]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(row: Row, name: str) -> str:
    entry = row["contestants"].get(name)
    if entry is None:
        return "–"
    if "microseconds" not in entry:
        return str(entry["status"]).upper()
    value = number(entry["microseconds"])
    return f"**{value}**" if name == row["ours"] else value


def _in_order(contestants: Row) -> list[tuple[str, Row]]:
    known = {name: index for index, name in enumerate(COLUMNS)}
    return sorted(contestants.items(), key=lambda item: known.get(item[0], len(known)))
