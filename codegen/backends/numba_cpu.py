"""The CPU backend: a program as machine code, and the tables it runs on."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Sequence

import numpy as np

from ..errors import OptionError
from ..expr import Scope
from ..kernel import Program
from ..rows import Rows, cut
from . import cpu_frame, gather, generated, native, pool
from .cpu_frame import Header
from .native import MachineCode

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
    """The width of the vectors that its machine code takes roots and quotients of; 0 for none."""
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

    sizes: elements of each tensor. Fill `arrays[tensor, program.arrays.index(name)]` with addresses, `scalars` and
    `hypers[tensor]` with numbers; keep the arrays alive while the table is used. `leads` as in `rows.cut`; they are
    ignored where rows are summed, since a sum must not depend on where an array lies.
    """

    def __init__(self, program: Program, sizes: Sequence[int], leads: Sequence[int] | None = None) -> None:
        self.program = program
        self.elements = int(sum(sizes))
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
        folds = [cpu_frame.FOLD_CODES[cpu_frame.FOLDS[reduce.op]] for reduce in program.reductions()]
        self.folds = np.array(folds, np.int64)
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
        ):
            self.header[entry] = array.ctypes.data
        self._at = self.header.ctypes.data
        self._entry = generated.address(cpu_frame.source(program))
        self._step = (ShortStep if self.elements <= SHORT else Step)(self._entry)
        self._combine = ShortStep(generated.address(cpu_frame.COMBINE)) if program.reductions() else None
        ends = np.cumsum([0, *(len(kernel.reductions) for kernel in program.kernels)])
        self._reductions = list(itertools.pairwise(ends.tolist()))
        self._useful = claims if self.elements >= CROSSOVER else 1

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
        depth = max((len(table.program.kernels) for table in tables), default=0)
        self._passes = [
            (kernel, [table for table in tables if kernel < len(table.program.kernels)]) for kernel in range(depth)
        ]

    def __call__(self, threads: int | None = None) -> None:
        """Do the step on at most `threads` threads; by default on every core that this process may use."""
        most = threads or default_threads()
        for kernel, tables in self._passes:
            for table in tables:
                table.run(kernel, most)
            if len(tables) > 1:
                _join([table for table in tables if table.program.kernels[kernel].reductions], kernel)


def _join(tables: Sequence[Table], kernel: int) -> None:
    """Give every table the reductions over the tensors of all tables."""
    from ..arithmetic import COMBINE

    names = [[reduce.name for reduce in table.program.reductions()] for table in tables]
    for reduce in tables[0].program.kernels[kernel].reductions if tables else ():
        if reduce.scope is not Scope.ALL:
            continue
        places = [(table, own.index(reduce.name)) for table, own in zip(tables, names, strict=True)]
        joined = functools.reduce(COMBINE[reduce.op], (float(table.total[j]) for table, j in places))
        for table, j in places:
            table.total[j] = joined
