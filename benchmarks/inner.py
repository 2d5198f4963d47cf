"""What does a step's arithmetic take by itself? The step's own kernels, on rows that never leave the first-level cache.

Memory and arithmetic overlap in a step, never wholly: a step takes at least the longer of its ceiling's time and this
one, and less than both together. Where a rule is short of its ceiling, this says what it is that it waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rmsprop_jit.codegen import backends
from rmsprop_jit.codegen.dtypes import storage
from rmsprop_jit.codegen.kinds import KEY, SEED, Space
from rmsprop_jit.codegen.program import Program

CPU = "cpu"
ROW = 512
"""Elements: eight float32 arrays of them are 16 KB."""

ROWS = 512


CALLS = 40


def inner_seconds(program: Program, numbers: dict[str, float]) -> float:
    """Seconds an element of one thread: the least of some calls, since whatever disturbs them makes them longer."""
    step, times = inner_of(program, numbers), []
    for _ in range(CALLS):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return min(times) / (ROW * ROWS)


def inner_of(program: Program, numbers: dict[str, float]) -> Callable[[], None]:
    """A step of ROW * ROWS elements by one thread, all rows of which are the same ROW elements."""
    rng = np.random.default_rng(1)
    table: Any = backends.of(CPU).table(program, [ROW] * ROWS, CPU, {"threads": 1})
    kept = []
    for array in program.arrays:
        alone = array.space is not Space.ELEMENT
        own = (1 + rng.random(ROWS if alone else ROW)).astype(storage(array.storage).scalar)
        first = int(own.ctypes.data)
        table.point(array.name, np.arange(ROWS) * own.itemsize + first if alone else np.full(ROWS, first, np.int64))
        kept.append(own)
    known = {**dict.fromkeys(SEED, 1.0), **numbers}
    table.set(known | {name: [float(name not in KEY)] * ROWS for name in program.tensor_hypers})
    launch = backends.launch({CPU: [table]})

    def step(_kept_alive: object = kept) -> None:  # a table holds bare addresses
        launch()

    return step
