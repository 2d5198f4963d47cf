"""Guards on a GPU: what its rows say of whether all is finite, as the host reads it, and as source of a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...ops import ReduceOp
from .shape import Shape
from .sums import Partial

if TYPE_CHECKING:
    import numpy.typing as npt


def refused_rows(partial: Partial, parts: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which rows hold what is not finite, by the parts of their guard."""
    is_refused: npt.NDArray[np.bool_] = ~np.isfinite(parts).all(axis=1)
    if partial.reduce.op is ReduceOp.ALL_FINITE:
        is_refused |= parts[:, 0] == 0
    return is_refused


def judge(shape: Shape) -> list[str]:
    """One block: the verdict becomes 0 where any row of a table holds what is not finite. All who write it write 0."""
    guard = shape.program.guarding
    assert guard is not None
    partial, kind = shape.partials[guard.name], shape.kept
    lines = ["row = int64(cuda.threadIdx.x)", "while row < every_row:"]
    for i in range(len(partial.parts.start)):
        at = f"partial + (row * {shape.width} + {partial.at + i}) * {kind.itemsize}"
        is_zero = " | (part == 0)" if guard.op is ReduceOp.ALL_FINITE else ""
        lines.append(f"    part = load_{kind.name}({at})")
        lines += [f"    if (not part - part == 0){is_zero}:", "        store_float64(verdict, float64(0.0))"]
    return [*lines, f"    row = row + {shape.threads}"]
