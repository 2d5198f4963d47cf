"""The CUDA frame: the threads around a kernel's body, as Python source for a CUDA compiler.

A program becomes one source with several kernels, launched in this order for each kernel k of the program:

    uniforms_k   numbers that the loop uses and that only the GPU has: sums over rows of earlier kernels, what a tensor
                 has of its own, what follows from them, in float64, rounded once; not launched where there are none
    puts_k       the tensors' own numbers, in the same way, where k puts them
    gathers_k    numbers for all tensors, by one thread, in one of the programs that make a step
    step_k       a block a row: the loop itself; it loads, computes and stores vectors of 16 bytes where it can
    join_k       where numbers are over axes, what the blocks of step_k have reduced, as one number each
    judge_0      the verdict of a guard over the rows of one table, where nobody asks the host; what writes looks at it

Numbers of the step, made on the host, come by value as arguments. In a graph, which repeats its arguments for ever, and
where there are very many, kernels are made `from_memory`: `uniforms_k` makes all numbers from what is in memory.

`step_k` of a float32 program does no arithmetic in float64. Addresses are integers and are only followed by the
functions `load_...` and `store_...`, which each compiler has its own of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ... import dtypes
from ...errors import BackendError
from ...printer import indented, mangled
from ...program import Kernel, Program
from .axes_step import AxesStep
from .folds import fold_kernel, uniforms_kernel
from .guards import judge
from .joins import Join
from .shape import BY_HOST, Shape, Ways
from .source import Blocks, KernelSource
from .step import Step
from .ticks import TICK

__all__ = ["THREADS", "TICK", "KernelSource", "Ways", "fold", "shape_of", "source", "sources"]

THREADS = 256
"""Of a block on a GPU. A constant of the source, so that sums have the same shape on every device."""


def sources(program: Program, threads: int = THREADS, ways: Ways = BY_HOST) -> list[KernelSource]:
    """All kernels of a program's step, in launch order, for blocks of so many threads.

    Raises BackendError for a type that GPUs lack here.
    """
    shape = shape_of(program, threads, ways)
    return [source for k, kernel in enumerate(program.kernels) for source in _kernels(shape, k, kernel)]


def fold(program: Program, k: int, threads: int = THREADS) -> KernelSource:
    """What the k-th kernel reduces over all tensors as numbers for the host, which joins those of several devices."""
    body = fold_kernel(shape_of(program, threads), program.kernels[k])
    arguments = ("every_row", "partial", "totals")
    return KernelSource(f"fold_{k}", _text(f"fold_{k}", arguments, body), arguments, threads, Blocks.ONE)


def shape_of(program: Program, threads: int, ways: Ways = BY_HOST) -> Shape:
    """What a program's kernels have in common. Raises BackendError for a type that GPUs lack here."""
    if dtypes.lacking(program.compute, [(array.storage, array.is_brought) for array in program.arrays]):
        raise BackendError(
            f"GPUs compute in {' or '.join(dtypes.COMPILED)} here. Received: {program.title}. "
            "Use another dtype, or the interpreter, `codegen.backends.reference`."
        )
    return Shape(program, threads, ways)


def source(program: Program) -> str:
    """All kernels of a program as one text, for people."""
    return "\n\n".join([f"# {program.title}, CUDA", *(kernel.text for kernel in sources(program))])


def _kernels(shape: Shape, k: int, kernel: Kernel) -> Iterator[KernelSource]:
    """What is launched for one kernel of the program; nothing where there would be nothing to do."""
    if shape.places(kernel) or kernel.numbered:
        name = f"{_does(kernel)}_{k}"
        arguments, numbers = _places(shape, kernel), shape.of_head(kernel)
        blocks = Blocks.TENSOR if shape.is_per_tensor(kernel) else Blocks.STEP if kernel.gathers else Blocks.ONE
        body = uniforms_kernel(shape, kernel)
        arguments, body = _guarded(shape, arguments, body, bool(kernel.numbered))
        taken = [*arguments, *(f"wide_{mangled(number)}" for number in numbers)]
        yield KernelSource(name, _text(name, taken, body), arguments, shape.threads, blocks, numbers)
    if kernel.stores or kernel.reductions:
        yield _step(shape, k, kernel)
    if shape.program.is_by_axes and kernel.reductions:
        yield _join(shape, k, kernel)
    if k == 0 and shape.ways.guarded and shape.program.guard:
        arguments = ("every_row", "partial", "verdict")
        yield KernelSource("judge_0", _text("judge_0", arguments, judge(shape)), arguments, shape.threads, Blocks.ONE)


def _step(shape: Shape, k: int, kernel: Kernel) -> KernelSource:
    """The loop over elements, or over numbers over axes."""
    is_by_axes = shape.program.is_by_axes
    name, step, numbers = f"step_{k}", (AxesStep if is_by_axes else Step)(shape, k, kernel), shape.by_value(kernel)
    arguments: tuple[str, ...] = ("pieces", "plan") if is_by_axes else ("rows",)
    arguments += ("tensors", "arrays")
    arguments += ("uniforms",) if shape.places(kernel) else ()
    arguments += ("shares" if is_by_axes else "partial",) if kernel.reductions else ()
    body = step.lines()
    arguments, body = _guarded(shape, arguments, body, bool(kernel.stores))
    text = _text(name, [*arguments, *map(mangled, numbers)], body, step.functions())
    blocks = Blocks.PIECE if is_by_axes else Blocks.ROW
    return KernelSource(name, text, arguments, shape.threads, blocks, numbers, shape.type_of(kernel).name)


def _join(shape: Shape, k: int, kernel: Kernel) -> KernelSource:
    """What the pieces of step_k have left, as numbers."""
    name, join = f"join_{k}", Join(shape, k, kernel)
    arguments: tuple[str, ...] = ("joins", "plan", "tensors", "arrays", "shares", "partial")
    arguments, body = _guarded(shape, arguments, [*join.lines()], writes=False)
    text = _text(name, arguments, body, join.functions())
    return KernelSource(name, text, arguments, shape.threads, Blocks.JOIN)


def _guarded(
    shape: Shape, arguments: tuple[str, ...], body: list[str], writes: bool
) -> tuple[tuple[str, ...], list[str]]:
    """A kernel, and what it takes: where the verdict is 0, one that writes does nothing, nor any of a step not chosen.

    A judge needs no look: of a step that is not due it can only make 0 what is 0.
    """
    if not (shape.ways.chosen or (shape.ways.guarded and writes)):
        return arguments, body
    return (*arguments, "verdict"), ["if load_int64(verdict) != 0:", *indented(body)]


def _does(kernel: Kernel) -> str:
    """What becomes of the numbers that are made between the loops."""
    return "puts" if kernel.puts else "gathers" if kernel.gathers else "uniforms"


def _places(shape: Shape, kernel: Kernel) -> tuple[str, ...]:
    """Where `uniforms_k` finds what it needs; see `tables.Table` for what is where."""
    of_all, of_tensors = shape.given_to(kernel)
    return (
        *(("tensors",) if shape.is_per_tensor(kernel) or kernel.numbers else ()),
        *(("first",) if of_tensors or kernel.puts else ()),
        *(("partial",) if of_tensors else ()),
        *(("arrays",) if kernel.numbers else ()),
        *(("peers", "others") if of_all else ()),
        *(("hypers",) if any(given.hyper for given in kernel.givens) else ()),
        *(("cells", "clock") if shape.from_memory else ()),
        "uniforms",
    )


def _text(name: str, arguments: Iterable[str], body: Iterable[str], functions: Iterable[str] = ()) -> str:
    """A kernel and the functions that it calls."""
    return "\n".join([*functions, f"def {name}({', '.join(arguments)}):", *indented(body), ""])
