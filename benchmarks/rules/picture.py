"""The picture of all rules: how near each comes to its ceiling, and how it does beside torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from ..machine import named
from ..picture import COLOURS, source
from ..report import number
from ..rows import Row, Rows, has_figures
from .cases import CEILING, COMPILED, FOREACH, FUSED, MANY, ONE
from .table import by_rule

Series = tuple[str, str, str, dict[str, Any]]
"""How a label begins that ends with the size, a peer, a size, and how its points look: told apart by shape, filling
and colour."""

OF_CEILING: Sequence[Series] = (
    ("", CEILING, ONE, {"color": COLOURS[0], "marker": "o"}),
    ("", CEILING, MANY, {"color": COLOURS[1], "marker": "s", "markerfacecolor": "white"}),
)
OF_TORCH: Sequence[Series] = (
    ("compiled, ", COMPILED, ONE, {"color": COLOURS[0], "marker": "o"}),
    ("fused, ", FUSED, ONE, {"color": COLOURS[2], "marker": "^"}),
    ("foreach, ", FOREACH, ONE, {"color": COLOURS[3], "marker": "D"}),
    ("fused, ", FUSED, MANY, {"color": COLOURS[2], "marker": "^", "markerfacecolor": "white"}),
    ("foreach, ", FOREACH, MANY, {"color": COLOURS[1], "marker": "s", "markerfacecolor": "white"}),
)


def draw(
    rows: Rows,
    path: Path,
    measured_on: dict[str, Any],
    of_ceiling: Sequence[Series] = OF_CEILING,
    of_others: Sequence[Series] = OF_TORCH,
    beside: str = "torch's time / our time (left of 1: torch is faster)",
) -> Path:
    """Left: the fraction of the ceiling, the best on top. Right: others' time beside ours, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    order, shown_of = _in_order(rows, of_ceiling[0][2]), {(against, size) for _, against, size, _ in of_others}
    beside_others = {row["rule"] for row in rows if (row["against"], row["size"]) in shown_of}
    names = [name for name in order if any(row["against"] == CEILING for row in order[name])]
    shown = [name for name in order if name in beside_others]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 2 + 0.26 * max(len(names), 24)), layout="constrained", width_ratios=(3, 2)
    )
    _panel(left, of_ceiling, order, names)
    _targets(left, order, names)
    left.set(xlabel="of the ceiling: the same loads and stores alone")
    _panel(right, of_others, order, shown)
    right.set(xlabel=beside, xscale="log")
    right.axvline(1.0, color="black", linewidth=1.2)
    right.xaxis.set_major_formatter(lambda value, _: number(value))
    title = f"{named(measured_on)}: medians, lines from the 10th to the 90th percentile"
    figure.suptitle(fill(title, 130), fontsize="medium")
    figure.savefig(path, dpi=110, metadata={"Comment": source(rows, measured_on)})
    plt.close(figure)
    return path


def _in_order(rows: Rows, size: str) -> dict[str, Rows]:
    """The rules by their fraction at a size, the best last, as an axis counts; those without one first."""
    return dict(sorted(by_rule(rows).items(), key=lambda item: _fraction(item[1], size)))


def _fraction(rows: Rows, size: str) -> float:
    return next((row["ratio"] for row in rows if _is_of(row, CEILING, size)), -1.0)


def _is_of(row: Row, against: str, size: str) -> bool:
    return row["against"] == against and row["size"] == size and has_figures(row)


def _panel(ax: Any, series: Sequence[Series], order: dict[str, Rows], names: list[str]) -> None:
    for label, against, size, look in series:
        points = [(i, row) for i, name in enumerate(names) for row in order[name] if _is_of(row, against, size)]
        at = [i for i, _ in points]
        for i, row in points:
            low, high = row.get("ratio_p10_p90", (row["ratio"],) * 2)
            ax.hlines(i, low, high, color=look["color"], alpha=0.5, linewidth=1.5)
        if points:
            named_so = label + points[0][1]["case"].partition(", ")[2]
            ax.plot([row["ratio"] for _, row in points], at, linestyle="", markersize=7, label=named_so, **look)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.7, len(names) - 0.3)
    ax.grid(alpha=0.3)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, frameon=False)


def _targets(ax: Any, order: dict[str, Rows], names: list[str]) -> None:
    """What is hoped for: a stroke a rule, or several where it differs by shape."""
    bars = [{row["target"] for row in order[name] if row["against"] == CEILING} for name in names]
    known = [(i, bar) for i, own in enumerate(bars) for bar in own]
    ax.vlines(
        [bar for _, bar in known],
        [i - 0.45 for i, _ in known],
        [i + 0.45 for i, _ in known],
        color="black",
        linewidth=2,
        label="hoped for",
    )
    ax.axvline(1.0, color="black", linewidth=1, linestyle=":")
    ax.set_xlim(left=0)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3, frameon=False)
