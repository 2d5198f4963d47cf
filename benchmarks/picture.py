"""The picture of a sweep: both sides of each pair as they were measured, in turns in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .machine import named
from .rows import Row, Rows

AXES = {"size": "elements of one tensor", "count": "tensors (1 M elements in all)"}


def draw(sweep: Rows, path: Path, measured_on: dict[str, Any]) -> Path:
    """Above: step time, a peer's and (dashed, in its colour) ours beside it. Below: their ratio. Bands: 10 to 90 %."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained", sharey="row", sharex="col")
    for column, (axis, label) in enumerate(AXES.items()):
        times, ratios = axes[:, column]
        here = [row for row in sweep if row.get("axis") == axis and "ratio" in row]
        for i, peer in enumerate(dict.fromkeys(row["against"] for row in here)):
            own = sorted((row for row in here if row["against"] == peer), key=lambda row: int(row["at"]))
            _line(times, own, "theirs_s", "theirs_p10_p90_s", color=f"C{i}", label=peer)
            _line(times, own, "ours_s", "ours_p10_p90_s", color=f"C{i}", linestyle="--", label=f"ours beside {peer}")
            _line(ratios, own, "ratio", "ratio_p10_p90", color=f"C{i}", label=peer)
        ratios.axhline(1.0, color="black", linewidth=1)
        ratios.set(xlabel=label)
        for ax in (times, ratios):
            ax.set(xscale="log", yscale="log")
            ax.grid(alpha=0.3)
    axes[0, 0].set(ylabel="seconds for one plain RMSprop step, float32")
    axes[1, 0].set(ylabel="theirs / ours; below 1 they are faster")
    if axes[0, 0].lines:
        axes[0, 0].legend(fontsize="small")
    figure.suptitle(f"{named(measured_on)}. Medians; bands from the 10th to the 90th percentile", fontsize="medium")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _line(ax: Any, rows: list[Row], value: str, around: str, **style: Any) -> None:
    """Medians and their band over the points of one peer."""
    places = [row["at"] for row in rows]
    ax.plot(places, [row[value] for row in rows], marker=".", **style)
    low, high = zip(*(row[around] for row in rows), strict=True)
    ax.fill_between(places, low, high, color=style["color"], alpha=0.2, linewidth=0)
