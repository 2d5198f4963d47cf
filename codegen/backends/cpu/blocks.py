"""Blocks in the CPU frame: what is kept in codes, each block with its scale.

Codes of some hundred elements are made numbers first, so that the loop over these is the usual one. What it makes new
of such an array goes to a buffer; then the largest of each block is found there, what its codes are made with of these,
and then the codes: in three loops over some blocks, for in one each block would wait for its own division. So memory is
passed once, and all loops have vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ... import dtypes
from ...ops import Fn
from ...printer import expression, indented, mangled, operand, print_lets
from ...program import Coded, Kernel, Let, Load, Program, old, scale_of
from . import draws

WORD = "uint32"

BLOCKS = draws.TOGETHER // dtypes.BLOCK
"""Of so many blocks what is made once for each is kept."""


class Decoded(NamedTuple):
    """What a kernel loads of codes: both loads, what numbers are made by, and what these are called."""

    code: Load
    scale: Load
    lets: tuple[Let, ...]
    name: str


def decoded(program: Program, kernel: Kernel) -> list[Decoded]:
    """What a kernel loads of codes."""
    loads = {load.array: load for load in kernel.loads}
    found = []
    for array in program.arrays:
        if array.is_scale and array.name in loads:
            code, scale = next(load for load in kernel.loads if scale_of(load.array) == array.name), loads[array.name]
            names, lets = {code.name, scale.name}, []
            for let in kernel.body:
                used = {arg for arg in let.args if isinstance(arg, str)}
                if scale.name in names and used and used <= names:
                    lets.append(let)
                    names.add(let.name)
                    if scale.name in used:
                        break
            found.append(Decoded(code, scale, tuple(lets), lets[-1].name))
    return found


def loaded_here(program: Program, kernel: Kernel) -> tuple[list[Load], list[Let]]:
    """What the loop over elements loads and computes itself."""
    every = decoded(program, kernel)
    loads = {load for one in every for load in (one.code, one.scale)}
    lets = {let.name for one in every for let in one.lets}
    return [load for load in kernel.loads if load not in loads], [let for let in kernel.body if let.name not in lets]


def read(program: Program, kernel: Kernel) -> Iterator[str]:
    """The numbers that codes of the element `lane` mean."""
    yield from (f"{mangled(one.name)} = loaded_{i}[lane]" for i, one in enumerate(decoded(program, kernel)))


def buffers(program: Program) -> Iterator[str]:
    """The lines that make buffers: for what was loaded, and for new values."""
    for name, most in (
        ("loaded", max(len(decoded(program, kernel)) for kernel in program.kernels)),
        ("values", max(len(kernel.blocks) for kernel in program.kernels)),
    ):
        yield from (f"{name}_{i} = singles({draws.TOGETHER})" for i in range(most))
    every = [one for kernel in program.kernels for one in kernel.blocks]
    if every:
        yield f"largest = words({BLOCKS})"
        yield from (f"once_{i} = singles({BLOCKS})" for i in range(max(len(one.once) for one in every)))


def laid_out(program: Program, kernel: Kernel, first: str, compute: str) -> Iterator[str]:
    """What codes of `width` elements mean, of which the first is the `first` one behind the pointers.

    That may be within a block: pieces of kernels that only reduce are cut where their lines end.
    """
    every = decoded(program, kernel)
    if every:
        yield f"shift = ({first}) % {dtypes.BLOCK}"
        yield f"for part in range(-shift, width, {dtypes.BLOCK}):"
        yield "    begun = part if part > 0 else 0"
        yield f"    wide = (width if width - part < {dtypes.BLOCK} else part + {dtypes.BLOCK}) - begun"
    for i, one in enumerate(every):
        yield f"    {mangled(one.scale.name)} = {pointer_to(one.scale.array)}[({first} + part) // {dtypes.BLOCK}]"
        yield "    for lane in range(wide):"
        yield f"        {mangled(one.code.name)} = {pointer_to(one.code.array)}[{first} + begun + lane]"
        yield from indented(print_lets(one.lets, compute), 2)
        yield f"        loaded_{i}[begun + lane] = {mangled(one.name)}"


def kept(kernel: Kernel, array: str) -> str:
    """Where the new value of an element waits for its block."""
    return f"values_{[one.array for one in kernel.blocks].index(array)}[lane]"


def stored(kernel: Kernel, first: str, compute: str) -> Iterator[str]:
    """The loops that store `width` elements' codes, and their scales."""
    for i, one in enumerate(kernel.blocks):
        element = f"{mangled(one.element)} = values_{i}[part + lane]"
        yield from _each(one, _largest(one, element, compute))
        yield f"for j in range((width + {one.length - 1}) // {one.length}):"
        yield f"    {mangled(one.largest)} = largest[j]"
        yield from indented(print_lets(one.block, compute))
        yield f"    {pointer_to(one.scale)}[{first} // {one.length} + j] = {operand(one.kept, compute)}"
        yield from (f"    once_{k}[j] = {mangled(name)}" for k, name in enumerate(one.once))
        yield from _each(one, _codes(kernel, one, element, first, compute))


def _each(one: Coded, lines: Iterable[str]) -> Iterator[str]:
    """A loop over blocks of `wide` elements, which begin at the `part`-th."""
    yield f"for part in range(0, width, {one.length}):"
    yield f"    wide = width - part if width - part < {one.length} else {one.length}"
    yield from indented(lines)


def _largest(one: Coded, element: str, compute: str) -> Iterator[str]:
    most = mangled(one.largest)
    yield f"{most} = {WORD}(0)"
    yield "for lane in range(wide):"
    yield from indented([element, *print_lets(one.sized, compute)])
    yield f"    {most} = {expression(Fn.WORD_MOST, [most, mangled(one.size)], WORD)}"
    yield f"largest[part // {one.length}] = {most}"


def _codes(kernel: Kernel, one: Coded, element: str, first: str, compute: str) -> Iterator[str]:
    yield from (f"{mangled(name)} = once_{k}[part // {one.length}]" for k, name in enumerate(one.once))
    yield "for lane in range(wide):"
    yield f"    {mangled(one.draw)} = {draws.taken(kernel, one.draw, 'part + lane')}"
    yield from indented([element, *print_lets(one.lets, compute)])
    yield f"    put_code({pointer_to(one.array)}, {first} + part + lane, {mangled(one.code)})"


def pointer_to(array: str) -> str:
    """The name of the pointer to an array."""
    return f"ptr_{mangled(old(array))}"
