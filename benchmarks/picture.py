"""The picture of a sweep: both sides of each pair as they were measured, in turns in one process."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from .machine import named
from .report import notes, number
from .rows import Row, Rows, has_figures

AXES = {"size": "elements of one tensor", "count": "tensors of equal size, 1,000,000 elements in all"}

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe and Ito: told apart by colour-blind eyes, too."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Beside the colours, so that no line hangs on its colour alone."""

HOLLOW = {"color": "black", "markerfacecolor": "white", "linestyle": "--", "linewidth": 1}
"""Our side of a pair, with the marker of the peer beside it."""

NOTHING = (math.nan, math.nan)

WIDTH = 130
"""Letters in a line of the title."""


@dataclass(frozen=True)
class Line:
    """A peer's points on one axis, and how they look in every panel."""

    peer: str
    points: Rows
    look: dict[str, Any]

    def draw(self, ax: Any, value: str, around: str, **style: Any) -> None:
        """Medians and their spread; the line is broken where a point has no figures."""
        at = [row["at"] for row in self.points]
        look = self.look | {"markersize": 6, "markeredgewidth": 1.2} | style
        ax.plot(at, [row[value] if has_figures(row) else math.nan for row in self.points], **look)
        spread = [row[around] if has_figures(row) and around in row else NOTHING for row in self.points]
        low, high = zip(*spread, strict=True)
        ax.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)
        ax.vlines(at, low, high, color=look["color"], alpha=0.6, linewidth=1)  # a point alone has no band


def source(sweep: Rows, measured_on: dict[str, Any]) -> str:
    """Which results a picture is of: kept in it, so that a picture of other ones can be found out."""
    return hashlib.sha256(json.dumps([sweep, measured_on]).encode()).hexdigest()


def lines_of(sweep: Rows, axis: str) -> list[Line]:
    """A line for each peer that was asked for; one without figures is there too, and takes no other's colour."""
    peers = list(dict.fromkeys(row["against"] for row in sweep))
    return [
        Line(
            peer,
            sorted((row for row in sweep if _is_of(row, axis, peer)), key=lambda row: int(row["at"])),
            {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]},
        )
        for i, peer in enumerate(peers)
    ]


def _is_of(row: Row, axis: str, peer: str) -> bool:
    return row.get("axis") == axis and row["against"] == peer


def draw(sweep: Rows, path: Path, measured_on: dict[str, Any]) -> Path:
    """Above: step times, a peer's filled and ours beside it hollow. Below: their ratio. Bands: 10 to 90 %."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained", sharey="row", sharex="col")
    for column, (axis, label) in enumerate(AXES.items()):
        _draw_axis(axes[:, column], lines_of(sweep, axis))
        axes[1, column].set(xlabel=label)
    axes[0, 0].set(ylabel="time of one plain RMSprop step, float32")
    axes[1, 0].set(ylabel="their time / our time\n(below 1: they are faster)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(handles) // 2), frameon=False)
    spread = ", bands from the 10th to the 90th percentile" if any("ratio_p10_p90" in row for row in sweep) else ""
    title = [f"{named(measured_on)}: medians{spread}", *(f"Not shown: {note}" for note in notes(sweep))]
    figure.suptitle("\n".join(fill(line, WIDTH) for line in title), fontsize="medium")
    figure.savefig(path, dpi=110, metadata={"Comment": source(sweep, measured_on)})
    plt.close(figure)
    return path


def _draw_axis(panels: Sequence[Any], lines: list[Line]) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator

    times, ratios = panels
    drawn = [line for line in lines if any(map(has_figures, line.points))]
    for line in drawn:
        line.draw(times, "theirs_s", "theirs_p10_p90_s", label=line.peer)
        line.draw(ratios, "ratio", "ratio_p10_p90", label=line.peer)
    for line in drawn:
        line.draw(times, "ours_s", "ours_p10_p90_s", label=f"rmsprop_jit beside {line.peer}", **HOLLOW)
    ratios.axhline(1.0, color="black", linewidth=1.2)
    for ax, formatter in ((times, EngFormatter(unit="s")), (ratios, FuncFormatter(lambda value, _: number(value)))):
        ax.set(xscale="log", yscale="log")
        ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
        ax.yaxis.set_major_formatter(formatter)
        ax.grid(alpha=0.3)
    ratios.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=99))
