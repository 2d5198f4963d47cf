"""What does a step's arithmetic take by itself? The step's own kernels, on rows that never leave the first-level cache.

Memory and arithmetic overlap in a step, never wholly: a step takes at least the longer of its ceiling's time and this
one, and less than both together. Where a rule is short of its ceiling, this says what it is that it waits for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rmsprop_jit.codegen import backends
from rmsprop_jit.codegen.axes import Shape, size_in
from rmsprop_jit.codegen.dtypes import storage
from rmsprop_jit.codegen.kinds import KEY, SEED, Space
from rmsprop_jit.codegen.program import Program

from .ceiling import CPU, launched

ROW = 512
"""Elements: eight float32 arrays of them are 16 KB."""

ROWS = 512

LINES, TENSORS = 1 << 15, 16
"""Elements of a tensor over axes, and how many tensors. Some lines of one do not fit into the first-level cache."""

CALLS = 40


def inner_seconds(program: Program, numbers: dict[str, float], shape: Shape = (ROW,)) -> float:
    """Seconds an element of one thread: the least of some calls, since whatever disturbs them makes them longer.

    shape: of tensors that have columns; there are as many of them here as a second-level cache holds of their lines.
    """
    alike, count = ((ROW,), ROWS) if not program.is_by_axes else (_cut(shape), TENSORS)
    step, times = inner_of(program, numbers, alike, count), []
    for _ in range(CALLS):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return min(times) / (math.prod(alike) * count)


def _cut(shape: Shape) -> Shape:
    """The first lines of a tensor."""
    first, *others = shape
    return (max(1, min(first, LINES // math.prod(others))), *others)


def inner_of(program: Program, numbers: dict[str, float], shape: Shape, count: int) -> Callable[[], None]:
    """A step of so many tensors by one thread, all of which are the same elements."""
    rng = np.random.default_rng(1)
    table: Any = backends.of(CPU).table(program, [math.prod(shape)] * count, CPU, {"threads": 1}, [shape] * count)
    arrays = {}
    for array in program.arrays:
        alone = array.space in (Space.TENSOR, Space.ALL)
        own = (1 + rng.random(count if alone else size_in(shape, array.space))).astype(storage(array.storage).scalar)
        arrays[array.name] = [own[i:] for i in range(count)] if alone else [own] * count
    known = {**dict.fromkeys(SEED, 1.0), **numbers}
    table.set(known | {name: [float(name not in KEY)] * count for name in program.tensor_hypers})
    return launched([table], {name: own for name, own in arrays.items() if not name.startswith("_")})
