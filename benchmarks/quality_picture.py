"""The picture of trainings with light storage: mean curves, and how far each seed ends from float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .quality import Results

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""Of Okabe and Ito, and grey; black is float32."""

STYLES = ("-", "--", ":", "-.")


def draw(results: Results, path: Path) -> Path:
    """A row for each training: curves on the left, pairs on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.2 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(results), 2, squeeze=False)
    names = list(dict.fromkeys(name for ways in results.values() for name in ways))
    for (left, right), (training, ways) in zip(axes, results.items(), strict=True):
        for name, curves in ways.items():
            _curve(left, name, names.index(name), curves)
        left.set(title=f"{training}: loss of what is not trained on, mean of seeds", xlabel="step", yscale="log")
        left.legend(fontsize=8)
        left.grid(alpha=0.3, which="both")
        _pairs(right, names, ways)
        right.set(title=f"{training}: final loss beside float32 of the same seed, in percent")
    figure.savefig(path, dpi=110)
    return path


def _curve(ax: Any, name: str, i: int, curves: Any) -> None:
    steps = [step for step, _ in next(iter(curves.values()))]
    mean = np.mean([[loss for _, loss in curve] for curve in curves.values()], axis=0)
    ax.plot(steps, mean, color=COLOURS[i % len(COLOURS)], linestyle=STYLES[i % len(STYLES)], label=name)


def _pairs(ax: Any, names: list[str], ways: Any) -> None:
    usual = {seed: curve[-1][1] for seed, curve in ways["float32"].items()}
    shown = [name for name in ways if name != "float32"]
    for place, name in enumerate(shown):
        pairs = [100 * (curve[-1][1] / usual[seed] - 1) for seed, curve in ways[name].items() if seed in usual]
        colour = COLOURS[names.index(name) % len(COLOURS)]
        ax.plot(pairs, [place] * len(pairs), "o", color=colour, alpha=0.6)
        ax.plot([float(np.mean(pairs))] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=3)
    ax.axvline(0, color="black", linewidth=1)
    ax.axvspan(-0.5, 0.5, color="black", alpha=0.08)
    ax.set_yticks(range(len(shown)), shown, fontsize=8)
    ax.grid(alpha=0.3, axis="x")
    ax.invert_yaxis()
