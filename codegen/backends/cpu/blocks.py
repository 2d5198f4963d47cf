"""Blocks in the CPU frame: what is kept in codes, each block with its scale.

The scales of some hundred elements are laid out beside them, a number each, so that the loop over these is the usual
one. What it makes new of such an array goes to a buffer; then each block's largest is found there, and its codes are
stored. So memory is passed once, and all three loops have vectors.
"""

from __future__ import annotations

from collections.abc import Iterator

from ... import dtypes
from ...ops import Fn
from ...printer import expression, indented, mangled, operand, print_lets
from ...program import Coded, Kernel, Load, Program, old
from . import draws

WORD = "uint32"


def scales_of(program: Program, kernel: Kernel) -> list[Load]:
    """What a kernel loads of scales."""
    return [load for load in kernel.loads if program.arrays[program.column(load.array)].is_scale]


def buffers(program: Program) -> Iterator[str]:
    """The lines that make buffers: for scales, and for new values."""
    for name, most in (
        ("scales", max(len(scales_of(program, kernel)) for kernel in program.kernels)),
        ("values", max(len(kernel.blocks) for kernel in program.kernels)),
    ):
        yield from (f"{name}_{i} = singles({draws.TOGETHER})" for i in range(most))


def laid_out(program: Program, kernel: Kernel, first: str) -> Iterator[str]:
    """The scales of `width` elements, of which the first is the `first` one behind the pointers."""
    loads = scales_of(program, kernel)
    if not loads:
        return
    length = dtypes.BLOCK
    yield f"for part in range(0, width, {length}):"
    yield f"    wide = width - part if width - part < {length} else {length}"
    for i, load in enumerate(loads):
        yield f"    scale = {pointer_to(load.array)}[({first} + part) // {length}]"
        yield "    for lane in range(wide):"
        yield f"        scales_{i}[part + lane] = scale"


def kept(kernel: Kernel, array: str) -> str:
    """Where the new value of an element waits for its block."""
    return f"values_{[one.array for one in kernel.blocks].index(array)}[lane]"


def stored(kernel: Kernel, first: str, compute: str) -> Iterator[str]:
    """The loops that store `width` elements' codes, and their scales."""
    for i, one in enumerate(kernel.blocks):
        yield f"for part in range(0, width, {one.length}):"
        yield f"    wide = width - part if width - part < {one.length} else {one.length}"
        yield from indented(_block(kernel, one, i, first, compute))


def _block(kernel: Kernel, one: Coded, i: int, first: str, compute: str) -> Iterator[str]:
    """A block: its largest, its scale, its codes."""
    largest, element = mangled(one.largest), f"{mangled(one.element)} = values_{i}[part + lane]"
    yield f"{largest} = {WORD}(0)"
    yield "for lane in range(wide):"
    yield from indented([element, *print_lets(one.sized, compute)])
    yield f"    {largest} = {expression(Fn.WORD_MOST, [largest, mangled(one.size)], WORD)}"
    yield from print_lets(one.block, compute)
    yield f"{pointer_to(one.scale)}[({first} + part) // {one.length}] = {operand(one.kept, compute)}"
    yield "for lane in range(wide):"
    yield f"    {mangled(one.draw)} = {draws.taken(kernel, one.draw, 'part + lane')}"
    yield from indented([element, *print_lets(one.lets, compute)])
    yield f"    {pointer_to(one.array)}[{first} + part + lane] = {operand(one.code, compute)}"


def pointer_to(array: str) -> str:
    """The name of the pointer to an array."""
    return f"ptr_{mangled(old(array))}"
