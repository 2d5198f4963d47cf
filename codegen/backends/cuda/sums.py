"""How a GPU reduces: the partial results that a thread keeps, as Python source.

Consumer GPUs do float64 at 1/64 of the speed of float32, so a float32 kernel must not use it. Instead a thread keeps
several float32 numbers, its parts, which together hold what one float64 would:

    sum of squares   three sums, of middling, large and small elements; the latter two scaled, so that no square
                     overflows or vanishes (Blue 1978, "A portable Fortran program to find the Euclidean norm")
    sum              a sum and what rounding took from it (Knuth, TAOCP 2, 4.2.2, theorem B)

Everything else, and float64, keeps one number and does what the reduction's row in ops.py says. Parts are joined in a
fixed tree. Kernels between the loops, which take one of them a row, turn them into float64.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ops import ReduceOp
from ...program import Program, Reduce
from .printing import expression

BIG, SMALL, SCALE = 2.0**52, 2.0**-50, 2.0**80
"""Elements from BIG on are scaled by 1/SCALE, elements below SMALL by SCALE.

2^16 squares of anything below BIG stay below 2^120; a square of anything above SMALL is above 2^-100.
"""


@dataclass(frozen=True)
class Parts:
    """The partial result of one kind of reduction in one dtype.

    start: the value of each part before the first element.
    add:   source of a function (parts, element) -> parts.
    join:  source of a function (parts, parts) -> parts.
    whole: an expression in float64 for what the parts {0}, {1}, ... amount to.
    """

    start: tuple[float, ...]
    add: str
    join: str
    whole: str = "{0}"


ADD_SQUARE = f"""
def add_square(middle, large, small, x):
    size = fabs(x)
    is_large, is_small = size >= float32({BIG!r}), size < float32({SMALL!r})
    scaled = x * (float32({1 / SCALE!r}) if is_large else (float32({SCALE!r}) if is_small else float32(1.0)))
    squared, none = scaled * scaled, float32(0.0)
    middle = middle + (none if is_large | is_small else squared)
    return middle, large + (squared if is_large else none), small + (squared if is_small else none)
"""

JOIN_SQUARE = """
def join_square(middle, large, small, middle_2, large_2, small_2):
    return middle + middle_2, large + large_2, small + small_2
"""

ADD = """
def add(total, lost, x):
    sofar = total + x
    taken = sofar - total
    return sofar, lost + ((total - (sofar - taken)) + (x - taken))
"""

JOIN = """
def join(total, lost, total_2, lost_2):
    sofar = total + total_2
    taken = sofar - total
    return sofar, lost + lost_2 + ((total - (sofar - taken)) + (total_2 - taken))
"""


def parts_of(op: ReduceOp, dtype: str) -> Parts:
    """How `op` is accumulated over elements of `dtype`, "float32" or "float64"."""
    if (op, dtype) == (ReduceOp.SUM_OF_SQUARES, "float32"):
        whole = f"({{0}} + ({{1}} * {SCALE**2!r} + {{2}} * {SCALE**-2!r}))"
        return Parts((0.0, 0.0, 0.0), ADD_SQUARE, JOIN_SQUARE, whole)
    if (op, dtype) == (ReduceOp.SUM, "float32"):
        return Parts((0.0, 0.0), ADD, JOIN, "({0} + {1} if fabs({0}) < INF else {0})")
    name = op.name.lower()
    element = [f"    x = {expression(op.element, ['x'], dtype)}"] if op.element else []
    add = [f"def add_{name}(sofar, x):", *element, f"    return {expression(op.join, ['sofar', 'x'], dtype)}"]
    join = [f"def join_{name}(sofar, other):", f"    return {expression(op.join, ['sofar', 'other'], dtype)}"]
    return Parts((op.identity,), "\n".join(add), "\n".join(join))


def name_of(source: str) -> str:
    """The name of the function that a source defines."""
    return source.split("def ", 1)[1].split("(", 1)[0]


def part_names(reduce: Reduce, parts: Parts) -> list[str]:
    """Variables for the parts of a reduction."""
    return [f"part{i}_{reduce.name}" for i in range(len(parts.start))]


@dataclass(frozen=True)
class Partial:
    """Where a reduction's parts are in a row of partial results."""

    reduce: Reduce
    parts: Parts
    at: int

    def names(self) -> list[str]:
        """A thread's variables for the parts."""
        return part_names(self.reduce, self.parts)


def kept_in(program: Program) -> str:
    """The type of a row's partial results: with axes, rows are tensors, and their results are whole numbers."""
    return "float64" if program.is_by_axes else program.compute


def partials_of(program: Program) -> tuple[Partial, ...]:
    """What a program reduces to numbers a tensor, or for all, with the places of their parts."""
    partials: list[Partial] = []
    at = 0
    for reduce in program.reduced:
        partials.append(Partial(reduce, parts_of(reduce.op, kept_in(program)), at))
        at += len(partials[-1].parts.start)
    return tuple(partials)


def partial_width(program: Program) -> int:
    """Parts of a row, of all reductions."""
    return sum(len(partial.parts.start) for partial in partials_of(program))
