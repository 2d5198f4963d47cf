"""The CPU backend: a program as machine code, and the tables it runs on."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import linecache
from collections.abc import Sequence

import numpy as np

from ..expr import Scope
from ..kernel import Program
from ..rows import Rows, cut
from . import cpu_frame
from .cpu_frame import Header
from .native import MachineCode, compile_function, load

Step = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
ShortStep = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
"""The same call without releasing Python's lock, which costs more than a tiny step."""

SHORT = 16_384
"""Steps of at most this many elements keep Python's lock."""


@functools.cache
def compiled(source: str) -> MachineCode:
    """Generated Python source as machine code, compiled once for each text."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    filename = f"<rmsprop_jit step {digest}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names = _namespace()
    exec(compile(source, filename, "exec"), names)
    return compile_function(names["step"], f"step_{digest}")  # type: ignore[arg-type]


@functools.cache
def address(source: str) -> int:
    """The address of the compiled step of a source."""
    code = compiled(source)
    return load(code.object_file, code.symbol)


def _namespace() -> dict[str, object]:
    """What generated code may name."""
    import math

    import numba

    from . import intrinsics

    return {
        "float32": numba.float32,
        "float64": numba.float64,
        "INF": math.inf,
        "NAN": math.nan,
        "abs": intrinsics.fabs,
        "pow": intrinsics.power,
        **{name: getattr(intrinsics, name) for name in ("sqrt", "exp", "log", "fabs", "lanes", "add_shared")},
        **{name: getattr(intrinsics, name) for name in ("at_float32", "at_float64", "at_int64")},
    }


class Table:
    """
    One program bound to a list of tensors: everything a compiled step reads, at fixed addresses.

    sizes: elements of each tensor. Fill `arrays[tensor, program.arrays.index(name)]` with addresses, `scalars` and
    `hypers[tensor]` with numbers; keep the arrays alive while the table is used.
    """

    def __init__(self, program: Program, sizes: Sequence[int]) -> None:
        self.program = program
        self.elements = int(sum(sizes))
        self.cut: Rows = cut(sizes)
        tensors, rows, reductions = len(sizes), len(self.cut.rows), len(program.reductions())
        self.arrays = np.zeros((tensors, len(program.arrays)), np.int64)
        self.scalars = np.zeros(len(program.scalars), np.float64)
        self.hypers = np.zeros((tensors, len(program.tensor_hypers)), np.float64)
        self.partial = np.zeros((rows, reductions), np.float64)
        self.own = np.zeros((tensors, reductions), np.float64)
        self.total = np.zeros(reductions, np.float64)
        self.header = np.zeros(len(Header), np.int64)
        self.header[Header.CLAIMS] = len(self.cut.claims) - 1
        self.header[Header.TENSORS] = tensors
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
        ):
            self.header[entry] = array.ctypes.data
        self._at = self.header.ctypes.data
        entry_address = address(cpu_frame.source(program))
        self._step = (ShortStep if self.elements <= SHORT else Step)(entry_address)

    def run(self, kernel: int) -> None:
        """One pass: kernel `kernel` over all rows, and what its reductions come to."""
        header = self.header
        header[Header.NEXT] = 0
        header[Header.PASS] = kernel
        self._step(self._at)
        if self.program.kernels[kernel].reductions:
            header[Header.PASS] = -1 - kernel
            self._step(self._at)


def launch(tables: Sequence[Table]) -> None:
    """One step over several tables that belong together: reductions over all tensors run over all of them."""
    for kernel in range(max((len(table.program.kernels) for table in tables), default=0)):
        running = [table for table in tables if kernel < len(table.program.kernels)]
        for table in running:
            table.run(kernel)
        if len(running) > 1:
            _join([table for table in running if table.program.kernels[kernel].reductions], kernel)


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
