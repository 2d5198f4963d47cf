"""The CPU backend: a program as machine code, and the tables it runs on."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError
from ..expr import Reduction
from ..program import Program
from ..rows import Rows, cut
from ..schedule import Turn, schedule
from . import cpu_frame, gather, generated, native, pool
from .cpu_frame import Header
from .native import MachineCode
from .together import totals_of

if TYPE_CHECKING:
    import numpy.typing as npt

Step = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
ShortStep = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
"""The same call without releasing Python's lock, which costs more than a tiny step."""

THREADS_VARIABLE = "RMSPROP_JIT_NUM_THREADS"

CROSSOVER = 32_768
"""Steps of fewer elements run on the caller's thread alone."""

SHORT = 16_384
"""Steps of at most this many elements keep Python's lock."""


def machine_code(program: Program) -> MachineCode:
    """The compiled step of a program."""
    return generated.code(cpu_frame.source(program))


def explain(program: Program, form: str) -> str:
    """What the program becomes: "python", "llvm" or "asm"."""
    if form == "python":
        return cpu_frame.source(program)
    ir = machine_code(program).ir
    return ir if form == "llvm" else native.assembly(ir)


def vector_bits(program: Program) -> int:
    """The width of the vectors that its machine code computes with; 0 for none."""
    return native.vector_bits(explain(program, "asm"))


def new_reader(patterns: gather.Arrays) -> gather.Gatherer | None:
    """Reads the addresses of arrays like `patterns` at once; None where array objects cannot be read."""
    return gather.gatherer(patterns)


@functools.cache
def default_threads() -> int:
    """Cores that this process may use, or less if RMSPROP_JIT_NUM_THREADS says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get(THREADS_VARIABLE, "")
    if not limit:
        return cores
    if not limit.isdigit() or int(limit) < 1:
        raise OptionError(f"{THREADS_VARIABLE} must be a whole number >= 1. Received: {limit!r}.")
    return min(cores, int(limit))


class Table:
    """One program bound to a list of tensors: everything a compiled step reads, at fixed addresses.

    sizes: elements of each tensor. Fill `arrays[tensor, program.column(name)]` with addresses, `scalars` and
    `hypers[tensor]` with numbers; keep the arrays alive while the table is used. `leads` as in `rows.cut`; they are
    ignored where rows are summed, since a sum must not depend on where an array lies.
    """

    def __init__(self, program: Program, sizes: Sequence[int], leads: Sequence[int] | None = None) -> None:
        self.program = program
        self.elements = int(sum(sizes))
        self.reduced = {reduce.what: j for j, reduce in enumerate(program.reductions())}
        self.leads = None if program.reductions() else leads
        self.cut: Rows = cut(sizes, leads=self.leads)
        tensors, rows, reductions = len(sizes), len(self.cut.rows), len(program.reductions())
        claims = len(self.cut.claims) - 1
        self.arrays = np.zeros((tensors, len(program.arrays)), np.int64)
        self.scalars = np.zeros(len(program.scalars), np.float64)
        self.hypers = np.zeros((tensors, len(program.tensor_hypers)), np.float64)
        self.partial = np.zeros((rows, reductions), np.float64)
        self.own = np.zeros((tensors, reductions), np.float64)
        self.total = np.zeros(reductions, np.float64)
        self.header = np.zeros(cpu_frame.HEADER_SIZE, np.int64)
        self.header[Header.CLAIMS] = claims
        self.header[Header.TENSORS] = tensors
        self.header[Header.REDUCTIONS] = reductions
        self.folds = np.array([cpu_frame.fold_code(reduce.op) for reduce in program.reductions()], np.int64)
        self.starts = np.array([reduce.op.identity for reduce in program.reductions()], np.float64)
        for entry, array in (
            (Header.CLAIMS_AT, self.cut.claims),
            (Header.ROWS_AT, self.cut.rows),
            (Header.FIRST_AT, self.cut.first),
            (Header.ARRAYS_AT, self.arrays),
            (Header.SCALARS_AT, self.scalars),
            (Header.HYPERS_AT, self.hypers),
            (Header.PARTIAL_AT, self.partial),
            (Header.OWN_AT, self.own),
            (Header.TOTAL_AT, self.total),
            (Header.FOLDS_AT, self.folds),
            (Header.STARTS_AT, self.starts),
        ):
            self.header[entry] = array.ctypes.data
        self._at = self.header.ctypes.data
        self._entry = generated.address(cpu_frame.source(program))
        self._step = (ShortStep if self.elements <= SHORT else Step)(self._entry)
        self._combine = ShortStep(generated.address(cpu_frame.COMBINE)) if program.reductions() else None
        ends = np.cumsum([0, *(len(kernel.reductions) for kernel in program.kernels)])
        self._reductions = list(itertools.pairwise(ends.tolist()))
        self._useful = claims if self.elements >= CROSSOVER else 1

    def point(self, column: int, addresses: npt.NDArray[np.int64]) -> None:
        """Where the arrays of one name are, for each tensor."""
        self.arrays[:, column] = addresses

    def touch(self) -> None:
        """Say that numbers were written: nothing to do, kernels read them here."""

    def total_of(self, what: Reduction) -> float:
        """A reduction over all tensors of this table."""
        return float(self.total[self.reduced[what]])

    def run(self, kernel: int, threads: int) -> None:
        """One pass: kernel `kernel` over all rows, on up to `threads` threads, and what its reductions come to."""
        header = self.header
        header[Header.NEXT] = 0
        header[Header.PASS] = kernel
        helpers = min(threads, self._useful) - 1
        workers = pool.pool() if helpers > 0 else None
        if workers is None or not workers.run(self._entry, self._at, helpers):
            self._step(self._at)
        begin, end = self._reductions[kernel]
        if begin < end and self._combine is not None:
            header[Header.BEGIN], header[Header.END] = begin, end
            self._combine(self._at)


class Launch:
    """A step over several tables that belong together: reductions over all tensors run over all of them."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = list(tables)
        self.follow(schedule([table.program for table in tables]))

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in these turns, where launches of other devices take part."""
        self._turns = [(turn, [(self.tables[i], kernel) for i, kernel in turn.kernels]) for turn in turns]

    def __call__(self, threads: int | None = None) -> None:
        """Do the step on at most `threads` threads; by default on every core that this process may use."""
        most = threads or default_threads()
        for turn, work in self._turns:
            for table, kernel in work:
                table.run(kernel, most)
            if turn.joins and len(self.tables) > 1:
                for what, everyone in totals_of(self.tables, turn).items():
                    self.join(what, everyone)

    def run(self, turn: int, threads: int | None = None) -> None:
        """Run the kernels of one turn."""
        for table, kernel in self._turns[turn][1]:
            table.run(kernel, threads or default_threads())

    def totals(self, turn: int) -> dict[Reduction, float]:
        """What is reduced over all tensors of all tables when a turn is over."""
        return totals_of(self.tables, self._turns[turn][0])

    def join(self, what: Reduction, everyone: float, others: float = 0.0) -> None:
        """Give every table a reduction over all tensors (`everyone`; what others have is part of it)."""
        for table in self.tables:
            if what in table.reduced:
                table.total[table.reduced[what]] = everyone
