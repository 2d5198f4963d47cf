"""What a first day found, to be looked at: tables of what stands beside a copy, and a picture of the row lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import report
from ..picture import COLOURS, MARKERS
from ..rows import Row, Rows, has_figures

TABLE, PICTURE = "beside-a-copy.md", "rows.png"


def write(folder: Path) -> list[Path]:
    """The files that the results in a folder are enough for."""
    copies, lengths = _found(folder, "beside a copy"), _found(folder, "rows")
    return [*_tables(copies, lengths, folder / TABLE), *draw(lengths, folder / PICTURE)]


def _found(folder: Path, part: str) -> Rows:
    """The rows that a part found, however it ended."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[0-9]*.json"))]
    return [row for result in results if result["part"] == part for row in result["found"].values()]


def _tables(copies: Rows, lengths: Rows, path: Path) -> Iterator[Path]:
    texts = [report.markdown(copies)] if copies else []
    if lengths:
        texts.append(f"The time of a copy by ours, for each length of a row:\n\n{by_length(lengths)}")
    if texts:
        path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
        yield path


def by_length(rows: Rows) -> str:
    """A line for each size, a column for each length; the best of a line is bold."""
    lengths = sorted({row["length"] for row in rows})
    lines = [["elements", *(f"{length:,}" for length in lengths)], ["---"] * (len(lengths) + 1)]
    for size in dict.fromkeys(row["size"] for row in rows):
        own = {row["length"]: row for row in rows if row["size"] == size}
        best = max((row["ratio"] for row in own.values() if has_figures(row)), default=None)
        lines.append([size, *(_cell(own.get(length), best) for length in lengths)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row | None, best: float | None) -> str:
    if row is None:
        return ""
    if not has_figures(row):
        return "wrong result" if row.get("correct") is False else "failed"
    text = f"{row['ratio']:.2f}"
    return f"**{text}**" if row["ratio"] == best else text


def draw(rows: Rows, path: Path) -> Iterator[Path]:
    """A line for each length: the time of a copy by ours, against the number of elements; bands are 10 to 90 %."""
    rows = [row for row in rows if has_figures(row)]
    if not rows:
        return
    try:
        import matplotlib
    except ModuleNotFoundError:  # the tables say the same
        return
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    ax: Any = figure.add_subplot()
    for i, length in enumerate(sorted({row["length"] for row in rows})):
        _line(ax, [row for row in rows if row["length"] == length], i)
    ax.set(xscale="log", xlabel="elements", ylabel="time of a copy by ours", title="Rows of so many elements")
    ax.axhline(1.0, color="black", linewidth=0.8)
    ax.legend()
    figure.savefig(path, dpi=120)
    yield path


def _line(ax: Any, rows: Sequence[Row], i: int) -> None:
    rows = sorted(rows, key=lambda row: int(row["elements"]))
    at = [row["elements"] for row in rows]
    colour = COLOURS[i % len(COLOURS)]
    ax.plot(
        at,
        [row["ratio"] for row in rows],
        color=colour,
        marker=MARKERS[i % len(MARKERS)],
        label=f"{rows[0]['length']:,}",
    )
    low, high = zip(*(row["ratio_p10_p90"] for row in rows), strict=True)
    ax.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
