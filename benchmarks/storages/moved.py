"""The ceiling of a storage: the bytes that a step loads and stores, in words of 64 bits, and nothing made of them.

It runs on the same rows and threads, chunk by chunk as steps do that keep anything in blocks: what is only loaded goes
into one word, which is stored once a row, and what is stored is what was loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rmsprop_jit.codegen import backends
from rmsprop_jit.codegen.backends.cpu import jit
from rmsprop_jit.codegen.backends.cpu.header import Header, at
from rmsprop_jit.codegen.backends.cpu.tables import Table
from rmsprop_jit.codegen.dtypes import BLOCK, storage
from rmsprop_jit.codegen.expr import Reduction
from rmsprop_jit.codegen.functions import sum_of
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.ops import ReduceOp
from rmsprop_jit.codegen.program import Array, Kernel, Load, Program, Reduce
from rmsprop_jit.codegen.rows import COUNT, START, TENSOR
from rmsprop_jit.codegen.rule import GRADIENT

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
        lines.append(f"for i in range({count}):")
        lines.append(f"    {place} = {place} ^ nothing" if array.name in stored else f"    seen ^= {place}")
    between, inner = "\n            ", "\n                "
    return f"""
def step(table):
    arrays = at_int64({at(Header.ARRAYS_AT)})
    rows = at_int64({at(Header.ROWS_AT)})
    claims = at_int64({at(Header.CLAIMS_AT)})
    partial = at_int64({at(Header.PARTIAL_AT)})
    nothing = {at(Header.PASS)}
    claim = add_shared(table, 1)
    while claim < {at(Header.CLAIMS)}:
        for row in range(claims[claim], claims[claim + 1]):
            {between.join(pointers)}
            seen = 0
            for chunk in range(rows[row * 4 + {COUNT}] // {CHUNK}):
                {inner.join(lines)}
            partial[row] = seen
        claim = add_shared(table, 1)
"""


def moving(program: Program, arrays: Mapping[str, Sequence[Any]], sizes: Sequence[int]) -> Callable[[], None]:
    """The loads and stores of a program of one pass, on these arrays, by name, one a tensor."""
    what = sum_of(GRADIENT, over="all")
    assert isinstance(what, Reduction)
    loads = tuple(Load(f"l{j}", array.name) for j, array in enumerate(program.arrays))
    kernel = Kernel("moved", (), (), loads, (), (), (Reduce("r0", ReduceOp.SUM, "l0", Space.ALL, what),))
    moved = Program("moved", program.compute, program.arrays, (), (kernel,), {})
    table = Table(moved, sizes, {}, jit.code(source(program)))
    for array in program.arrays:
        table.point(array.name, np.array([one.ctypes.data for one in arrays[array.name]], np.int64))
    launch = backends.launch({"cpu": [table]})

    def run(_kept_alive: object = arrays) -> None:  # a table holds bare addresses
        launch()

    return run
