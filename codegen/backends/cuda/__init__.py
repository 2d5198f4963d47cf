"""The CUDA backend: a program as kernels for NVIDIA GPUs.

frame       a program's kernels as Python source
step        the loop over a row of elements
blocks      the same where some of them are kept in codes, each block with its scale
folds       what is between the loops: sums of rows, and numbers
guards      whether what they reduce says that all is finite
shape       what all kernels of a program share
source      a kernel's source, with what it takes
launches    what a step launches, as text
tiles       how tensors are cut for kernels over axes, and where their blocks leave what they reduce
plan        the integers that say so, as source, and arithmetic with them
axes_step   the loop over a piece of elements, or of numbers over axes
joins       what blocks have left, as numbers
axes_tables what such kernels run on
layout      where the elements of arrays lie
draws       random bits, by which what is stored in fewer bits is rounded
sums        how they reduce
words       what that source may name
compilers   from source to PTX and machine code
linker      NVIDIA's, from PTX to machine code
numba_cuda_mlir, numba_cuda: each compiler's words and its way to PTX
device      the GPU through CuPy: memory, streams, launches
uploads     copies from the host
foreign     other libraries' arrays as CuPy's
torch_streams: the order of CuPy's streams and torch's
reader      the addresses of many gradients at once
columns     what many of CuPy's arrays say of themselves
tables      what the kernels run on
numbers     the step's, as arguments of kernels
launch      a step over tables
parted      the same where functions outside are called between its kernels
clock       what counts steps where the host does not
ticks       its source
copies      copies that are made where it says so
choice      a call of which the GPU does one of several steps
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ...program import Program
from ..contract import GRADIENT
from ..entries import Marks, refuse_unlike
from ..ledger import Ledger
from ..marked import Marked
from . import compilers, device, frame, launches
from .axes_tables import AxesTable
from .choice import Choice
from .clock import Clock
from .launch import Launch
from .parted import Parted
from .reader import Reader
from .tables import Table

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...axes import Shape
    from ..contract import BackendOptions, Pairs
    from ..entries import Counts, Span

    Int64 = npt.NDArray[np.int64]

__all__ = [
    "Clock",
    "choice",
    "clock",
    "copy",
    "explain",
    "is_capturing",
    "launch",
    "read",
    "reader",
    "replace",
    "table",
    "write",
]

is_capturing = device.is_capturing


READ = {"cuda": frame.source, "launches": launches.text}
TEXTS = {"mlir-cuda": compilers.mlir, "sass": compilers.sass, "ptx": lambda *which: compilers.ptx(*which).ptx}


def table(
    program: Program, sizes: Sequence[int], place: str, options: BackendOptions, shapes: Sequence[Shape] = ()
) -> Table:
    """A table for arrays of these sizes on the GPU of `place`; `options["compiler"]` chooses the compiler."""
    return (AxesTable if program.is_by_axes else Table)(program, sizes, place, options, shapes)


def launch(
    tables: Sequence[Table],
    ledger: Ledger | None = None,
    marks: Marks | None = None,
    clock: Any = None,
    brought: Sequence[str] = GRADIENT,
) -> Launch:
    """A step over some tables of one GPU."""
    made = Parted if any(table.program.scratch for table in tables) else Launch
    return made(tables, ledger, marks, clock, brought)


def reader(variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
    """Looks at gradients of variables; None where some are neither CuPy's arrays nor torch's tensors."""
    try:
        return Reader(variables, begins, ends)
    except TypeError:
        return None


def clock(place: str, calls: int, counts: Counts, options: BackendOptions) -> Clock:
    """What counts calls on the GPU, chooses among kinds of steps, and finds what was worked out ahead for each."""
    return Clock(int(place.partition(":")[2]), calls, counts, options.get("compiler"))


def choice(launches: Sequence[Launch], ledger: Ledger, clock: Clock, marks: Marks | None = None) -> Choice:
    """A call that launches several kinds of steps, of which the clock lets one be done."""
    return Choice(launches, ledger, clock, marks)


def read(ledger: Ledger, spans: Sequence[Span]) -> tuple[list[Any], int, Int64]:
    """Copies of arrays in host memory, with calls and progress; waits for the GPU."""
    ledger.refuse_held()
    copies = [device.fetch(span.array) for span in spans]
    return copies, ledger.calls, ledger.progress.copy()


@contextmanager
def _work_on(array: device.DeviceArray) -> Iterator[None]:
    """The array's device is current, and work comes in order with torch's."""
    index = device.index_of(array)
    with device.use(index), device.ordered(index):
        yield


def write(ledger: Ledger, pairs: Pairs, calls: int | None, progress: Sequence[int]) -> None:
    """Copy host arrays into arrays on a GPU, and set calls and progress if `calls` is given; torn if interrupted.

    Raises ArrayError, before anything is written, where a source has another dtype or size than its target.
    """
    refuse_unlike(pairs)
    with nullcontext() if calls is None else ledger.rewritten(calls, progress):
        for span, source in pairs:
            with _work_on(span.array):
                span.array.set(np.ascontiguousarray(source).reshape(span.array.shape))


def copy(ledger: Ledger, pairs: Sequence[tuple[Span, Span]]) -> None:
    """Copy arrays on a GPU over others; torn if interrupted. Raises OptionError while the ledger is held."""
    while True:
        with Marked(ledger, None) as is_there:
            for target, source in pairs if is_there else ():
                with _work_on(target.array):
                    target.array[...] = source.array
        if is_there:
            return
        ledger.refuse_held()


def replace(ledger: Ledger, pairs: Sequence[tuple[Span, Span]], cell: int, expected: int, value: int = 0) -> bool:
    """Copy arrays on a GPU over others and set a cell of the ledger that stands at `expected`; torn if interrupted."""
    with Marked(ledger, None):
        is_there = bool(ledger.cells[cell] == expected)
        if is_there:
            for target, source in pairs:
                with _work_on(target.array):
                    target.array[...] = source.array
            ledger.cells[cell] = value
    return is_there


def explain(program: Program, form: str, options: BackendOptions) -> str:
    """What the program becomes: "cuda" (Python), "mlir-cuda", "ptx" or "sass", for the GPU at hand or else sm_90.

    "launches" says what a step launches and copies.

    Raises BackendError where what it takes is not installed.
    """
    if form in READ:
        return READ[form](program)
    chosen, arch = compilers.choose(options.get("compiler")), device.arch_at_hand()
    title = f"// {program.name}, {program.compute}; {chosen}, sm_{arch[0]}{arch[1]}"
    return "\n".join([title, *(TEXTS[form](kernel, chosen, arch) for kernel in frame.sources(program))])
