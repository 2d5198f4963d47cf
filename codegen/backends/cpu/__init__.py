"""The CPU backend: a program as machine code, run by any number of threads on arrays in this machine's memory.

frame       a program's loops as Python source; header: the first integers of the table that it reads
claims      which of them each thread begins with, and how it takes them
intrinsics  what that source needs and Numba does not offer; strips: pointers that do not overlap
words       integers of 32 bits, as processors have them; folds: many numbers as one, in vectors
draws       random bits, by which what is stored in fewer bits is rounded; blocks: what is kept in codes
abreast     loops of which several vectors are worked on at once
worker      Numba, here or in another process; passes: which of its parts are asked
axes_frame  the same of programs with numbers over axes; pieces: how they cut tensors; axes_tables: their tables
runs        the loops that their passes share, as functions; calls: how functions of a source call each other
shares      how what pieces have added up of the same numbers is joined
settings    what Numba reads from its environment, and code depends on
llvm, jit   from LLVM IR to code in memory; found again, in memory or in the store
vectors     what became of each kernel's loop, for whoever wants to know
fixed       a small compiler for all code but loops over elements:
driver        a whole step as one call, and the helpers' loop; cells: what the integers mean that they share
guards        whether the first pass of a call is its last
reader        the addresses of many arrays at once, if each is what was expected
exchange      reading and writing state while no call is at work
numbers       the numbers of a step, where they are many; ahead: what heads make of tensors' own, for all at once
moments       the same in the driver, where a call is of another update and no more
pool        the helper threads; cores: how many, and where they run
tables      what a compiled step reads
launch      a step over tables
parted      the same where functions outside are called between its passes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...axes import Shape
from ...errors import BackendError
from ...program import Program
from ..contract import GRADIENT
from ..entries import Clock, Counts, Marks
from ..ledger import Ledger
from .exchange import copy, read, replace, turn, write
from .launch import Launch
from .reader import Reader
from .reader import reader as new_reader
from .tables import Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..contract import BackendOptions
    from .vectors import Loop

    Int64 = npt.NDArray[np.int64]

__all__ = [
    "clock",
    "copy",
    "explain",
    "is_capturing",
    "launch",
    "loops",
    "read",
    "reader",
    "replace",
    "table",
    "turn",
    "vector_bits",
    "warm",
    "write",
]

is_capturing = None


def table(
    program: Program, sizes: Sequence[int], place: str, options: BackendOptions, shapes: Sequence[Shape] = ()
) -> Table:
    """A table for NumPy arrays of these sizes; `options["threads"]` bounds the threads of its steps."""
    if not program.is_by_axes:
        return Table(program, sizes, options, shapes=shapes)
    from .axes_tables import AxesTable  # as below: a first step loads what its program wants

    return AxesTable(program, sizes, options, shapes=shapes)


def launch(
    tables: Sequence[Table],
    ledger: Ledger | None = None,
    marks: Marks | None = None,
    clock: Any = None,
    brought: Sequence[str] = GRADIENT,
) -> Launch:
    """A step over some tables."""
    if not any(table.program.scratch for table in tables):
        return Launch(tables, ledger, marks, brought)
    from .parted import Parted

    return Parted(tables, ledger, marks, brought)


def reader(variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
    """Looks at variables and gradients of theirs; None where array objects cannot be read."""
    return new_reader(variables, begins, ends)


def clock(place: str, calls: int, counts: Counts, options: BackendOptions) -> Clock:
    """Never needed: nothing is captured here."""
    raise BackendError(f"nothing is captured into a graph on a processor. Received: place={place!r}. Use a GPU.")


def choice(
    launches: Sequence[Launch], ledger: Ledger, clock: Clock, marks: Marks | None = None
) -> Callable[[Sequence[Any]], bool]:
    """Never needed: the host knows which step is due."""
    raise BackendError("a processor counts calls itself. Received: steps among which a clock chooses. Use a GPU.")


def explain(program: Program, form: str, options: BackendOptions) -> str:
    """What the program becomes: "python", "llvm" or "asm"."""
    from . import axes_frame, jit, llvm

    source = axes_frame.source(program)
    if form == "python":
        return source
    ir = jit.code(source).machine_code.ir
    return ir if form == "llvm" else llvm.assembly(ir)


def vector_bits(program: Program) -> int:
    """The width of the vectors that its machine code works with; 0 for none."""
    from . import llvm

    return llvm.vector_bits(explain(program, "llvm", {}))


def loops(program: Program) -> dict[str, Loop]:
    """For each kernel that goes over elements, by its name, what its loop does in an iteration."""
    from . import vectors

    return vectors.loops(program, explain(program, "llvm", {}))


def warm(program: Program) -> None:
    """Compile a program, so that the store has it."""
    from . import axes_frame, jit

    jit.code(axes_frame.source(program))
