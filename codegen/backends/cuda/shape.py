"""What all kernels of a program share as CUDA source, and how the threads of a block make one result of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ... import dtypes
from ...ops import Fn
from ...printer import expression, indented, literal, operand, print_let
from ...program import Kernel, Let, Program, Reduce
from .layout import Layout
from .sums import Partial, partial_width, partials_of


class Shape:
    """A program's types, the places of what it reduces, and the threads of a block.

    own_index: by name, where a reduction is among a tensor's own results.
    width:     parts of a row's partial results.
    """

    def __init__(self, program: Program, threads: int) -> None:
        self.program, self.threads = program, threads
        self.type = dtypes.storage(program.compute)
        self.partials = {partial.reduce.name: partial for partial in partials_of(program)}
        self.own_index = {name: j for j, name in enumerate(self.partials)}
        self.width = partial_width(program)

    def partials_of(self, kernel: Kernel) -> list[Partial]:
        """What a kernel reduces."""
        return [self.partials[reduce.name] for reduce in kernel.reductions]

    def layout(self, kernel: Kernel) -> Layout:
        """How the arrays of a kernel lie in memory."""
        return Layout({array: dtypes.storage(self.program.storage(array)) for array in kernel.arrays}, self.type)

    def wide(self, let: Let) -> str:
        """A let of the step in float64."""
        if let.fn is Fn.ROUNDED:
            (arg,) = let.args
            return f"wide_{let.name} = float64({self.type.name}({operand(arg, 'float64', 'wide_')}))"
        return print_let(let, "float64", "wide_")

    def tree(self, names: Sequence[str], joined: Sequence[str], dtype: str) -> Iterator[str]:
        """Fold variables over the block's threads; `joined` are the lines that join those of `thread + half`."""
        for name in names:
            yield f"lanes_{name} = cuda.shared.array({self.threads}, {dtype})"
            yield f"lanes_{name}[thread] = {name}"
        yield "cuda.syncthreads()"
        yield f"half = int32({self.threads // 2})"
        yield "while half > 0:"
        yield "    if thread < half:"
        yield from indented([*joined, *(f"lanes_{name}[thread] = {name}" for name in names)], 2)
        yield "    cuda.syncthreads()"
        yield "    half = int32(half // 2)"

    def fold_tree(self, reductions: Sequence[Reduce]) -> Iterator[str]:
        """The tree for float64 numbers; every thread has the result in `lanes_<name>[0]`."""
        joined = []
        for reduce in reductions:
            joined += [f"element = lanes_{reduce.name}[thread + half]", folded(reduce, "element")]
        return self.tree([reduce.name for reduce in reductions], joined, "float64")


def start(reduce: Reduce) -> str:
    """A reduction over nothing, in float64."""
    return literal(reduce.op.identity, "float64")


def folded(reduce: Reduce, other: str) -> str:
    """The line that joins another result to a reduction's own, in float64."""
    return f"{reduce.name} = {expression(reduce.op.join, [reduce.name, other], 'float64')}"
