"""Results as a table in the terminal and in the README, and as JSON. Every row is shown, whoever wins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .machine import named
from .rows import Row, Rows

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
HEAD = ("case", "against", "ours", "theirs", "ratio", "hoped for", "reached")
COLOURS = {"yes": "green", "no": "yellow", "skipped": "yellow"}


def seconds(value: float | None, around: Sequence[float] = ()) -> str:
    """A time with a unit that fits, and what it lies between."""
    if value is None:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1 or unit == "us":
            return f"{value * scale:.3g} {unit}{between([edge * scale for edge in around])}"
    return ""


def between(around: Sequence[float]) -> str:
    """The 10th and 90th percentile of what was measured, where they are known."""
    return f" ({around[0]:.3g} to {around[-1]:.3g})" if around else ""


def reached(row: Row) -> str:
    """Whether a row has what was hoped for, or why there is no figure."""
    if "missing" in row:
        return f"skipped: {row['missing']}"
    if "failed" in row:
        return f"failed: {row['failed']}"
    if not row["correct"]:
        return "wrong result, not timed"
    return "yes" if row["ratio"] >= row["target"] else "no"


def cells(row: Row) -> list[str]:
    """A row of the table, as `HEAD` says."""
    times = [seconds(row.get(f"{side}_s"), row.get(f"{side}_p10_p90_s", ())) for side in ("ours", "theirs")]
    ratio = f"{row['ratio']:.3g}{between(row.get('ratio_p10_p90', ()))}" if "ratio" in row else ""
    return [row["case"], row["against"], *times, ratio, f"{row['target']:.3g}", reached(row)]


def show(rows: Rows, console: Console) -> None:
    """The table: a ratio above 1 means that theirs takes longer."""
    table = Table(*HEAD, box=None, header_style="bold")
    for row in rows:
        *figures, last = map(escape, cells(row))
        table.add_row(*figures, f"[{COLOURS.get(last.partition(':')[0], 'red')}]{last}[/]")
    console.print(table)


def markdown(rows: Rows) -> str:
    """The table for the README."""
    lines = [HEAD, ["---"] * len(HEAD), *map(cells, rows)]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in line)} |" for line in lines
    )


def update_readme(name: str = "cpu") -> None:
    """Put the table of the kept results between the README's marks."""
    results = json.loads((RESULTS / f"{name}.json").read_text())
    begin, end = f"<!-- benchmarks {name} -->\n", "<!-- end -->"
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(begin)
    lead = (
        f"On {named(results['machine'])}: float32; medians, in brackets the 10th and 90th percentile; ours and theirs "
        "of a row are of one run, in turns. A ratio above 1 means that theirs takes longer."
    )
    after = rest.split(end, 1)[1]
    README.write_text(f"{before}{begin}{lead}\n\n{markdown(results['cases'])}\n{end}{after}", encoding="utf-8")


def write(rows: Rows, sweep: Rows, name: str, measured_on: dict[str, Any]) -> Path:
    """Everything as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"schema": 2, "machine": measured_on, "cases": rows, "sweep": sweep}, indent=1) + "\n")
    return path
