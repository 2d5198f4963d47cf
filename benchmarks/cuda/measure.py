"""One peer, one process: check each case's result, then time it; a line of JSON for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

import rmsprop_jit
from rmsprop_jit.codegen.backends.cuda import device as gpu

from .. import peers as on_cpu
from ..cases import Case
from ..measure import CHECK_STEPS, ours
from ..programs import step_program
from ..rows import Row, attempted, print_each
from ..sweep import MOST_TENSORS, swept
from ..timing import Paired
from ..workloads import Shapes, elements
from . import peers, timing
from .cases import CASES, COUNTS, SIZES
from .peers import Made, OnGpu

CHECKED = 1 << 20
"""At most so many elements of each tensor are compared with the processor's own kernels."""

ULPS, RELATIVE = 4, 1e-5
"""How near a GPU's step is to the processor's: in float32's last places, and, where centered, relative."""


def arrays_for(shapes: Shapes) -> tuple[list[OnGpu], list[OnGpu]]:
    """The parameters and gradients of the benchmark on the processor; the elements of large tensors repeat."""
    patterns = on_cpu.arrays_for([(min(int(np.prod(shape)), CHECKED),) for shape in shapes])
    parameters, gradients = (
        [gpu.cupy().asarray(np.resize(pattern, shape)) for pattern, shape in zip(side, shapes, strict=True)]
        for side in patterns
    )
    return parameters, gradients


def agrees_with_the_processor(case: Case, start: list[OnGpu], gradients: list[OnGpu]) -> bool:
    """One step of our kernels on a copy, on the GPU and on the processor, on the first elements of each tensor."""
    host, grads = (
        [np.ascontiguousarray(array.get().reshape(-1)[:CHECKED]) for array in side] for side in (start, gradients)
    )
    options = dict(case.options)
    device, on_gpu = [gpu.cupy().asarray(array) for array in host], [gpu.cupy().asarray(array) for array in grads]
    rmsprop_jit.RMSprop(**options).apply(grads, host)
    rmsprop_jit.RMSprop(**options).apply(on_gpu, device)
    loose = options.get("centered") or options.get("clipnorm") or options.get("global_clipnorm")
    for mine, theirs in zip(device, host, strict=True):
        error = np.abs(mine.get().astype(np.float64) - theirs)
        size = np.maximum(np.abs(theirs), options["learning_rate"])
        if np.any(error > (RELATIVE * size if loose else ULPS * np.spacing(size.astype(np.float32)))):
            return False
    return True


def measure(case: Case, budget: float) -> Row:
    """One case; a result that is wrong has `correct` false and no times."""
    parameters, gradients = arrays_for(case.shapes)
    if not agrees_with_the_processor(case, parameters, gradients):
        return {"correct": False}
    made = peers.PEERS[case.against](parameters, gradients, case.options) if case.against in peers.PEERS else None
    optimizer = rmsprop_jit.RMSprop(**case.options)
    start = [p.get() for p in parameters] if made else []
    optimizer.build(parameters)
    step = ours(case, optimizer, gradients)
    if made is not None:
        for work in (step, made.step):
            for _ in range(CHECK_STEPS):
                work()
        if not on_cpu.agree([p.get() for p in parameters], made.values(), start):
            return {"correct": False}
    timed = _timed(case, optimizer, step, made, budget)
    return {"correct": True, **timed.as_row(), **host_times(step, made, len(case.shapes))}


def host_times(step: Callable[[], object], made: Made | None, tensors: int) -> Row:
    """How long the host is busy with a call of ours, and of theirs; both with as many calls in a row.

    Peers start a kernel or more for each tensor: a queue that is full would make their host wait for the GPU.
    """
    sides = {"host_s": step} | ({"theirs_host_s": made.step} if made else {})
    calls = max(1, timing.QUEUE // tensors) if made else timing.QUEUE
    return {name: median(timing.host_time(work, calls) for _ in range(5)) for name, work in sides.items()}


def _timed(
    case: Case, optimizer: rmsprop_jit.RMSprop, step: Callable[[], object], made: Made | None, budget: float
) -> Paired:
    flush = timing.Flush()
    if case.against == "30 us":
        return timing.paired(lambda: timing.host_time(step), lambda: 30e-6, budget)
    if made is None:
        for _ in range(CHECK_STEPS):  # the first of a window, or of an average, moves other bytes than those after it
            step()
        copy = copy_of(traffic(optimizer, elements(case.shapes)), flush)
        return timing.paired(lambda: timing.by_events(step, flush), copy, budget)
    if made.wait is None:
        theirs = made.step
        return timing.paired(lambda: timing.by_events(step, flush), lambda: timing.by_events(theirs, flush), budget)
    theirs, wait = made.step, made.wait
    return timing.paired(
        lambda: timing.by_clock(step, flush, lambda: None), lambda: timing.by_clock(theirs, flush, wait), budget
    )


def traffic(optimizer: rmsprop_jit.RMSprop, count: int) -> int:
    """The fewest bytes that a step of the optimizer loads and stores for variables of so many elements in all."""
    return round(step_program(optimizer).bytes_per_element() * count)


def copy_of(nbytes: int, flush: Callable[[], object]) -> Callable[[], float]:
    """The time in which a copy within the GPU's memory moves so many bytes, half of them read, half written."""
    import cupy

    source, target = cupy.empty(nbytes // 2, cupy.uint8), cupy.empty(nbytes // 2, cupy.uint8)

    def copy() -> None:
        target.data.copy_from_device_async(source.data, nbytes // 2, cupy.cuda.get_current_stream())

    return lambda: timing.by_events(copy, flush)


def main() -> None:
    """`measure SECONDS sweep PEER`, or `measure SECONDS NUMBER...` for the cases of these numbers."""
    seconds, *rest = sys.argv[1:]
    budget = float(seconds)
    if rest[0] == "device":
        try:
            print(json.dumps(timing.device()), flush=True)
        except Exception as problem:  # no CuPy, no driver, no device: each has an error of its own
            raise SystemExit(f"{type(problem).__name__}: {problem}") from None
    elif rest[0] == "sweep":
        print_each(swept(rest[1], SIZES, COUNTS, measure, budget, MOST_TENSORS.get(rest[1], sys.maxsize)))
    else:
        cases = [CASES[int(number)] for number in rest]
        print_each(attempted(case, partial(measure, case, budget)) for case in cases)


if __name__ == "__main__":
    main()
