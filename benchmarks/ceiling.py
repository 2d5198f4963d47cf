"""How fast could it be? The same loads and stores of the same arrays, with one addition a load instead of the rule.

The ceiling runs in the same frame, on the same rows and threads, so that it bounds what arithmetic alone costs; its
bandwidth is that of the machine for this pattern of streams.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from rmsprop_jit.codegen.backends.cpu_frame import Header, at
from rmsprop_jit.codegen.backends.numba_cpu import Launch, Step, Table

import rmsprop_jit
from rmsprop_jit.codegen.backends import generated
from rmsprop_jit.codegen.expr import Reduction
from rmsprop_jit.codegen.functions import sum_of
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.ops import Fn, ReduceOp
from rmsprop_jit.codegen.program import Array, Kernel, Let, Load, Program, Reduce, Store
from rmsprop_jit.codegen.rule import GRADIENT


def trivial(program: Program) -> Program:
    """The last kernel of a program with its arithmetic replaced by sums; what it stores stays near what it loads."""
    kernel = program.kernels[-1]
    names = [load.name for load in kernel.loads]
    lets = [Let("t0", Fn.MUL, (names[0], 0.0))]
    for i, name in enumerate(names[1:], start=1):
        lets.append(Let(f"t{i}", Fn.ADD, (lets[-1].name, name)))
    stores = tuple(Store(store.array, lets[-1].name) for store in kernel.stores)
    bare = Kernel(f"{kernel.name}.ceiling", (), (), kernel.loads, tuple(lets), stores, ())
    arrays = tuple(array for array in program.arrays if array.name in bare.arrays)
    return Program(f"{program.name}.ceiling", program.compute, arrays, (), (bare,), program.slots)


READ = f"""
def step(table):
    arrays = at_int64({at(Header.ARRAYS_AT)})
    rows = at_int64({at(Header.ROWS_AT)})
    claims = at_int64({at(Header.CLAIMS_AT)})
    seen = 0
    claim = add_shared(table, 1)
    while claim < {at(Header.CLAIMS)}:
        for row in range(claims[claim], claims[claim + 1]):
            values = at_int64(arrays[rows[row * 4]] + rows[row * 4 + 1] * 4)
            for i in range(rows[row * 4 + 2] // 2):
                seen ^= values[i]
        claim = add_shared(table, 1)
    swap_shared(at_int64({at(Header.TOTAL_AT)}), seen)
"""
"""Reads every element of one array a tensor, and does as little as can be done with it."""


class Read(Table):
    """One read of the gradients, as a table that a Launch runs."""

    def __init__(self, sizes: list[int], addresses: npt.NDArray[np.int64]) -> None:
        what = sum_of(GRADIENT, over="all")
        assert isinstance(what, Reduction)
        reduce = Reduce("r0", ReduceOp.SUM, "g", Space.ALL, what)
        kernel = Kernel("read", (), (), (Load("g", "gradient"),), (), (), (reduce,))
        super().__init__(Program("read", "float32", (Array("gradient", "float32"),), (), (kernel,), {}), sizes)
        self.arrays[:, 0] = addresses
        self._entry = generated.address(READ)
        self._step = Step(self._entry)


def ceiling_of(optimizer: rmsprop_jit.Optimizer) -> Callable[[int | None], None]:
    """The ceiling of an optimizer that has made a step, on the same arrays: its last kernel's traffic.

    Where a norm comes first, one read of the gradients is added.
    """
    *_, plan = optimizer._plans.values()
    (bucket,) = plan.step
    program = trivial(bucket.program)
    sizes = [member.array.size for member in bucket.members]
    table = Table(program, sizes, bucket.table.leads)
    places = [bucket.program.column(array.name) for array in program.arrays]
    table.arrays[:] = bucket.table.arrays[:, places]
    update = Launch([table])
    if len(bucket.program.kernels) == 1:
        return update
    read = Launch([Read(sizes, bucket.table.arrays[:, bucket.program.column("gradient")])])

    def both(threads: int | None = None) -> None:
        read(threads)
        update(threads)

    return both
