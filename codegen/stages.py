"""split(): what a rule reduces, and what goes to functions outside, in the order in which kernels can have it ready."""

from __future__ import annotations

from collections.abc import Sequence

from . import verify
from .expr import Expr, Reduction
from .outsides import Outside

Stage = list[Reduction | Outside]
"""What one kernel makes for those after it: it reduces, or it stores what functions are given; not both."""


def split(nodes: Sequence[Expr]) -> list[Stage]:
    """The stages, in order, of a program of these nodes, operands before their users.

    The last kernel, which stores, comes after them and makes nothing for others.

    What has the same depth is reduced first: a guard is then known before any function is called.
    """
    depths: dict[Expr, int] = {}
    found: list[tuple[Stage, Stage]] = []
    for node in nodes:
        depth = max([depths[child] for child in node.children]) if node.children else 0
        if isinstance(node, Reduction | Outside):
            while len(found) <= depth:
                found.append(([], []))
            found[depth][isinstance(node, Outside)].append(node)
            depth += 1
        depths[node] = depth
    stages = [stage for pair in found for stage in pair if stage]
    stages.append([])
    verify.split(nodes, stages)
    return stages
