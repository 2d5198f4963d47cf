"""The CUDA frame: the threads around a kernel's body, as Python source for a CUDA compiler.

A program becomes one source with several kernels, launched in this order for each kernel k of the program:

    uniforms_k   one block: every number that the loop uses, for each tensor, in float64, rounded once
    step_k       a block a row: the loop itself; it loads, computes and stores vectors of 16 bytes where it can
    fold_k       a block a tensor: the rows' partial results as one float64, where k reduces

`step_k` of a float32 program does no arithmetic in float64. Addresses are integers and are only followed by the
functions `load_...` and `store_...`, which each compiler has its own of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ... import dtypes
from ...errors import BackendError
from ...printer import indented
from ...program import Kernel, Program
from .folds import fold_kernel, uniforms_kernel
from .shape import Shape
from .step import Step

THREADS = 256
"""Of a block on a GPU. A constant of the source, so that sums have the same shape on every device."""

ROW_ARGUMENTS = ("rows", "tensors", "arrays", "uniforms", "partial")
FOLD_ARGUMENTS = ("first", "partial", "own")
UNIFORM_ARGUMENTS = ("tensors", "cells", "hypers", "own", "peers", "others", "uniforms", "clock")
"""What each kind of kernel takes, all int64; see `tables.Table` for what is where."""


@dataclass(frozen=True)
class KernelSource:
    """The Python source of one kernel, with the functions that it calls; equal sources are the same kernel.

    name:      of the function in `text` that is the kernel.
    arguments: what it takes, all int64.
    threads:   of each block that it is launched with; a power of two.
    """

    name: str
    text: str
    arguments: tuple[str, ...]
    threads: int


TICK = KernelSource(
    "tick",
    """def tick(clock, every):
    calls = load_float64(clock) + 1.0
    store_float64(clock, calls)
    store_float64(clock + 8, float64(floor(calls / float64(every))) + 1.0)
""",
    ("clock", "every"),
    threads=1,
)
"""Counts a call on the GPU: `clock` holds the calls made and the number of the update that the next one belongs to."""


def sources(program: Program, threads: int = THREADS) -> list[KernelSource]:
    """All kernels of a program, in launch order, for blocks of so many threads.

    Raises BackendError for a type that GPUs lack here.
    """
    if not {program.compute, *(array.storage for array in program.arrays)} <= set(dtypes.COMPILED):
        raise BackendError(
            f"GPUs compute in {' or '.join(dtypes.COMPILED)} here. Received: {program.title}. "
            "Use another dtype, or the interpreter, `codegen.backends.reference`."
        )
    shape = Shape(program, threads)
    return [source for k, kernel in enumerate(program.kernels) for source in _kernels(shape, k, kernel)]


def source(program: Program) -> str:
    """All kernels of a program as one text, for people."""
    return "\n\n".join([f"# {program.title}, CUDA", *(kernel.text for kernel in sources(program))])


def _kernels(shape: Shape, k: int, kernel: Kernel) -> Iterator[KernelSource]:
    """What is launched for one kernel of the program; nothing where there would be nothing to do."""

    def made(name: str, arguments: tuple[str, ...], body: Iterable[str], functions: Iterable[str] = ()) -> KernelSource:
        lines = [*functions, f"def {name}({', '.join(arguments)}):", *indented([*body])]
        return KernelSource(name, "\n".join([*lines, ""]), arguments, shape.threads)

    if kernel.uniforms:
        yield made(f"uniforms_{k}", UNIFORM_ARGUMENTS, uniforms_kernel(shape, kernel))
    if kernel.stores or kernel.reductions:
        step = Step(shape, k, kernel)
        yield made(f"step_{k}", ROW_ARGUMENTS, step.lines(), step.functions())
    if kernel.reductions:
        yield made(f"fold_{k}", FOLD_ARGUMENTS, fold_kernel(shape, kernel))
