"""Blocks in the CUDA frame: what is kept in codes, each block with its scale.

A vector of codes lies in one block, and a group of threads beside one another has all of the block. The largest size
among its elements they tell one another by shuffles, and then each makes its own codes of what it still has: memory is
passed once, and nobody waits but for the rest of the group. The loop is in `step.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...dtypes import BLOCK, storage
from ...ops import Fn
from ...printer import indented, mangled, operand
from ...program import Coded, Kernel, new
from . import draws
from .layout import pointer
from .printing import expression, print_lets

WORD = "uint32"


def functions(kernel: Kernel, k: int, compute: str) -> Iterator[str]:
    """What is made of an element's size, of the largest one, and of both, for the k-th kernel."""
    for j, one in enumerate(kernel.blocks):
        once = [mangled(name) for name in one.once]
        results = [operand(one.kept, compute), *once]
        for name, arguments, lets, made in (
            ("sized", [one.element], one.sized, [mangled(one.size)]),
            ("block", [one.largest], one.block, results),
            ("code", [one.element, one.draw, *one.once], one.lets, [mangled(one.code)]),
        ):
            yield from ("@device", f"def {name}_{k}_{j}({', '.join(map(mangled, arguments))}):")
            yield from indented(print_lets(lets, compute))
            yield from (f"    return {', '.join(made)}", "", "")


def scale_at(array: str, element: str) -> str:
    """Where the scale of an element's block is; its number is counted from its tensor's start."""
    return f"all_{pointer(array)} + ({draws.BEGIN} + int64({element})) // {BLOCK} * {storage('float32').itemsize}"


def codes(kernel: Kernel, k: int, index: str, lanes: int) -> Iterator[str]:
    """The codes of a thread's elements, from `index` on; and the scales, which the first thread of a group stores."""
    for j, one in enumerate(kernel.blocks):
        yield from _codes(one, f"{k}_{j}", index, lanes)


def _codes(one: Coded, number: str, index: str, lanes: int) -> Iterator[str]:
    array = mangled(new(one.array))
    yield f"most = {WORD}(0)"
    for lane in range(lanes):
        size = f"sized_{number}(l0{lane}_{array}) if left > {lane} else {WORD}(0)"
        yield f"most = {expression(Fn.WORD_MOST, ['most', size], WORD)}"
    once = [mangled(name) for name in one.once]
    yield f"{', '.join(['scale', *once])} = block_{number}(most_of_group(most))"
    yield f"if i & {BLOCK - 1} == 0:"
    yield f"    store_float32({scale_at(one.scale, index)}, scale)"
    for lane in range(lanes):
        given = [f"l0{lane}_{array}", f"l0{lane}_{mangled(one.draw)}", *once]
        yield f"l0{lane}_code_{array} = code_{number}({', '.join(given)})"
