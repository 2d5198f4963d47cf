"""How long a row of a GPU's tables should be: each length beside a copy, against the number of elements."""

from __future__ import annotations

import itertools
from functools import partial

from rmsprop_jit.codegen.backends.cuda import tables

from .. import workloads as w
from ..cases import Case
from ..rows import attempted
from ..workloads import Shapes, elements
from . import measure
from .asking import Answers, needs_a_gpu

LENGTHS = [1 << n for n in range(10, 15)]
"""From `tables.SHORTEST` to `tables.LONGEST`."""

SHAPES: dict[str, Shapes] = {**{f"{10**n:,}": [(10**n,)] for n in range(4, 9)}, "ResNet-50": w.resnet50()}

SECONDS = 0.3
"""For each length of each size."""


def row_lengths() -> Answers:
    """Rows of results, each with `size`, `elements` and `length`; all lengths of a size one after the other."""
    needs_a_gpu()
    for (size, shapes), length in itertools.product(SHAPES.items(), LENGTHS):
        case = Case(f"{size}, rows of {length:,}", shapes, w.PLAIN, "copy", 0.0)
        with tables.rows_of(length):
            row = attempted(case, partial(measure.measure, case, SECONDS))
        yield case.name, {**row, "size": size, "elements": elements(shapes), "length": length}
