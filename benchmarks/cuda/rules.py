"""Every bundled rule on a GPU, in its ordinary step: beside a copy of as many bytes, and beside torch's own.

`python -m benchmarks.cuda.rules SECONDS MINUTES [RULE...]` is one process, which prints a line of JSON for each case;
after so many minutes it begins no further one. What is called the ceiling here is a copy.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from rmsprop_jit.codegen.backends.cuda import device as gpu

from .. import peers as on_cpu
from ..rows import Row, attempted, print_each
from ..rules import in_torch
from ..rules.cases import CEILING, COMPILED, GPU, SIZES, OfRule, cases_of, rules
from ..rules.measure import CHECK_STEPS, LOOSE
from ..rules.steady import Steady
from ..workloads import elements
from . import measure, peers, timing

SECONDS = 0.2
"""For each case, at most."""

CHECKED = [(1 << 14,), (33, 70)]
"""Shapes on which a GPU's updates are compared with the processor's."""


def of(names: Sequence[str]) -> list[OfRule]:
    """The cases of some rules, or of all: torch compiles nothing here, which takes it half a minute a rule."""
    found = [case for name in names or rules() for case in cases_of(name, GPU) if case.against != COMPILED]
    return sorted(found, key=lambda case: case.size)  # so that arrays serve as long as they can


@functools.lru_cache(maxsize=1)
def _arrays(which: str) -> tuple[list[Any], list[Any]]:
    """The parameters and gradients of a size; the next case of it goes on with them."""
    return measure.arrays_for(SIZES[GPU][which][1])


def measured(case: OfRule, budget: float) -> Row:
    """One case; a result that is wrong has `correct` false and no times."""
    parameters, gradients = _arrays(case.size)
    return (_beside_a_copy if case.against == CEILING else _beside_torch)(case, parameters, gradients, budget)


def _beside_a_copy(case: OfRule, parameters: list[Any], gradients: list[Any], budget: float) -> Row:
    if not _agrees(case.rule):
        return {"correct": False}
    steady, flush = Steady(case.rule), timing.Flush()
    steady.warm_up(parameters, gradients)
    step = partial(steady.optimizer.apply, gradients)
    step()
    copy = measure.copy_of(case.moved * elements(case.shapes), flush)
    timed = timing.paired(lambda: timing.by_events(step, flush), copy, budget)
    return {"correct": True, "host_s": timing.host_time(step), **timed.as_row()}


def _agrees(rule: str) -> bool:
    """Whether the GPU's first updates are near the processor's."""
    host, host_gradients = on_cpu.arrays_for(CHECKED)
    start = [one.copy() for one in host]
    device, gradients = ([gpu.cupy().asarray(one) for one in side] for side in (host, host_gradients))
    for parameters, own in ((host, host_gradients), (device, gradients)):
        steady = Steady(rule)
        for _ in range(CHECK_STEPS):
            steady.warm_up(parameters, own)
    return on_cpu.agree([one.get() for one in device], host, start)


def _beside_torch(case: OfRule, parameters: list[Any], gradients: list[Any], budget: float) -> Row:
    optimizer, is_same = in_torch.ours(case.rule)
    start = [one.get() for one in parameters]
    optimizer.build(parameters)
    theirs = in_torch.made_in_torch(case.rule, case.against, optimizer, parameters, gradients, peers.as_tensor)
    step, flush = partial(optimizer.apply, gradients), timing.Flush()
    for _ in range(CHECK_STEPS):
        theirs()
        step()
    if not on_cpu.agree([one.get() for one in parameters], theirs.values(), start, *([] if is_same else [LOOSE])):
        return {"correct": False}
    timed = timing.paired(lambda: timing.by_events(step, flush), lambda: timing.by_events(theirs, flush), budget)
    return {"correct": True, **({} if is_same else {"loosely": True}), **timed.as_row()}


def until(cases: Sequence[OfRule], budget: float, end: float) -> Iterator[Row]:
    """A row for each case; those that the time is too short for are missing."""
    for case in cases:
        if time.monotonic() > end:
            yield case.about() | {"missing": "not reached in time"}
            continue
        yield attempted(case, partial(measured, case, budget))
        gpu.cupy().get_default_memory_pool().free_all_blocks()


def main() -> None:
    """Measure."""
    budget, minutes, *names = sys.argv[1:]
    print_each(until(of(names), float(budget), time.monotonic() + 60 * float(minutes)))


if __name__ == "__main__":
    main()
