"""The picture of storages: a step of ours in each, beside float32 and beside the ceiling of its loads and stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..machine import named
from ..picture import COLOURS, source
from ..rows import Rows, has_figures
from .cases import CEILING, FLOAT32
from .table import by_line

SERIES = (
    (FLOAT32, "float32's time / ours (left of 1: float32 is faster)", {"color": COLOURS[0], "marker": "o"}),
    (CEILING, "of the ceiling: the same loads and stores alone", {"color": COLOURS[1], "marker": "s"}),
)


def draw(rows: Rows, path: Path, measured_on: dict[str, Any]) -> Path:
    """A line for each rule, storage and size, the first on top."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [*by_line([row for row in rows if row["against"] in (FLOAT32, CEILING)])][::-1]
    figure, axes = plt.subplots(figsize=(10, 2 + 0.26 * max(len(names), 4)), layout="constrained")
    for against, label, look in SERIES:
        points = [
            (names.index((row["rule"], row["kept"], row["size"])), row)
            for row in rows
            if row["against"] == against and has_figures(row)
        ]
        for at, row in points:
            axes.hlines(at, *row.get("ratio_p10_p90", (row["ratio"],) * 2), color=look["color"], alpha=0.5)
        axes.plot([row["ratio"] for _, row in points], [at for at, _ in points], linestyle="", label=label, **look)
    axes.axvline(1.0, color="black", linewidth=1.2)
    axes.set_yticks(range(len(names)), [", ".join(name) for name in names])
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(f"{named(measured_on)}: medians, lines from the 10th to the 90th percentile", fontsize="medium")
    figure.savefig(path, dpi=110, metadata={"Comment": source(rows, measured_on)})
    plt.close(figure)
    return path
