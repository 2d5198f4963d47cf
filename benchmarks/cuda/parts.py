"""What is asked of a GPU that has not run these kernels yet: one function a question, one process a function.

`python -m benchmarks.cuda.parts NAME SECONDS` prints, as lines of JSON, each answer as soon as it is there, or why
nothing could be asked here; after so many seconds it asks nothing further. A wrong answer is an exception.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

import rmsprop_jit
from rmsprop_jit.codegen.backends.cuda import compilers, frame
from rmsprop_jit.codegen.backends.cuda import device as gpu

from .. import workloads as w
from ..machine import today, versions
from ..programs import step_program
from ..rows import attempted
from . import cases, measure, timing
from .asking import Answers, Skipped, compared, needs_a_gpu, option_set, simulated
from .row_lengths import row_lengths
from .streams import graphs, tensors

SIZES, FEW_SIZES = [0, 1, 3, 1023, 16_385], [0, 1, 3, 33]
COPY_SECONDS = 0.5
"""For each case beside a copy."""


def known() -> Answers:
    """Versions, and the device."""
    why = simulated()
    about = {"date": today(), "device": why, **versions(timing.PACKAGES)} if why else timing.device()
    yield from about.items()


def kernels() -> Answers:
    """The kernels of each option set of the benchmark, loaded; what the assembler says of their registers."""
    needs_a_gpu()
    arch, compiler = gpu.arch_of(0), compilers.choose(None)
    for case in cases.CASES:
        for kernel in frame.sources(step_program(rmsprop_jit.RMSprop(**case.options))):
            code = compilers.machine_code(kernel, compiler, arch)
            gpu.cupy().cuda.function.Module().load(code.cubin)
            yield f"{case.name}, {kernel.name}", compilers.usage(code, arch)


def parity() -> Answers:
    """Random option sets on both sides."""
    yield from _parity(3 if simulated() else 24, FEW_SIZES if simulated() else SIZES)


def small_parity() -> Answers:
    """Fewer and smaller ones: for tools under which a kernel takes a thousand times as long."""
    needs_a_gpu()
    yield from _parity(4, FEW_SIZES)


def _parity(seeds: int, sizes: list[int]) -> Answers:
    for seed in range(seeds):
        options, dtype = option_set(seed)
        rng = np.random.default_rng(seed)
        variables, *calls = ([rng.standard_normal(n).astype(dtype) for n in sizes] for _ in range(5))
        compared(options, variables, calls)
        yield "option sets", seed + 1
    yield "sizes", sizes


def norms() -> Answers:
    """The same bits twice; no overflow, no underflow; nan where the processor has it."""
    sizes = [33, 3] if simulated() else [100_003, 3, 16_385]
    numbers = {"usual": 1.0, "huge": 1e30, "tiny": 1e-30, "nan": float("nan")}
    for name in ("clipnorm", "global_clipnorm"):
        for what, number in numbers.items():
            variables, gradients = w.arrays([(n,) for n in sizes]), w.arrays([(n,) for n in sizes], seed=1)
            gradients[0] *= np.float32(number)
            once, again = (compared({**w.PLAIN, name: 0.5}, variables, [gradients] * 2) for _ in range(2))
            assert all(a.tobytes() == b.tobytes() for a, b in zip(once, again, strict=True)), f"{name}, {number}: bits"
            yield f"{name} of {what} gradients", "the same bits twice"


def copies() -> Answers:
    """Each case of the benchmark that stands beside a copy within the GPU's memory."""
    needs_a_gpu()
    for case in cases.CASES:
        if case.against == "copy":
            yield case.name, attempted(case, partial(measure.measure, case, COPY_SECONDS))


def steps() -> Answers:
    """Steps of 1e8 elements each, for a profiler to look at."""
    needs_a_gpu()
    for name, options in (
        ("plain", w.PLAIN),
        ("everything", w.EVERYTHING),
        ("norm", {**w.PLAIN, "global_clipnorm": 1.0}),
    ):
        parameters, gradients = measure.arrays_for(cases.HUGE)
        optimizer = rmsprop_jit.RMSprop(**options)
        for _ in range(2):
            optimizer.apply(gradients, parameters)
        gpu.cupy().cuda.Device().synchronize()
        yield name, "two steps"


FUNCTIONS: dict[str, Callable[[], Answers]] = {
    one.__name__: one
    for one in (known, kernels, parity, small_parity, norms, graphs, tensors, copies, row_lengths, steps)
}


def main() -> None:
    """One part: what was found, until its time is up."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    until = time.monotonic() + seconds
    try:
        for what, value in FUNCTIONS[name]():
            print(json.dumps({"found": {what: value}}), flush=True)
            if time.monotonic() >= until:
                print(json.dumps({"stopped": f"its {seconds:g} s were up: nothing was asked after {what!r}"}))
                return
    except Skipped as why:
        print(json.dumps({"skipped": str(why)}), flush=True)


if __name__ == "__main__":
    main()
