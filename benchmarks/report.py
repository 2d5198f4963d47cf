"""Results as a table in the terminal, as JSON and as a picture."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
Rows = list[dict[str, Any]]


def seconds(value: float | None) -> str:
    """A time with a unit that fits."""
    if value is None:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1 or unit == "us":
            return f"{value * scale:.3g} {unit}"
    return ""


def status(row: dict[str, Any]) -> str:
    """Reached, short of it, or why there is no figure."""
    if "missing" in row:
        return f"no figure: {row['missing']}"
    if not row["correct"]:
        return "[red]wrong result, not reported[/]"
    return "[green]yes[/]" if row["ratio"] >= row["target"] else "[yellow]no[/]"


def show(rows: Rows, console: Console) -> None:
    """The table: a ratio above 1 means that theirs takes longer."""
    table = Table("case", "against", "ours", "theirs", "ratio", "hoped for", "reached", box=None, header_style="bold")
    for row in rows:
        ratio = f"{row['ratio']:.3g}" if "ratio" in row else ""
        target = f"{row['target']:.3g}"
        times = seconds(row.get("ours_s")), seconds(row.get("theirs_s"))
        table.add_row(row["case"], row["against"], *times, ratio, target, status(row))
    console.print(table)


def markdown(rows: Rows) -> str:
    """The table for the README."""
    lines = ["| case | against | ours | theirs | ratio | hoped for |", "|---|---|---|---|---|---|"]
    for row in rows:
        if row.get("correct") and "ours_s" in row:
            times = f"{seconds(row['ours_s'])} | {seconds(row['theirs_s'])}"
            lines.append(f"| {row['case']} | {row['against']} | {times} | {row['ratio']:.3g} | {row['target']:.3g} |")
    return "\n".join(lines)


def update_readme(name: str = "cpu") -> None:
    """Put the table of the kept results between the README's marks."""
    results = json.loads((RESULTS / f"{name}.json").read_text())
    begin, end = f"<!-- benchmarks {name} -->\n", "<!-- end -->"
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(begin)
    info = results["machine"]
    where = f"{info['threads']} cores, {info['processor']}"
    lead = f"On {where}: float32, medians; a ratio above 1 means that theirs takes longer."
    after = rest.split(end, 1)[1]
    README.write_text(f"{before}{begin}{lead}\n\n{markdown(results['cases'])}\n{end}{after}", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    from importlib import metadata

    from rmsprop_jit.codegen.backends.numba_cpu import default_threads

    packages = ("numpy", "numba", "llvmlite", "torch", "jax", "optax", "keras", "numexpr")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {"processor": _processor(), "threads": default_threads(), "python": platform.python_version()} | versions


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(rows: Rows, sweep: Rows, name: str, measured_on: dict[str, Any]) -> Path:
    """Everything as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"schema": 1, "machine": measured_on, "cases": rows, "sweep": sweep}, indent=1) + "\n")
    return path


def draw(sweep: Rows, name: str) -> Path:
    """Step time against size and against tensor count."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
    labels = {"size": "elements of one tensor", "count": "tensors (1 M elements in all)"}
    for axis, ax in zip(("size", "count"), axes, strict=True):
        mine = [point for point in sweep if point["axis"] == axis]
        places = sorted({point["at"] for point in mine})
        best = [min(point["ours_s"] for point in mine if point["at"] == at) for at in places]
        ax.loglog(places, best, "o-", color="black", linewidth=2, label="rmsprop_jit", zorder=3)
        for peer in dict.fromkeys(point["peer"] for point in mine):
            line = [(point["at"], point["theirs_s"]) for point in mine if point["peer"] == peer]
            ax.loglog(*zip(*line, strict=True), ".-", label=peer)
        ax.set(xlabel=labels[axis])
        ax.grid(alpha=0.3)
    axes[0].set(ylabel="seconds for one plain RMSprop step, float32")
    axes[1].legend()
    path = RESULTS / f"{name}.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
