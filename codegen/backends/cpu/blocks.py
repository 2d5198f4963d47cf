"""Blocks in the CPU frame: what is kept in codes, each block with its scale.

The loop over elements goes block by block: a scale is loaded once, and the largest of a block's new values is found
while they are made. They wait in a buffer; then, for some blocks at a time, what codes are made with of the largest,
and then the codes: in two loops more, for in one each block would wait for its own division. So memory is passed once,
and all loops have vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ... import dtypes
from ...ops import Fn
from ...printer import expression, indented, mangled, operand, print_lets
from ...program import Coded, Kernel, Load, Program, old
from . import draws

WORD = "uint32"

BLOCKS = draws.TOGETHER // dtypes.BLOCK
"""Of so many blocks what is made once for each is kept."""


def scales(program: Program, kernel: Kernel) -> list[Load]:
    """What a kernel loads once a block."""
    return [load for load in kernel.loads if program.arrays[program.column(load.array)].is_scale]


def loads(program: Program, kernel: Kernel) -> list[Load]:
    """What it loads of each element."""
    return [load for load in kernel.loads if load not in scales(program, kernel)]


def buffers(program: Program) -> Iterator[str]:
    """The lines that make buffers: for new values, and what is found of their blocks."""
    every = [one for kernel in program.kernels for one in kernel.blocks]
    for i in range(max(len(kernel.blocks) for kernel in program.kernels)):
        yield f"values_{i} = singles({draws.TOGETHER})"
        yield f"largest_{i} = words({BLOCKS})"
    if every:
        yield from (f"once_{i} = singles({BLOCKS})" for i in range(max(len(one.once) for one in every)))


def over(program: Program, kernel: Kernel, first: str, body: Iterable[str]) -> Iterator[str]:
    """The loop over `width` elements, of which `lane` is one: block by block, where there are any.

    first: the place of the first element behind the pointers. That may be within a block: pieces of kernels that only
    reduce are cut where their lines end.
    """
    own, loaded = kernel.blocks, scales(program, kernel)
    if not own and not loaded:
        yield from draws.over(kernel, body)
        return
    yield f"shift = ({first}) % {dtypes.BLOCK}"
    yield f"for part in range(-shift, width, {dtypes.BLOCK}):"
    for load in loaded:
        yield f"    {mangled(load.name)} = {pointer_to(load.array)}[({first} + part) // {dtypes.BLOCK}]"
    yield from (f"    {mangled(one.largest)} = {WORD}(0)" for one in own)
    yield "    begun = part if part > 0 else 0"
    yield from indented(_each(["lane = begun + k", *body]))
    yield from (f"    largest_{i}[part // {one.length}] = {mangled(one.largest)}" for i, one in enumerate(own))


def _each(body: Iterable[str]) -> Iterator[str]:
    """The loop over the elements of a block, the `k`-th of those from `begun` on.

    It is there twice: of a loop of a known number of steps, which most blocks have, LLVM makes better vectors.
    """
    lines = [*body]
    yield f"wide = (width if width - part < {dtypes.BLOCK} else part + {dtypes.BLOCK}) - begun"
    yield f"if wide == {dtypes.BLOCK}:"
    yield f"    for k in range({dtypes.BLOCK}):"
    yield from indented(lines, 2)
    yield "else:"
    yield "    for k in range(wide):"
    yield from indented(lines, 2)


def kept(kernel: Kernel, array: str, value: str, compute: str) -> Iterator[str]:
    """An element's new value, which waits for the others of its block."""
    i = [one.array for one in kernel.blocks].index(array)
    one = kernel.blocks[i]
    yield f"{mangled(one.element)} = {value}"
    yield f"values_{i}[lane] = {mangled(one.element)}"
    yield from print_lets(one.sized, compute)
    most = mangled(one.largest)
    yield f"{most} = {expression(Fn.WORD_MOST, [most, mangled(one.size)], WORD)}"


def stored(kernel: Kernel, first: str, compute: str) -> Iterator[str]:
    """The loops that store `width` elements' codes, and their scales."""
    for i, one in enumerate(kernel.blocks):
        yield f"for j in range((width + {one.length - 1}) // {one.length}):"
        yield f"    {mangled(one.largest)} = largest_{i}[j]"
        yield from indented(print_lets(one.block, compute))
        yield f"    {pointer_to(one.scale)}[{first} // {one.length} + j] = {operand(one.kept, compute)}"
        yield from (f"    once_{k}[j] = {mangled(name)}" for k, name in enumerate(one.once))
        yield f"for part in range(0, width, {one.length}):"
        yield from (f"    {mangled(name)} = once_{k}[part // {one.length}]" for k, name in enumerate(one.once))
        yield "    begun = part"
        yield from indented(_each(_code(kernel, one, f"values_{i}", first, compute)))


def _code(kernel: Kernel, one: Coded, values: str, first: str, compute: str) -> Iterator[str]:
    yield f"{mangled(one.draw)} = {draws.taken(kernel, one.draw, 'part + k')}"
    yield f"{mangled(one.element)} = {values}[part + k]"
    yield from print_lets(one.lets, compute)
    yield f"put_code({pointer_to(one.array)}, {first} + part + k, {mangled(one.code)})"


def pointer_to(array: str) -> str:
    """The name of the pointer to an array."""
    return f"ptr_{mangled(old(array))}"
