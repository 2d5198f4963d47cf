"""The CPU frame of programs with numbers over axes: loops over elements, or over such numbers, block by block.

A piece of work (see `pieces.py`) is some lines of a tensor. What a block's elements read of coarser spaces is laid out
beside them first, a number each, and what is reduced over axes is kept beside them and added up after: so the loop in
between is the same whatever the axes are, and is vectorised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ...axes import Axes, Over, Places
from ...kinds import Space
from ...printer import cast, expression, indented, literal, mangled, operand, print_lets
from ...program import Arg, Kernel, Load, Program, Reduce
from ..coarse import spaces_of
from . import blocks, draws, frame, runs
from .blocks import pointer_to
from .claims import STEP, each_row
from .frame import Frame
from .header import Header, at
from .runs import Shared

BLOCK = draws.TOGETHER
"""Elements of a block: a few arrays of them stay in the first-level cache."""

WORD = re.compile(r"\w+")

PIECE_CELLS = 5
"""Integers of a piece: tensor, start, width, lines, and from the start of a line to the next."""


def source(program: Program) -> str:
    """The Python source of `step` for a program. Raises BackendError for a type that processors lack."""
    return frame.source(program, AxesFrame if program.is_by_axes else Frame)


class AxesFrame(Frame):
    """The text of one program."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.passes, self.together = True, False
        self.shared: dict[str, tuple[str, ...]] = {}

    def lines(self) -> list[str]:
        """The functions that passes share, one for each pass, and the step, which calls the one that is asked for."""
        passes = [self.one_function(k, kernel) for k, kernel in enumerate(self.program.kernels)]
        lines = [f"def {STEP}:", f"    run = {at(Header.PASS)}"]
        for k, _ in enumerate(passes):
            lines += [f"    if run == {k}:", f"        {_pass(k)}"]
        return [line for text in (*self.shared.values(), *passes) for line in (*text, "")] + lines

    def one_function(self, k: int, kernel: Kernel) -> list[str]:
        """The function of one pass: what is slow of a compiler is so by the square of a function's length."""
        if kernel.gathers:
            body = [*self.head(kernel), *self.puts(kernel)]
        else:
            body = [*each_row([*self.row(), *self.one_pass(k, kernel)])]
        return [f"def {_pass(k)}:", *indented([*_needed(self.opening(), body), *body])]

    def opening(self) -> Iterator[str]:
        """Pointers, scalars, and what is beside the elements of a block."""
        yield from super().opening()
        yield f"places = {at(Header.PLACES_AT)}"
        yield f"sums = {at(Header.SUMS_AT)}"
        needed: dict[str, int] = {}
        for kernel in self.program.kernels:
            kind = self.program.type_of(kernel)
            needed[kind] = max(needed.get(kind, 0), len(self.kept(kernel)))
        for kind, count in needed.items():
            buffer = {"float32": "singles", "float64": "lanes"}[kind]
            yield from (f"beside_{kind}_{i} = {buffer}({BLOCK})" for i in range(count))

    def coarse(self, kernel: Kernel) -> list[Load]:
        """What a kernel loads of coarser spaces."""
        loads = blocks.loads(self.program, kernel)
        return [load for load in loads if self.program.space_of(load.array) != kernel.space]

    def kept(self, kernel: Kernel) -> list[Load | Arg]:
        """What is beside the elements of a block: what is loaded of coarser spaces, and what is reduced, each once."""
        return [*self.coarse(kernel), *dict.fromkeys(reduce.value for reduce in kernel.reductions)]

    def beside(self, kernel: Kernel, what: Load | Arg) -> str:
        """Where that lies."""
        return f"beside_{self.program.type_of(kernel)}_{self.kept(kernel).index(what)}"

    def row(self) -> Iterator[str]:
        """What is known of a piece."""
        for i, name in enumerate(("tensor", "start", "across", "lines", "pitch")):
            yield f"{name} = rows[row * {PIECE_CELLS} + {i}]"

    def one_pass(self, k: int, kernel: Kernel) -> list[str]:
        """One kernel on one piece."""
        if kernel.puts:
            return ["if start == 0:", *indented([*self.head(kernel), *self.puts(kernel)])]
        body = [*self.piece(kernel)]
        return [*_needed(self.head(kernel), body), *body]

    def offset(self, array: str) -> str:
        """Pointers are to where a tensor's arrays begin."""
        return ""

    def piece(self, kernel: Kernel) -> Iterator[str]:
        """The loops over the lines of a piece, and their blocks."""
        spaces = spaces_of(self.program, kernel)
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
                yield f"partial[row * {len(self.reductions)} + {self.index[reduce.name]}] = sum_{reduce.name}"

    def begun(self, kernel: Kernel, reduce: Reduce) -> Iterator[str]:
        """The start of a reduction in a piece: of all numbers that are reduced here."""
        start = literal(reduce.op.identity, "float64")
        if isinstance(reduce.over, Space):
            yield f"sum_{reduce.name} = {start}"
        else:
            yield f"{self.call(runs.begun())}({_sums(kernel, reduce)}, {start})"

    def call(self, shared: Shared) -> str:
        """The name of a function that passes share, which the program has from now on."""
        self.shared[shared.name] = shared.lines
        return shared.name

    def block(self, kernel: Kernel, spaces: list[Axes]) -> Iterator[str]:
        """The elements of a block: what lies beside them, the loop, and what is added up."""
        kind = self.program.type_of(kernel)
        for load in self.coarse(kernel):
            function = self.call(runs.laid_out(self.program.storage(load.array), kind))
            array = f"arrays[tensor * {len(self.program.arrays)} + {self.program.column(load.array)}]"
            where = _places(spaces, self.program.space_of(load.array))
            yield f"{function}({array}, {self.beside(kernel, load)}, first, width, {where})"
        prefix = "wide_" if kernel.is_coarse else ""
        yield from draws.filling(kernel, "begin + block", kind)
        lines = [*draws.read(kernel)]
        for load in blocks.loads(self.program, kernel):
            coarse = self.program.space_of(load.array) != kernel.space
            found = f"{self.beside(kernel, load)}[lane]" if coarse else self.taken(load, "first + lane", kind)
            lines.append(f"{prefix}{mangled(load.name)} = {found}")
        lines += [*print_lets(kernel.body, kind, prefix), *self.stores(kernel, "first + lane", prefix)]
        for value in dict.fromkeys(reduce.value for reduce in kernel.reductions):
            lines.append(f"{self.beside(kernel, value)}[lane] = {operand(value, kind, prefix)}")
        yield from blocks.over(self.program, kernel, "first", lines)
        yield from blocks.stored(kernel, "first", kind)
        for reduce in kernel.reductions:
            kept, total = self.beside(kernel, reduce.value), f"sum_{reduce.name}"
            if isinstance(reduce.over, Axes):
                given = f"{kept}, {_sums(kernel, reduce)}, first, width"
                yield f"{self.call(runs.added_up(reduce.op, kind))}({given}, {_places(spaces, reduce.over)})"
            else:
                yield f"whole = whole_{reduce.op.symbol}({kept}, 0, width)"
                yield f"{total} = {expression(reduce.op.join, [total, 'whole'], 'float64')}"

    def taken(self, load: Load, index: str, kind: str) -> str:
        """An element of an array, in the type of the kernel."""
        return cast(f"{pointer_to(load.array)}[{index}]", self.program.storage(load.array), kind)


def _pass(k: int) -> str:
    """A pass's function and its arguments, as it is defined and called."""
    return STEP.replace("step", f"pass_{k}")


def _needed(before: Iterable[str], body: Iterable[str]) -> list[str]:
    """The assignments of which something comes in a body, or in others that do."""
    words = {word for line in body for word in WORD.findall(line)}
    kept = []
    for line in reversed([*before]):
        if line.partition(" = ")[0] in words:
            kept.append(line)
            words.update(WORD.findall(line))
    return kept[::-1]


def _places(spaces: Sequence[Over], space: Over) -> str:
    """The address of the integers that say where a tensor's numbers of a space are."""
    return f"places + (tensor * {len(spaces)} + {spaces.index(space)}) * {8 * len(Places._fields)}"


def _sums(kernel: Kernel, reduce: Reduce) -> str:
    """The address of those that say where a piece adds up."""
    own = [one for one in kernel.reductions if isinstance(one.over, Axes)]
    return f"sums + (row * {len(own)} + {own.index(reduce)}) * 24"
