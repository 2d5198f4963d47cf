"""All rules as a table: a line for each, whoever wins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import report
from ..machine import named
from ..report import number, ratio, reached, seconds
from ..rows import Row, Rows, has_figures
from .cases import CEILING, FOREACH, GPU, MANY, ONE, SIZES

PICTURE = "![Fraction of the ceiling and ratios to torch of every rule](benchmarks/results/{name}.png)"


LEAD = """float32; medians, in brackets the 10th and 90th percentile. *Of the ceiling*: how long the same loads and
stores take, in the same passes over the same arrays, as a part of a step, in turns with it. *torch*: how many times as
long as ours a step of torch's own takes, in turns with ours; its best is the fastest of foreach, fused and compiled.
*Arithmetic*: how long the step's own kernels take on rows that stay in the first-level cache, shared out over the
threads, as a part of the ceiling's time: the two overlap, though never wholly. Hoped for is 0.9 of the ceiling, 0.8
for rules with reductions, to be no slower than torch in any of its ways, and 10 beside its foreach with many tensors.
A step is the ordinary one: warmed up, that of `Sophia` without a Hessian; rules over axes (`Adafactor`, `CAME`, `SM3`,
`AdamMini`) are measured on vectors, in which nothing is factored, and `Muon`, whose time is in products, is not here.
"""

LEAD_OF_GPU = """float32; medians, in brackets the 10th and 90th percentile, by CUDA events after the L2 cache was
filled with other data. *Of the ceiling*: how long a copy within the GPU's memory takes that moves as many bytes, as a
part of a step, in turns with it; *torch*: how many times as long as ours a step of torch's own takes, in turns with
ours. *Host*: how long the host is busy with a step. Where that is longer than the GPU, the time is the host's: 1,000 x
1,000 tensors are 20 MB, which the GPU goes through in 9 us. Otherwise as above.
"""


def head(sizes: str = "full") -> list[str]:
    """The columns, for the sizes of this name."""
    one, many = (SIZES[sizes][size][0] for size in (ONE, MANY))
    beside = [f"{what} {size}" for size in (one, many) for what in ("step,", "of the ceiling,")]
    busy = f"host, {many}" if sizes == GPU else f"arithmetic, {one}"
    peers = [f"torch's best, {one}", f"torch foreach, {many}"]
    return ["rule", "bytes", *beside, busy, "hoped for", *peers, "reached"]


def by_rule(rows: Rows) -> dict[str, Rows]:
    """The rows of each rule, by its name."""
    found: dict[str, Rows] = {}
    for row in sorted(rows, key=lambda row: str(row["rule"]).lower()):
        found.setdefault(row["rule"], []).append(row)
    return found


def lines(rows: Rows) -> list[list[str]]:
    """A line for each rule, in alphabetical order."""
    return [_line(rule, own) for rule, own in by_rule(rows).items()]


def best_of_torch(rows: Rows) -> Row | None:
    """The row of one tensor in which torch is fastest; None where torch has no figure."""
    measured = [row for row in rows if row["against"] != CEILING and row["size"] == ONE and has_figures(row)]
    return min(measured, key=lambda row: float(row["ratio"]), default=None)


def _line(rule: str, rows: Rows) -> list[str]:
    found = {(row["against"], row["size"]): row for row in rows}
    cells = [rule, str(rows[0]["moved"])]
    for size in (ONE, MANY):
        row: Row = found.get((CEILING, size), {})
        cells += [seconds(row.get("ours_s"), row.get("ours_p10_p90_s", ())), ratio(row)]
    bar = next((row["target"] for row in rows if row["against"] == CEILING), None)
    best = best_of_torch(rows)
    fastest = f"{best['against'].removeprefix('torch').strip(' .')}: {ratio(best)}" if best else ""
    cells += [_arithmetic(found.get((CEILING, ONE), {})) or _host(found.get((CEILING, MANY), {}))]
    cells += [f"{bar:.3g}" if bar else ""]
    return [*cells, fastest, ratio(found.get((FOREACH, MANY), {})), _verdict(rows)]


def _arithmetic(row: Row) -> str:
    """As a part of the ceiling's time."""
    return number(row["inner_s"] / row["theirs_s"]) if has_figures(row) and "inner_s" in row else ""


def _host(row: Row) -> str:
    """Of a GPU's step."""
    return seconds(row["host_s"]) if has_figures(row) and "host_s" in row else ""


def _verdict(rows: Rows) -> str:
    """Yes, or what fell short, and what has no figures."""
    short = [_place(row) for row in rows if reached(row) == "no"]
    without = [f"{_place(row)} {reached(row)}" for row in rows if not has_figures(row) and "missing" not in row]
    return f"no: {', '.join([*short, *without])}" if short or without else "yes"


def _place(row: Row) -> str:
    return f"{row['against']} at {row['case'].partition(', ')[2]}"


def markdown(results: dict[str, Any], name: str = "rules", sizes: str = "full", told: str = LEAD) -> str:
    """Where and how it was measured (`told`), all rules, what we lose, and the picture of this name."""
    rows: Rows = results["cases"]
    lead = f"On {named(results['machine'])}: {told}".strip()
    if any(row.get("loosely") for row in rows):
        lead += " Where torch's dialect is not spoken, results were compared loosely."
    shown = report.markdown_table(head(sizes), lines(rows))
    return f"{lead}\n\n{shown}\n\n{lost(rows)}\n\n{PICTURE.format(name=name)}"


def lost(rows: Rows) -> str:
    """In words: how many rows fall short, where torch is faster, and what torch does not have, or not in time."""
    asked = [row for row in rows if "missing" not in row]
    short = [row for row in asked if reached(row) != "yes"]
    beside_torch = [row for row in rows if row["against"] != CEILING and has_figures(row)]
    ahead = [row for row in beside_torch if row["ratio"] < 1]
    why: dict[str, list[str]] = {}
    for row in rows:
        if "missing" in row:
            why.setdefault(str(row["missing"]), []).append(row["rule"])
    skipped = [f"{reason} ({', '.join(dict.fromkeys(own))})" for reason, own in why.items()]
    return "\n".join(
        [
            f"- **Short of what was hoped for**, or no figure: {len(short)} of {len(asked)}; see the last column.",
            f"- **Torch takes less time** in {len(ahead)} of {len(beside_torch)} rows{_list(map(_named, ahead))}.",
            f"- **Not there, or not in time**{_list(skipped) or ': nothing'}.",
        ]
    )


def _list(parts: Iterable[str]) -> str:
    joined = "; ".join(parts)
    return f": {joined}" if joined else ""


def _named(row: Row) -> str:
    return f"{row['rule']}, {_place(row)} ({number(row['ratio'])})"
