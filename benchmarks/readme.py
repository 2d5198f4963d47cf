"""What the README says of speed: written from kept results, between marks, so that no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from . import report
from .machine import named
from .rows import Row, Rows, has_figures
from .rules import table as of_rules
from .rules.cases import GPU
from .storages import table as of_storages

README = Path(__file__).parents[1] / "README.md"
END = "<!-- end -->"
HEADLINE_CASE = "16.7 M, plain"
BOUND = "ceiling"


def updated(text: str, name: str, results: dict[str, Any]) -> str:
    """The README with the parts that these results write. Raises ValueError where it has no place for the table."""
    text = _between(text, f"<!-- benchmarks {name} -->\n", TABLES.get(name, table)(results))
    headline_mark = f"<!-- benchmarks {name}, in short -->\n"
    return _between(text, headline_mark, headline(results)) if headline_mark in text else text


def _between(text: str, begin: str, new: str) -> str:
    before, mark, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"The README has no place for these results: a line {begin.strip()!r} and one {END!r}.")
    return f"{before}{begin}{new}\n{END}{after}"


def headline(results: dict[str, Any]) -> str:
    """One step beside everything that was measured beside it, slower or faster, and where."""
    rows = [row for row in results["cases"] if row["case"] == HEADLINE_CASE]
    good = sorted(filter(has_figures, rows), key=lambda row: float(row["ratio"]))
    parts = [f"{_side(row)} {report.number(row['ratio'])}" for row in good]
    parts += [f"{_side(row)} without a figure ({report.reached(row)})" for row in rows if not has_figures(row)]
    own: Row = next((row for row in rows if row["against"] == BOUND), {})
    step = report.seconds(own.get("ours_s"), own.get("ours_p10_p90_s", ())) or "an unknown time"
    return (
        f"A plain step over 16.7 million float32 parameters takes **{step}** on {named(results['machine'])}. How many\n"
        f"times as long others took, in turns with it: {', '.join(parts)}."
    )


def _side(row: Row) -> str:
    return "loads and stores alone" if row["against"] == BOUND else str(row["against"])


def table(results: dict[str, Any]) -> str:
    """Where and how it was measured, all rows, and in words which of them we lose."""
    lead = (
        f"On {named(results['machine'])}: float32; medians, in brackets the 10th and 90th percentile; ours and theirs "
        "of a row are of one run, in turns. A ratio above 1 means that theirs takes longer."
    )
    rows = report.shown(results["cases"], results["sweep"])
    return f"{lead}\n\n{report.markdown(rows)}\n\n{lost(results['cases'], results['sweep'])}"


def lost(rows: Rows, sweep: Rows) -> str:
    """What fell short, and where others were faster: in the table, and at points of the picture."""
    short = [row for row in rows if report.reached(row) != "yes"]
    lines = [
        f"- **Short of what was hoped for**, or without a figure: {len(short)} of {len(rows)} rows"
        f"{_list(_about(row, 'of {target:.3g}'.format_map(row)) for row in short)}."
    ]
    for what, all_of in (("rows", rows), ("points of the picture", sweep)):
        measured = [row for row in all_of if has_figures(row)]
        ahead = [row for row in measured if row["ratio"] < 1]
        counts = f"{len(ahead)} of {len(measured)} {what}"
        lines.append(f"- **Theirs takes less time** in {counts}{_list(map(_about, ahead))}.")
    if without := report.notes(sweep):
        lines.append(f"- **Not in the picture**{_list(without)}.")
    return "\n".join(lines)


def _list(parts: Iterable[str]) -> str:
    joined = "; ".join(parts)
    return f": {joined}" if joined else ""


def _about(row: Row, beside: str = "") -> str:
    figure = f"{report.number(row['ratio'])} {beside}".strip() if has_figures(row) else report.reached(row)
    if beside and has_figures(row) and "inner_s" in row:
        figure += f"; arithmetic alone takes {report.number(row['inner_s'] / row['theirs_s'])} of theirs"
    return f"{row['case']}, against {row['against']} ({figure})"


def table_of_axes(results: dict[str, Any]) -> str:
    """The table, and the picture that comes with it."""
    return f"{table(results)}\n\n![Ratios to ceilings and others of rules over axes](benchmarks/results/axes.png)"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "rules": of_rules.markdown,
    "storages": of_storages.markdown,
    "cuda-rules": partial(of_rules.markdown, name="cuda-rules", sizes=GPU, told=of_rules.LEAD_OF_GPU),
    "axes": table_of_axes,
}
"""How kinds of results are written whose lines are not the same in any table."""
