"""How fast could it be? The same loads and stores of the same arrays, with an addition each instead of the rule.

The ceiling runs in the same frame, on the same rows and threads, so that it bounds what arithmetic alone costs; its
bandwidth is that of the machine for this pattern of streams. Of numbers over axes it has as many as the step has, one
after the other: which of them an element has is arithmetic.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen import backends
from rmsprop_jit.codegen.axes import Axes, Shape, size_in
from rmsprop_jit.codegen.backends.cpu import jit
from rmsprop_jit.codegen.backends.cpu.claims import STEP, each_row
from rmsprop_jit.codegen.backends.cpu.header import Header, at
from rmsprop_jit.codegen.backends.cpu.tables import Table
from rmsprop_jit.codegen.dtypes import storage
from rmsprop_jit.codegen.expr import Reduction
from rmsprop_jit.codegen.functions import sum_of
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.ops import Fn, ReduceOp
from rmsprop_jit.codegen.program import Array, Kernel, Let, Program, Reduce, Store, made
from rmsprop_jit.codegen.rows import COUNT, START, TENSOR
from rmsprop_jit.codegen.rule import GRADIENT

from .programs import arrays_of, step_program

CPU = "cpu"

Arrays = Mapping[str, Sequence[Any]]
"""By name, one a tensor."""


def trivial(program: Program) -> Program:
    """The kernel of a program that stores, with its arithmetic replaced by sums.

    It stores what it has loaded, plus the sum of all loads times zero (which no compiler may leave out): our own steps,
    timed in turns with it, go on from honest values and not from nan, which some units work on faster.
    """
    kernel = program.last
    loaded = {load.array: load.name for load in kernel.loads}
    lets = [Let("t0", Fn.MUL, (name, 0.0)) for name in itertools.islice(loaded.values(), 1)]
    for i, name in enumerate(itertools.islice(loaded.values(), 1, None), start=1):
        lets.append(Let(f"t{i}", Fn.ADD, (lets[-1].name, name)))
    lets += [Let("nothing", Fn.MUL, (let.name, 0.0)) for let in lets[-1:]]
    nothing = "nothing" if loaded else 1.0  # zeros would be written by another function, around the cache
    stores = []
    for i, store in enumerate(kernel.stores):
        if store.array in loaded:
            lets.append(Let(f"kept{i}", Fn.ADD, (loaded[store.array], "nothing")))
        stores.append(Store(store.array, f"kept{i}" if store.array in loaded else nothing))
    bare = Kernel(f"{kernel.name}.ceiling", (), (), kernel.loads, tuple(lets), tuple(stores), ())
    arrays = tuple(array for array in program.arrays if array.name in bare.arrays)
    return Program(f"{program.name}.ceiling", program.compute, arrays, (), (bare,), program.slots)


def read_source(itemsizes: Sequence[int]) -> str:
    """A pass that reads every element of arrays of so many bytes an element, and does as little as can be done with it:
    one store a row, where a partial sum has its place, so that the loop is not left out.
    """
    arrays, smallest = len(itemsizes), min(itemsizes)
    row = f"arrays[rows[row * 4 + {TENSOR}] * {arrays}"
    pointers = [
        f"values{j} = at_int64({row} + {j}] + rows[row * 4 + {START}] * {size})" for j, size in enumerate(itemsizes)
    ]
    words = [(j, size // smallest, word) for j, size in enumerate(itemsizes) for word in range(size // smallest)]
    all_of = " ^ ".join(f"values{j}[i * {each} + {word}]" for j, each, word in words)
    loop = f"for i in range(rows[row * 4 + {COUNT}] * {smallest} // 8):"
    return row_source([*pointers, "seen = 0", loop, f"    seen ^= {all_of}"])


def row_source(lines: Sequence[str]) -> str:
    """A pass that does some lines for each row of a table, `rows[row * 4]` and what follows, of its `arrays`.

    They leave a word in `seen`, which is stored where a partial sum has its place.
    """
    each = "\n    ".join(each_row([*lines, "partial[row] = seen"]))
    return f"""
def {STEP}:
    arrays = at_int64({at(Header.ARRAYS_AT)})
    rows = at_int64({at(Header.ROWS_AT)})
    partial = at_int64({at(Header.PARTIAL_AT)})
    nothing = {at(Header.PASS)}
    {each}
"""


def row_table(program: Program, sizes: Sequence[int], source: str, threads: int | None = None) -> Table:
    """A program's arrays as a table: that of a sum, but with code of its own (see `row_source`)."""
    what = sum_of(GRADIENT, over="all")
    assert isinstance(what, Reduction)
    loads = program.last.loads
    reduce = Reduce("r0", ReduceOp.SUM, loads[0].name, Space.ALL, what)
    kernel = Kernel("read", (), (), loads, (), (), (reduce,))
    read = Program("read", program.compute, program.arrays, (), (kernel,), {})
    return Table(read, sizes, {"threads": threads}, jit.code(source))


def read_table(program: Program, sizes: Sequence[int], threads: int | None) -> Table:
    """One read of what a program's kernel loads."""
    source = read_source([storage(array.storage).itemsize for array in program.arrays])
    return row_table(program, sizes, source, threads)


def passes(program: Program, shapes: Sequence[Shape]) -> Iterator[tuple[Program, tuple[int, ...]]]:
    """What each pass loads and stores, as programs without arithmetic, and of how many numbers a tensor each is.

    Arrays of as many numbers are of one such program. What a pass reduces over axes it stores, as it does what it makes
    of nothing that was there: that goes to arrays of the ceiling's own.
    """
    for kernel in program.kernels:
        results = [Store(made(one.name), 0.0) for one in kernel.reductions if isinstance(one.over, Axes)]
        loaded = {load.array for load in kernel.loads}
        groups: dict[tuple[int, ...], dict[str, Array]] = {}
        for name in dict.fromkeys([*kernel.arrays, *(store.array for store in results)]):
            array = program.arrays[program.column(name)]
            counts = tuple(size_in(shape, array.space) for shape in shapes)
            own = name if name in loaded or array.is_made else made(name)
            groups.setdefault(counts, {})[name] = Array(own, array.storage)
        for counts, arrays in groups.items():
            loads = tuple(load for load in kernel.loads if load.array in arrays)
            stores = (store for store in (*kernel.stores, *results) if store.array in arrays)
            renamed = tuple(Store(arrays[store.array].name, store.value) for store in stores)
            moved = Kernel(kernel.name, (), (), loads, (), renamed, ())
            yield Program(program.name, program.compute, tuple(arrays.values()), (), (moved,), program.slots), counts


def traffic(
    program: Program, arrays: Arrays, shapes: Sequence[Shape], threads: int | None = None
) -> Callable[[], None]:
    """The loads and stores of all passes of a program, and next to no arithmetic; a pass that only reduces reads.

    arrays: all but the program's own, which are made here.
    """
    tables: list[Any] = []
    own: dict[str, Sequence[Any]] = {}
    for moved, counts in passes(program, shapes):
        for one in moved.arrays:
            if one.is_made and one.name not in own:
                own[one.name] = [np.ones(count, storage(one.storage).scalar) for count in counts]
        if moved.last.stores:
            tables.append(backends.of(CPU).table(trivial(moved), counts, CPU, {"threads": threads}))
        else:
            tables.append(read_table(moved, counts, threads))
    return launched(tables, {**arrays, **own})


def launched(tables: Sequence[Any], arrays: Arrays) -> Callable[[], None]:
    """One table after the other on such arrays, of which those that a program makes for itself may be left out."""
    for table in tables:
        for array in table.program.arrays:
            if array.name in arrays:
                addresses = [one.ctypes.data for one in arrays[array.name]]
                table.point(array.name, np.array(addresses, np.int64))
    launches = [backends.launch({CPU: [table]}) for table in tables]

    def run(_kept_alive: object = arrays) -> None:  # tables hold bare addresses
        for launch in launches:
            launch()

    return run


def ceiling_of(
    optimizer: Optimizer,
    parameters: list[Any],
    gradients: list[Any],
    threads: int | None = None,
    program: Program | None = None,
) -> Callable[[], None]:
    """The ceiling of an optimizer that has made a call, on the same arrays.

    program: what the optimizer runs, by default as an RMSprop.
    """
    whole = program or step_program(optimizer)
    arrays = arrays_of(whole, optimizer, parameters, gradients)
    return traffic(whole, arrays, [parameter.shape for parameter in parameters], threads)
