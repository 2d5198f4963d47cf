"""Results as a table, in the terminal and as Markdown, and as JSON. Every row is shown, whoever wins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .rows import Row, Rows, has_figures, is_bad

RESULTS = Path(__file__).parent / "results"
SCHEMA = 2
HEAD = ("case", "against", "ours", "theirs", "ratio", "hoped for", "reached")
HOST = {"our host": "host_s", "their host": "theirs_host_s"}
"""For how long the host is busy: columns that a table has where it was measured."""
INNER = {"arithmetic": "inner_s"}
"""How long our step takes in the caches alone; the same."""
COLOURS = {"yes": "green", "no": "yellow", "skipped": "yellow"}
TIMES = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
SIZES = (("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0))


def seconds(value: float | None, around: Sequence[float] = ()) -> str:
    """A time with a unit that fits, and what it lies between."""
    return amount(value, around, TIMES)


def amount(value: float | None, around: Sequence[float], units: Sequence[tuple[str, float]]) -> str:
    """The same in any units, the largest first."""
    if value is None:
        return ""
    name, unit = next((pair for pair in units if value >= pair[1]), units[-1])
    return f"{number(value / unit)} {name}{between([edge / unit for edge in around])}"


def number(value: float) -> str:
    """Three digits; all of them where there are more before the point, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def between(around: Sequence[float]) -> str:
    """The 10th and 90th percentile of what was measured, where they are known."""
    is_known = around and around[0] < around[-1]  # a bar has none, nor has what was measured once
    return f" ({number(around[0])} to {number(around[-1])})" if is_known else ""


def ratio(row: Row) -> str:
    """A row's ratio, if it has one, and what it lies between."""
    return f"{number(row['ratio'])}{between(row.get('ratio_p10_p90', ()))}" if has_figures(row) else ""


def reached(row: Row) -> str:
    """Whether a row has what was hoped for, or why there is no figure."""
    if "missing" in row:
        return f"skipped: {row['missing']}"
    if not has_figures(row):
        return f"failed: {row.get('failed', 'wrong result, not timed')}"
    return "yes" if row["ratio"] >= row["target"] else "no"


def cells(row: Row) -> list[str]:
    """A row of the table, as `HEAD` says."""
    sides = [
        seconds(row.get(f"{side}_s"), row.get(f"{side}_p10_p90_s", ())) or amount(row.get(f"{side}_bytes"), (), SIZES)
        for side in ("ours", "theirs")
    ]
    target = f"{row['target']:.3g}" if row["target"] else ""
    return [row["case"], row["against"], *sides, ratio(row), target, reached(row)]


def table_of(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """The head of a table, and its lines."""
    lines = [list(HEAD), *map(cells, rows)]
    for more in (HOST, INNER):
        if any(key in row for row in rows for key in more.values()):
            for line, own in zip(lines, [list(more), *(_times(row, more) for row in rows)], strict=True):
                line[HEAD.index("ratio") : HEAD.index("ratio")] = own
    return lines[0], lines[1:]


def _times(row: Row, which: dict[str, str]) -> list[str]:
    return [seconds(row.get(key)) for key in which.values()]


def shown(rows: Rows, sweep: Rows) -> Rows:
    """What the table is of: all cases, and what went wrong in the sweep, whose figures are in the picture."""
    return rows + [row for row in sweep if is_bad(row)]


def show(rows: Rows, console: Console) -> None:
    """The table: a ratio above 1 means that theirs takes longer."""
    show_table(*table_of(rows), console)


def show_table(head: Sequence[str], lines: Sequence[Sequence[str]], console: Console) -> None:
    """Any table whose last column says whether what was hoped for is reached."""
    table = Table(box=None, header_style="bold")
    for name in head:
        table.add_column(name, overflow="fold")
    for line in lines:
        *figures, last = map(escape, line)
        table.add_row(*figures, f"[{COLOURS.get(last.partition(':')[0], 'red')}]{last}[/]")
    console.print(table)


def notes(sweep: Rows) -> list[str]:
    """What was asked for and is not in the picture; one note for each reason of a peer."""
    why: dict[tuple[str, str], list[str]] = {}
    for row in sweep:
        if not has_figures(row):
            why.setdefault((row["against"], reached(row)), []).append(row["case"].removeprefix("sweep, "))
    return [f"{peer}, {' and '.join(cases)} ({reason})" for (peer, reason), cases in why.items()]


def markdown(rows: Rows) -> str:
    """The table for the README."""
    return markdown_table(*table_of(rows))


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Any table as Markdown."""
    return "\n".join(f"| {' | '.join(map(_one_line, line))} |" for line in [head, ["---"] * len(head), *lines])


def _one_line(cell: str) -> str:
    """What would break a table of Markdown, replaced."""
    return " ".join(cell.replace("|", "/").split())


def write(rows: Rows, sweep: Rows, name: str, measured_on: dict[str, Any], folder: Path) -> Path:
    """Everything as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    results = {"schema": SCHEMA, "machine": measured_on, "cases": rows, "sweep": sweep}
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote. Raises ValueError for what it did not."""
    if not path.exists():
        raise ValueError(f"There are no results at {path}. Measure first: python -m benchmarks {path.stem}.")
    results: dict[str, Any] = json.loads(path.read_text())
    if results.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has results of another schema than {SCHEMA}. Received: {results.get('schema')!r}. "
            f"Measure again: python -m benchmarks {path.stem}."
        )
    return results
