"""What kernels use of a step's numbers, on the host, to see whether a GPU has it already.

The number of the step changes in every step, but what an average takes from it only in the second; copying it to the
GPU, and a launch that makes numbers of it, are most of what such a step costs the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...program import Program
from ...scalars import compile_scalars

EXACT = ("", "sqrt", "fabs")
"""Functions that have the same result here and on a GPU; "" is none. Where others take part a GPU's own results may
differ in the last bit though ours are equal: then a step would depend on which steps came before it. So do operations
on bits: they are part of exp, log, tanh and powers, whose products and sums a GPU's compiler may contract."""

Used = Callable[[Sequence[float]], bytes | None]
"""From a step's numbers, in the order of `Program.hypers`, to what kernels use of them, to be compared."""


def numbers_used(program: Program) -> Used:
    """A function that says what a program's kernels use of a step's numbers; None where only the GPU can tell."""
    if any(let.fn.row.function not in EXACT or let.fn.row.of_bits for let in program.step):
        return lambda values: None
    scalars = program.memo("scalars for a GPU", lambda: compile_scalars(program))

    def used(values: Sequence[float]) -> bytes:
        """As bytes: a nan is like itself, and zeros of two signs differ."""
        return np.array(scalars(dict(zip(program.hypers, values, strict=True))), np.float64).tobytes()

    return used
