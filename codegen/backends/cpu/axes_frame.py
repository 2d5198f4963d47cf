"""The CPU frame of programs with numbers over axes: loops over elements, or over such numbers, block by block.

A piece of work (see `pieces.py`) is some lines of a tensor. What a block's elements read of coarser spaces is laid out
beside them first, a number each, and what is reduced over axes is kept beside them and added up after: so the loop in
between is the same whatever the axes are, and is vectorised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...axes import Axes
from ...kinds import Space
from ...ops import ReduceOp
from ...printer import cast, expression, indented, literal, mangled, operand, print_lets
from ...program import Kernel, Load, Program, Reduce
from ..coarse import spaces_of
from . import blocks, draws, frame
from .blocks import pointer_to
from .frame import LANES, Frame
from .header import Header, at

BLOCK = draws.TOGETHER
"""Elements of a block: a few arrays of them stay in the first-level cache."""

ALONG = 64
"""Runs of at least so many elements are reduced in lanes, shorter ones one element after the other."""

PIECE_CELLS = 5
"""Integers of a piece: tensor, start, width, lines, and from the start of a line to the next."""


def source(program: Program) -> str:
    """The Python source of `step(table)` for a program. Raises BackendError for a type that processors lack."""
    return frame.source(program, AxesFrame if program.is_by_axes else Frame)


class AxesFrame(Frame):
    """The text of one program."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.passes, self.together = True, False

    def opening(self) -> Iterator[str]:
        """Pointers, scalars, and what is beside the elements of a block."""
        yield from super().opening()
        yield f"places = at_int64({at(Header.PLACES_AT)})"
        yield f"sums = at_int64({at(Header.SUMS_AT)})"
        yield f"alongside = lanes({LANES})"
        needed: dict[str, int] = {}
        for kernel in self.program.kernels:
            kind = self.program.type_of(kernel)
            needed[kind] = max(needed.get(kind, 0), len(self.coarse(kernel)) + len(kernel.reductions))
        for kind, count in needed.items():
            buffer = {"float32": "singles", "float64": "lanes"}[kind]
            yield from (f"beside_{kind}_{i} = {buffer}({BLOCK})" for i in range(count))

    def coarse(self, kernel: Kernel) -> list[Load]:
        """What a kernel loads of coarser spaces."""
        loads, _ = blocks.loaded_here(self.program, kernel)
        return [load for load in loads if self.program.space_of(load.array) != kernel.space]

    def beside(self, kernel: Kernel, what: Load | Reduce) -> str:
        """What lies beside the elements of a block."""
        return f"beside_{self.program.type_of(kernel)}_{[*self.coarse(kernel), *kernel.reductions].index(what)}"

    def row(self) -> Iterator[str]:
        """What is known of a piece."""
        for i, name in enumerate(("tensor", "start", "across", "lines", "pitch")):
            yield f"{name} = rows[row * {PIECE_CELLS} + {i}]"

    def one_pass(self, k: int, kernel: Kernel) -> list[str]:
        """One kernel on one piece."""
        if kernel.puts:
            lines = ["if start == 0:", *indented([*self.head(kernel), *self.puts(kernel)])]
        else:
            lines = [*self.head(kernel), *self.piece(kernel)]
        return [f"if run == {k}:", *indented(lines)]

    def offset(self, array: str) -> str:
        """Pointers are to where a tensor's arrays begin."""
        return ""

    def is_narrow(self, reduce: Reduce) -> bool:
        """Whether lanes are float32."""
        wide = any(reduce in kernel.reductions for kernel in self.program.kernels if kernel.is_coarse)
        return super().is_narrow(reduce) and not wide

    def is_apart(self, kernel: Kernel) -> bool:
        """What is reduced lies beside the elements, always."""
        return False

    def piece(self, kernel: Kernel) -> Iterator[str]:
        """The loops over the lines of a piece, and their blocks."""
        spaces = spaces_of(self.program, kernel)
        for i, _ in enumerate(spaces):
            base = f"(tensor * {len(spaces)} + {i}) * 3"
            yield from (f"{name}_{i} = places[{base} + {j}]" for j, name in enumerate("abc"))
        for reduce in kernel.reductions:
            yield from self.begun(kernel, reduce)
        yield "for line in range(lines):"
        yield "    begin = start + line * pitch"
        yield f"    for block in range(0, across, {BLOCK}):"
        yield f"        width = across - block if across - block < {BLOCK} else {BLOCK}"
        yield "        first = begin + block"
        yield from indented(self.block(kernel, spaces), 2)
        for reduce in kernel.reductions:
            if isinstance(reduce.over, Space):
                yield from self.fold(reduce)

    def begun(self, kernel: Kernel, reduce: Reduce) -> Iterator[str]:
        """The start of a reduction in a piece: of all numbers that are reduced here."""
        start = literal(reduce.op.identity, "float64")
        if isinstance(reduce.over, Space):
            if self.is_narrow(reduce):
                yield f"for lane in range({LANES}):"
                yield f"    lanes_{reduce.name}[lane] = {self.type}(0.0)"
                return
            begin = literal(0.0, "float64") if reduce.op is ReduceOp.ALL_FINITE else start
            yield f"fill(lanes_{reduce.name}, {LANES}, {begin})"
            return
        own = [one for one in kernel.reductions if isinstance(one.over, Axes)]
        base = f"(row * {len(own)} + {own.index(reduce)}) * 3"
        yield f"sum_{reduce.name} = at_float64(sums[{base}])"
        yield f"for place in range(sums[{base} + 1], sums[{base} + 2]):"
        yield f"    sum_{reduce.name}[place] = {start}"

    def block(self, kernel: Kernel, spaces: list[Axes]) -> Iterator[str]:
        """The elements of a block: what lies beside them, the loop, and what is added up."""
        kind = self.program.type_of(kernel)
        for i, space in enumerate(spaces):
            loads = [load for load in self.coarse(kernel) if self.program.space_of(load.array) == space]
            if loads:
                yield from self.runs(i, (line for load in loads for line in self.laid_out(kernel, load)))
        prefix = "wide_" if kernel.is_coarse else ""
        yield from draws.filling(kernel, "begin + block", kind)
        yield from blocks.laid_out(self.program, kernel, "first", kind)
        yield "for lane in range(width):"
        yield from indented(draws.read(kernel))
        loads, lets = blocks.loaded_here(self.program, kernel)
        for load in loads:
            coarse = self.program.space_of(load.array) != kernel.space
            found = f"{self.beside(kernel, load)}[lane]" if coarse else self.taken(load, "first + lane", kind)
            yield f"    {prefix}{mangled(load.name)} = {found}"
        yield from indented(blocks.read(self.program, kernel))
        yield from indented([*print_lets(lets, kind, prefix), *self.stores(kernel, "first + lane", prefix)])
        for reduce in kernel.reductions:
            yield f"    {self.beside(kernel, reduce)}[lane] = {operand(reduce.value, kind, prefix)}"
        yield from blocks.stored(kernel, "first", kind)
        for reduce in kernel.reductions:
            if isinstance(reduce.over, Space):
                yield from self.in_lanes(kernel, reduce)
        for i, space in enumerate(spaces):
            own = [reduce for reduce in kernel.reductions if reduce.over == space]
            if own:
                yield from self.runs(i, (line for reduce in own for line in self.added_up(kernel, reduce)))

    def taken(self, load: Load, index: str, kind: str) -> str:
        """An element of an array, in the type of the kernel."""
        return cast(f"{pointer_to(load.array)}[{index}]", self.program.storage(load.array), kind)

    def runs(self, i: int, lines: Iterable[str]) -> Iterator[str]:
        """A loop over the runs of a block's elements in which numbers of a space are one, or follow one another."""
        a, b, c = f"a_{i}", f"b_{i}", f"c_{i}"
        yield f"group = first // {a} % {b}"
        yield f"left = {a} - first % {a}"
        yield f"offset = first % {c} if {c} > 1 else 0"
        yield "lane = 0"
        yield "while lane < width:"
        yield f"    length = {c} - offset if {c} > 1 else left"
        yield "    length = length if length < width - lane else width - lane"
        yield f"    place = group * {c} + offset"
        yield f"    is_row = {c} == 1"
        yield from indented(lines)
        yield "    lane += length"
        yield "    left -= length"
        yield "    offset = 0"
        yield "    if left == 0:"
        yield f"        left = {a}"
        yield f"        group = group + 1 if group + 1 < {b} else 0"

    def laid_out(self, kernel: Kernel, load: Load) -> Iterator[str]:
        """The numbers of a run, beside its elements."""
        kind = self.program.type_of(kernel)
        yield "if is_row:"
        yield f"    one_{kind} = {self.taken(load, 'place', kind)}"
        yield "    for i in range(length):"
        yield f"        {self.beside(kernel, load)}[lane + i] = one_{kind}"
        yield "else:"
        yield "    for i in range(length):"
        yield f"        {self.beside(kernel, load)}[lane + i] = {self.taken(load, 'place + i', kind)}"

    def in_lanes(self, kernel: Kernel, reduce: Reduce) -> Iterator[str]:
        """What is one number a tensor, or for all: added up in lanes, as everywhere."""
        yield f"for part in range(0, width, {LANES}):"
        yield f"    wide = width - part if width - part < {LANES} else {LANES}"
        yield "    for lane in range(wide):"
        kept = f"{self.beside(kernel, reduce)}[part + lane]"
        lanes = f"lanes_{reduce.name}[lane]"
        if reduce.op is ReduceOp.ALL_FINITE:
            yield f"        {lanes} = {lanes} + ({kept} - {kept})"
            return
        yield from indented(_joined(reduce, lanes, kept), 2)

    def added_up(self, kernel: Kernel, reduce: Reduce) -> Iterator[str]:
        """The elements of a run, added to the numbers over axes that they have."""
        kept = self.beside(kernel, reduce)
        start = literal(reduce.op.identity, "float64")
        total = f"sum_{reduce.name}"
        join = reduce.op.join
        yield "if not is_row:"
        yield "    for i in range(length):"
        yield from indented(_joined(reduce, f"{total}[place + i]", f"{kept}[lane + i]"), 2)
        yield f"elif length < {ALONG}:"
        yield f"    so_{reduce.name} = {total}[place]"
        yield "    for i in range(length):"
        yield from indented(_joined(reduce, f"so_{reduce.name}", f"{kept}[lane + i]"), 2)
        yield f"    {total}[place] = so_{reduce.name}"
        yield "else:"
        yield f"    fill(alongside, {LANES}, {start})"
        yield f"    for part in range(0, length, {LANES}):"
        yield f"        wide = length - part if length - part < {LANES} else {LANES}"
        yield "        for i in range(wide):"
        yield from indented(_joined(reduce, "alongside[i]", f"{kept}[lane + part + i]"), 3)
        yield f"    whole = fold_{join.name.lower()}(alongside, {LANES})"
        yield f"    sofar = {total}[place]"
        yield f"    {total}[place] = {expression(join, ['sofar', 'whole'], 'float64')}"


def _joined(reduce: Reduce, into: str, element: str) -> Iterator[str]:
    """An element, in float64, joined to what was before it."""
    yield f"element = float64({element})"
    if reduce.op.element is not None:
        yield f"element = {expression(reduce.op.element, ['element'], 'float64')}"
    yield f"sofar = {into}"
    yield f"{into} = {expression(reduce.op.join, ['sofar', 'element'], 'float64')}"
