"""The ceiling of a storage: the bytes that a step loads and stores, in words of 64 bits, and nothing made of them.

It runs on the same rows and threads, chunk by chunk as steps do that keep anything in blocks: what is only loaded goes
into one word, which is stored once a row, and what is stored is what was loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rmsprop_jit.codegen.dtypes import BLOCK, storage
from rmsprop_jit.codegen.program import Array, Program
from rmsprop_jit.codegen.rows import COUNT, START, TENSOR

from ..ceiling import launched, row_source, row_table

CHUNK = 2 * BLOCK
"""Elements: two scales are a word."""

WORD = 8


def _bytes_of(array: Array) -> float:
    """What an element has of an array."""
    return storage(array.storage).itemsize / (BLOCK if array.is_scale else 1)


def source(program: Program) -> str:
    """A pass over a program's arrays; elements behind a tensor's last whole chunk are left out."""
    kernel, columns = program.last, len(program.arrays)
    stored = {store.array for store in kernel.stores} | {one.scale for one in kernel.blocks}
    where = f"rows[row * 4 + {TENSOR}] * {columns}"
    pointers, lines = [], []
    for j, array in enumerate(program.arrays):
        start = f"rows[row * 4 + {START}] // {BLOCK} * {int(BLOCK * _bytes_of(array))}"
        pointers.append(f"words{j} = at_int64(arrays[{where} + {j}] + {start})")
        count = int(CHUNK * _bytes_of(array)) // WORD
        place = f"words{j}[chunk * {count} + i]"
        lines.append(f"    for i in range({count}):")
        lines.append(f"        {place} = {place} ^ nothing" if array.name in stored else f"        seen ^= {place}")
    return row_source([*pointers, "seen = 0", f"for chunk in range(rows[row * 4 + {COUNT}] // {CHUNK}):", *lines])


def moving(program: Program, arrays: Mapping[str, Sequence[Any]], sizes: Sequence[int]) -> Callable[[], None]:
    """The loads and stores of a program of one pass, on these arrays, by name, one a tensor."""
    return launched([row_table(program, sizes, source(program))], arrays)
