"""How fast could it be? The same loads and stores of the same arrays, with an addition each instead of the rule.

The ceiling runs in the same frame, on the same rows and threads, so that it bounds what arithmetic alone costs; its
bandwidth is that of the machine for this pattern of streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen import backends
from rmsprop_jit.codegen.backends.cpu import jit
from rmsprop_jit.codegen.backends.cpu.header import Header, at
from rmsprop_jit.codegen.backends.cpu.tables import Table
from rmsprop_jit.codegen.expr import Reduction
from rmsprop_jit.codegen.functions import sum_of
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.ops import Fn, ReduceOp
from rmsprop_jit.codegen.program import Array, Kernel, Let, Load, Program, Reduce, Store
from rmsprop_jit.codegen.rows import COUNT, START, TENSOR
from rmsprop_jit.codegen.rule import GRADIENT

from .programs import arrays_of, step_program

CPU = "cpu"


def trivial(program: Program) -> Program:
    """The kernel of a program that stores, with its arithmetic replaced by sums.

    It stores what it has loaded, plus the sum of all loads times zero (which no compiler may leave out): our own steps,
    timed in turns with it, go on from honest values and not from nan, which some units work on faster.
    """
    kernel = program.last
    loaded = {load.array: load.name for load in kernel.loads}
    first, *others = loaded.values()
    lets = [Let("t0", Fn.MUL, (first, 0.0))]
    for i, name in enumerate(others, start=1):
        lets.append(Let(f"t{i}", Fn.ADD, (lets[-1].name, name)))
    lets.append(Let("nothing", Fn.MUL, (lets[-1].name, 0.0)))
    stores = []
    for i, store in enumerate(kernel.stores):
        if store.array in loaded:
            lets.append(Let(f"kept{i}", Fn.ADD, (loaded[store.array], "nothing")))
        stores.append(Store(store.array, f"kept{i}" if store.array in loaded else "nothing"))
    bare = Kernel(f"{kernel.name}.ceiling", (), (), kernel.loads, tuple(lets), tuple(stores), ())
    arrays = tuple(array for array in program.arrays if array.name in bare.arrays)
    return Program(f"{program.name}.ceiling", program.compute, arrays, (), (bare,), program.slots)


def read_source(arrays: int) -> str:
    """A pass that reads every element of so many float32 arrays a tensor, and does as little as can be done with it:
    one store a row, where a partial sum has its place, so that the loop is not left out.
    """
    start = f"rows[row * 4 + {START}] * 4"
    pointers = [
        f"values{j} = at_int64(arrays[rows[row * 4 + {TENSOR}] * {arrays} + {j}] + {start})" for j in range(arrays)
    ]
    all_of = " ^ ".join(f"values{j}[i]" for j in range(arrays))
    between = "\n            "
    return f"""
def step(table):
    arrays = at_int64({at(Header.ARRAYS_AT)})
    rows = at_int64({at(Header.ROWS_AT)})
    claims = at_int64({at(Header.CLAIMS_AT)})
    partial = at_int64({at(Header.PARTIAL_AT)})
    claim = add_shared(table, 1)
    while claim < {at(Header.CLAIMS)}:
        for row in range(claims[claim], claims[claim + 1]):
            {between.join(pointers)}
            seen = 0
            for i in range(rows[row * 4 + {COUNT}] // 2):
                seen ^= {all_of}
            partial[row] = seen
        claim = add_shared(table, 1)
"""


def read_table(arrays: Sequence[str], sizes: list[int], threads: int | None) -> Table:
    """One read of some arrays as a table: that of a sum, but with code of its own."""
    what = sum_of(GRADIENT, over="all")
    assert isinstance(what, Reduction)
    loads = tuple(Load(f"l{j}", array) for j, array in enumerate(arrays))
    reduce = Reduce("r0", ReduceOp.SUM, "l0", Space.ALL, what)
    kernel = Kernel("read", (), (), loads, (), (), (reduce,))
    program = Program("read", "float32", tuple(Array(name, "float32") for name in arrays), (), (kernel,), {})
    return Table(program, sizes, {"threads": threads}, jit.code(read_source(len(arrays))))


def ceiling_of(
    optimizer: Optimizer,
    parameters: list[Any],
    gradients: list[Any],
    threads: int | None = None,
    program: Program | None = None,
) -> Callable[[], None]:
    """The ceiling of an optimizer that has made a call, on the same arrays: the traffic of each of its passes.

    A pass that reduces is one read of what it loads. `program` is what the optimizer runs, by default as an RMSprop.
    """
    whole = program or step_program(optimizer)
    arrays = arrays_of(whole, optimizer, parameters, gradients)
    sizes = [parameter.size for parameter in parameters]
    tables: list[Any] = [
        read_table(kernel.arrays, sizes, threads)
        for kernel in whole.kernels
        if kernel is not whole.last and kernel.loads
    ]
    tables.append(backends.of(CPU).table(trivial(whole), sizes, CPU, {"threads": threads}))
    for table in tables:
        for array in table.program.arrays:
            addresses = [one.ctypes.data for one in arrays[array.name]]
            table.point(array.name, np.array(addresses, np.int64))
    launches = [backends.launch({CPU: [table]}) for table in tables]

    def ceiling(_kept_alive: object = arrays) -> None:  # tables hold bare addresses
        for launch in launches:
            launch()

    return ceiling
