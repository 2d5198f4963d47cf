"""How fast could it be? The same loads and stores of the same arrays, with one addition a load instead of the rule.

The ceiling runs in the same frame, on the same rows and threads, so that it bounds what arithmetic alone costs; its
bandwidth is that of the machine for this pattern of streams.
"""

from __future__ import annotations

import numpy as np

import rmsprop_jit
from rmsprop_jit.codegen.backends.numba_cpu import Launch, Table
from rmsprop_jit.codegen.expr import Fn
from rmsprop_jit.codegen.kernel import Kernel, Let, Program, Store


def trivial(program: Program) -> Program:
    """The last kernel of a program with its arithmetic replaced by sums; what it stores stays near what it loads."""
    kernel = program.kernels[-1]
    names = [load.name for load in kernel.loads]
    lets = [Let("sum_0", Fn.MUL, (names[0], 0.0))]
    for i, name in enumerate(names[1:], start=1):
        lets.append(Let(f"sum_{i}", Fn.ADD, (lets[-1].name, name)))
    stores = tuple(Store(store.array, lets[-1].name) for store in kernel.stores)
    bare = Kernel(f"{kernel.name}.ceiling", (), (), kernel.loads, tuple(lets), stores, ())
    return Program(f"{program.name}.ceiling", program.dtype, (), (bare,), program.slots)


def ceiling_of(optimizer: rmsprop_jit.Optimizer) -> tuple[Launch, float]:
    """The ceiling of an optimizer that has made a step, on the same arrays, and the bytes that it moves."""
    *_, plan = optimizer._plans.values()
    (bucket,) = plan.step
    program = trivial(bucket.program)
    table = Table(program, [member.array.size for member in bucket.members])
    places = [bucket.program.arrays.index(name) for name in program.arrays]
    table.arrays[:] = bucket.table.arrays[:, places]
    moved = program.kernels[0].bytes_per_element(np.dtype(program.dtype).itemsize) * table.elements
    return Launch([table]), float(moved)
