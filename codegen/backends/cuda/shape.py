"""What all kernels of a program share as CUDA source, and how the threads of a block make one result of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ... import dtypes
from ...kinds import Space
from ...printer import indented, literal
from ...program import Kernel, Let, Program, Reduce
from .layout import Layout
from .printing import expression, print_let
from .sums import Partial, kept_in, partial_width, partials_of

MOST_NUMBERS = 64
"""That a kernel takes by value: to hand over more costs the host as much as a copy and a launch that reads them."""


class Ways(NamedTuple):
    """What kernels ask of the GPU's memory, and not of the host.

    from_memory: the step's numbers; else the host makes and passes them.
    guarded:     whether kernels that write look at a verdict first: the host does not wait for it.
    chosen:      whether those that only read do so, too: the step is one of several, of which the GPU does one.
    columns:     which of them are found in the row of the step's number, that a clock has ready.
    """

    from_memory: bool = False
    guarded: bool = False
    chosen: bool = False
    columns: tuple[str, ...] = ()


BY_HOST = Ways()
"""As in a step of which the host knows all."""


class Shape:
    """A program's types, the places of what it reduces and of its numbers, and the threads of a block.

    from_memory: whether kernels find the step's numbers in memory; else the host makes and passes them.
    index:       by name, where a reduction is among all of the program.
    width:       parts of a row's partial results, which are of the type `kept`.
    """

    def __init__(self, program: Program, threads: int, ways: Ways = BY_HOST) -> None:
        self.program, self.threads, self.ways = program, threads, ways
        self.type = dtypes.storage(program.compute)
        self.kept = dtypes.storage(kept_in(program))
        self.from_memory = ways.from_memory or any(len(kernel.outside) > MOST_NUMBERS for kernel in program.kernels)
        self._passed = frozenset(() if self.from_memory else program.scalars)
        self.partials = {partial.reduce.name: partial for partial in partials_of(program)}
        self.index = {name: j for j, name in enumerate(self.partials)}
        self.width = partial_width(program)

    def type_of(self, kernel: Kernel) -> dtypes.Storage:
        """What a kernel computes in."""
        return dtypes.storage(self.program.type_of(kernel))

    def partials_of(self, kernel: Kernel) -> list[Partial]:
        """What a kernel reduces to numbers a tensor, or for all."""
        return [self.partials[reduce.name] for reduce in kernel.reductions if reduce.name in self.partials]

    def given_to(self, kernel: Kernel) -> tuple[list[Partial], list[Partial]]:
        """What earlier kernels have reduced for this one: over all tensors, and over each."""
        found: tuple[list[Partial], list[Partial]] = [], []
        for given in kernel.givens:
            if not given.hyper and not given.array:
                found[given.over is Space.TENSOR].append(self.partials[given.name])
        return found

    def by_value(self, kernel: Kernel) -> tuple[str, ...]:
        """The numbers that the loop takes as arguments: those of the step."""
        return tuple(name for name in kernel.uniforms if name in self._passed)

    def of_head(self, kernel: Kernel) -> tuple[str, ...]:
        """The numbers of the step, as arguments, that those in memory follow from."""
        read = dict.fromkeys(
            [*(arg for let in kernel.head for arg in let.args), *(put.value for put in kernel.numbered)]
        )
        return tuple(name for name in read if name in self._passed)

    def places(self, kernel: Kernel) -> dict[str, str]:
        """The address of each other number that the loop uses: those that are made on the GPU."""
        names = [name for name in kernel.uniforms if name not in self._passed]
        size = self.type_of(kernel).itemsize
        begin = f"uniforms + tensor * {len(names) * size}" if self.is_per_tensor(kernel) else "uniforms"
        return {name: f"{begin} + {j * size}" for j, name in enumerate(names)}

    def is_per_tensor(self, kernel: Kernel) -> bool:
        """Whether numbers in memory are different for each tensor."""
        return bool(kernel.puts) or any(given.over is Space.TENSOR for given in kernel.givens)

    def storage_of(self, array: str) -> dtypes.Storage:
        """How an array is kept."""
        return dtypes.storage(self.program.storage(array))

    def layout(self, kernel: Kernel) -> Layout:
        """How the arrays that a kernel goes over lie in memory."""
        own = [array for array in kernel.arrays if self.program.space_of(array) == kernel.space]
        return Layout({array: self.storage_of(array) for array in own}, self.type_of(kernel))

    def wide(self, let: Let) -> str:
        """A let of the step in float64."""
        return print_let(let, "float64", "wide_", self.type.name)

    def tree(self, names: Sequence[str], joined: Sequence[str], dtype: str) -> Iterator[str]:
        """Fold variables over the block's threads; `joined` are the lines that join those of `thread + half`."""
        stored = [f"lanes_{name}[thread] = {name}" for name in names]
        yield from (f"lanes_{name} = cuda.shared.array({self.threads}, {dtype})" for name in names)
        yield from [*stored, *self._halves([*joined, *stored])]

    def fold_tree(self, reductions: Sequence[Reduce]) -> Iterator[str]:
        """The same for float64 numbers one after the other in `lanes`, which the first thread then has the results of.

        However many there are, shared memory is enough; a barrier comes after the last use of `lanes`.
        """
        for reduce in reductions:
            stored = f"lanes[thread] = {reduce.name}"
            yield stored
            yield from self._halves(["element = lanes[thread + half]", folded(reduce, "element"), stored])

    def lanes(self) -> str:
        """What `fold_tree` needs."""
        return f"lanes = cuda.shared.array({self.threads}, float64)"

    def _halves(self, joined: Sequence[str]) -> Iterator[str]:
        """Let the first half of the threads join what the second half has stored, then half of those, to the first."""
        yield "cuda.syncthreads()"
        yield f"half = int32({self.threads // 2})"
        yield "while half > 0:"
        yield "    if thread < half:"
        yield from indented(joined, 2)
        yield "    cuda.syncthreads()"
        yield "    half = int32(half // 2)"


def start(reduce: Reduce) -> str:
    """A reduction over nothing, in float64."""
    return literal(reduce.op.identity, "float64")


def folded(reduce: Reduce, other: str) -> str:
    """The line that joins another result to a reduction's own, in float64."""
    return f"{reduce.name} = {expression(reduce.op.join, [reduce.name, other], 'float64')}"
