"""Operations as the source of CUDA kernels: what the printer writes, but for what a CUDA compiler would change.

products  would be contracted with the sum that they go into, and rounded once: a call of `product` is not, so that
a GPU has the bits of a processor, and what cancels there cancels here. Memory bounds a step: it is free.
a != b    is false for nan in numba-cuda-mlir 0.6, `not a == b` is true.
"""

from __future__ import annotations

from functools import partial

from ... import printer
from ...ops import Fn

WORDS: printer.Templates = {
    Fn.MUL: "product({0}, {1})",
    Fn.SQUARE: "product({0}, {0})",
    Fn.NE: "not {0} == {1}",
    Fn.MINIMUM: "{0} if ({0} <= {1}) | (not {0} == {0}) else {1}",
    Fn.MAXIMUM: "{0} if ({0} >= {1}) | (not {0} == {0}) else {1}",
}

expression = partial(printer.expression, words=WORDS)
print_let = partial(printer.print_let, words=WORDS)
print_lets = partial(printer.print_lets, words=WORDS)
