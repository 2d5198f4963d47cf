"""All storages as a table: a line for each rule, storage and size, and whatever others are beside it."""

from __future__ import annotations

from typing import Any

from .. import report
from ..machine import named
from ..report import ratio, reached, seconds
from ..rows import Row, Rows, has_figures
from .cases import CEILING, FLOAT32

LEAD = """medians, in brackets the 10th and 90th percentile, ours and theirs of a figure in turns. *Kept as* says it of
slots, if nothing else, and what is not said is float32; *bytes* are what a step moves of a parameter. *float32*: how
many times as long our own step of the same rule takes where all is float32. *Of the ceiling*: how long the same loads
and stores take, without the arithmetic, as a part of a step. *Others*: how many times as long as ours theirs take on
the same parameters and gradients.
"""

PICTURE = "![A step in each storage, beside float32 and beside its ceiling](benchmarks/results/storages.png)"

HEAD = ["rule", "kept as", "size", "bytes", "step", "float32", "of the ceiling", "others", "reached"]


def by_line(rows: Rows) -> dict[tuple[str, str, str], Rows]:
    """The rows of each rule, storage and size."""
    found: dict[tuple[str, str, str], Rows] = {}
    for row in rows:
        found.setdefault((row["rule"], row["kept"], row["size"]), []).append(row)
    return found


def lines(rows: Rows) -> list[list[str]]:
    """The lines of the table."""
    return [[*key, f"{own[0]['moved']:g}", *_figures(own)] for key, own in by_line(rows).items()]


def _figures(rows: Rows) -> list[str]:
    found = {row["against"]: row for row in rows}
    others = [f"{name} {ratio(row)}" for name, row in found.items() if name not in (FLOAT32, CEILING)]
    own: Row = next(filter(has_figures, rows), {})
    step = seconds(own.get("ours_s"), own.get("ours_p10_p90_s", ()))
    beside = [ratio(found.get(name, {})) for name in (FLOAT32, CEILING)]
    short = [f"{row['against']}: {reached(row)} ({row['target']:g})" for row in rows if reached(row) != "yes"]
    return [step, *beside, "; ".join(others), "; ".join(short) or "yes"]


def markdown(results: dict[str, Any]) -> str:
    """Where and how it was measured, and all lines."""
    shown = report.markdown_table(HEAD, lines(results["cases"]))
    return f"On {named(results['machine'])}: {LEAD.strip()}\n\n{shown}\n\n{PICTURE}"
