"""Table: a program bound to arrays in this machine's memory, all that a compiled step reads at fixed addresses."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from ...axes import Shape
from ...dtypes import storage
from ...errors import OptionError
from ...expr import Reduction
from ...kinds import Space
from ...ops import ReduceOp, refuses
from ...program import Program
from ...rows import COUNT, Rows, cut
from ..detours import Detours, Lent
from . import ahead, axes_frame, claims, frame, jit
from .cells import MAX_HELPERS
from .cores import cores
from .header import Header
from .numbers import numbers

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import BackendOptions, Numbers
    from .ahead import Filling
    from .llvm import Code
    from .numbers import Function

    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]

THREADS_VARIABLE = "RMSPROP_JIT_NUM_THREADS"

CROSSOVER = 32_768
"""Steps of fewer elements run on the caller's thread alone."""

NEVER = -1
"""The bits of a nan, which is not finite, whatever its bits."""

CACHE_LINE = 64
"""Bytes. Rows begin where vectors of the parameter do not straddle cache lines."""


@functools.cache
def default_threads() -> int:
    """Cores that this process may use, or less if RMSPROP_JIT_NUM_THREADS says so."""
    given = os.environ.get(THREADS_VARIABLE, "")
    if not given:
        return cores()
    try:
        limit = int(given)
    except ValueError:
        limit = 0
    if limit < 1:
        raise OptionError(f"{THREADS_VARIABLE} must be a whole number >= 1. Received: {given!r}.")
    return min(cores(), limit)


def _printed(program: Program) -> tuple[str, Function, Filling | None]:
    """The source of a program's step, and the functions that compute its scalars and what is ahead of its heads."""
    return axes_frame.source(program), numbers(program), ahead.filling(program)


class Table:
    """One program bound to tensors of `sizes` elements: all that a compiled step reads, at fixed addresses.

    code: what runs in place of the program's own code.
    """

    def __init__(
        self,
        program: Program,
        sizes: Sequence[int],
        options: BackendOptions,
        code: Code | None = None,
        shapes: Sequence[Shape] = (),
    ) -> None:
        self.program = program
        self.sizes, self.tensors, self.shapes = sizes, len(sizes), shapes
        self.elements = int(sum(sizes))
        self.counts: Numbers = {}
        self.reductions = program.reduced
        self.reduced = {reduce.what: j for j, reduce in enumerate(self.reductions)}
        self.threads = options.get("threads") or default_threads()
        source, self._scalars, self._fill = program.memo("cpu", lambda: _printed(program))
        self.code = code or jit.code(source)
        tensors, scalars = self.tensors, len(program.scalars)
        self.arrays = np.zeros((tensors, len(program.arrays)), np.int64)
        own = len(program.tensor_hypers) + len(ahead.ahead_of(program).columns)
        self.numbers = np.zeros(scalars + tensors * own, np.float64)
        self.hypers = self.numbers[scalars:].reshape(own, tensors) if own else None
        self.own = np.zeros((tensors, len(self.reductions)), np.float64)
        self.total = np.zeros(len(self.reductions), np.float64)
        self._header: Int64 | None = None
        self._kept: list[object] = []

    def point(self, array: str, addresses: Int64) -> None:
        """Where the arrays of one name lie, for each tensor. Parameters are pointed to before the first launch."""
        self.arrays[:, self.program.column(array)] = addresses

    def lend(self, lent: Lent, names: Sequence[str]) -> None:
        """Say what functions outside are given, which are scratch arrays that it is pointed to, and whose it is."""
        self._detours = Detours(self.program, lent, names)

    def take(self, k: int) -> None:
        """Call the functions that the k-th kernel has stored elements for."""
        scalars = self.program.scalars
        numbers = dict(zip(scalars, self.numbers[: len(scalars)].tolist(), strict=True))
        self._detours.take(self.program.kernels[k], numbers)

    def set(self, hypers: Numbers) -> None:
        """Put the step's numbers into the table."""
        self.numbers[:] = self.numbers_of(hypers)

    def numbers_of(self, hypers: Numbers) -> Float64:
        """What a table keeps of hyperparameters: the program's scalars, the tensors' own, and what is ahead."""
        scalars: Float64 = self._scalars(cast("Mapping[str, float]", hypers))  # it reads those of the step
        if self.hypers is None:
            return scalars
        whole = np.empty(self.numbers.shape, np.float64)
        whole[: len(scalars)] = scalars
        own = whole[len(scalars) :].reshape(self.hypers.shape)
        for row, name in zip(own, self.program.tensor_hypers, strict=False):
            row[:] = hypers[name]
        if self._fill is not None:
            self._fill(scalars, own)
        return whole

    @property
    def at(self) -> int:
        """Where the table's header is; made when it is first asked for, since rows begin where parameters do."""
        if self._header is None:
            self._header = self._new_header()
        return int(self._header.ctypes.data)

    def _new_header(self) -> Int64:
        self.cut: Rows = cut(self.sizes, leads=self._leads())
        return self.header_of(self.cut, self.cut.rows[:, COUNT], self.helpers)

    def header_of(self, rows: Rows, counts: Int64, helpers: int) -> Int64:
        """The header of passes over such rows, of so many elements each, with as many helpers."""
        partial = np.zeros((len(rows.rows), len(self.reductions)), np.float64)
        folds = np.array([frame.fold_code(reduce.op) for reduce in self.reductions], np.int64)
        starts = np.array([reduce.op.identity for reduce in self.reductions], np.float64)
        header = claims.header(np.concatenate([[0], np.cumsum(counts)])[rows.claims], 1 + helpers)
        header[Header.TENSORS] = self.tensors
        header[Header.REDUCTIONS] = len(self.reductions)
        for entry, array in (
            (Header.CLAIMS_AT, rows.claims),
            (Header.ROWS_AT, rows.rows),
            (Header.FIRST_AT, rows.first),
            (Header.ARRAYS_AT, self.arrays),
            (Header.SCALARS_AT, self.numbers),
            (Header.HYPERS_AT, self.numbers if self.hypers is None else self.hypers),
            (Header.PARTIAL_AT, partial),
            (Header.OWN_AT, self.own),
            (Header.TOTAL_AT, self.total),
            (Header.FOLDS_AT, folds),
            (Header.STARTS_AT, starts),
        ):
            header[entry] = array.ctypes.data
        self._kept += [partial, folds, starts, *rows]
        return header

    def _leads(self) -> list[int] | None:
        """How far into its cache line each tensor begins; None where rows are summed: sums must not depend on it.

        A parameter and its slots lie alike (see the homes of arrays), so one of them speaks for all.
        """
        kept = [array for array in self.program.arrays if not array.is_brought and array.space is Space.ELEMENT]
        are_blocks = self.program.is_coded  # rows begin where they do
        if are_blocks or any(reduce.op is not ReduceOp.ALL_FINITE for reduce in self.reductions) or not kept:
            return None
        itemsize = storage(kept[0].storage).itemsize
        addresses = self.arrays[:, self.program.column(kept[0].name)]
        return [address % CACHE_LINE // itemsize for address in addresses.tolist()]

    @property
    def helpers(self) -> int:
        """How many threads can help, beside the caller's."""
        return self.helping(self.elements, len(self.cut.claims) - 1)

    def helping(self, elements: int, claims: int) -> int:
        """How many threads can help with so much work."""
        useful = claims if elements >= CROSSOVER else 1
        return max(0, min(self.threads, useful, 1 + MAX_HELPERS) - 1)

    @property
    def ends(self) -> list[tuple[int, int]]:
        """Of each pass the first of the reductions to one number, and the one behind the last."""
        counts = [sum(reduce in self.reductions for reduce in kernel.reductions) for kernel in self.program.kernels]
        return list(itertools.pairwise(np.cumsum([0, *counts]).tolist()))

    def jobs(self) -> list[list[list[int]]]:
        """For each pass its jobs, one after the other: the entries of a `JobCell`."""
        at = self.at
        return [
            [[self.code.address, at, k, 0 if self.program.kernels[k].gathers else self.helpers, begin, end]]
            for k, (begin, end) in enumerate(self.ends)
        ]

    def cells_of(self, array: str) -> Int64:
        """Where the address of each tensor's array of this name goes; 0 if the program reads none."""
        if array not in self.program.brought:
            return np.zeros(self.tensors, np.int64)
        begin = self.arrays.ctypes.data + 8 * self.program.column(array)
        return begin + np.arange(self.tensors, dtype=np.int64) * self.arrays.strides[0]

    def guards(self, variables: Sequence[int] | None = None) -> list[list[int]]:
        """The entries of a `GuardCell` over all tensors, or over each, of its variable; none without guard."""
        guard = self.program.guarding
        if guard is None:
            return []
        refused = 0 if guard.op is ReduceOp.ALL_FINITE else NEVER
        if variables is None:
            return [[self.total_at(guard.what), refused, 0]]
        begin = int(self.own.ctypes.data) + 8 * self.reduced[guard.what]
        return [[begin + i * self.own.strides[0], refused, variable] for i, variable in enumerate(variables)]

    def refused(self) -> list[int]:
        """The tensors that the program's guard refuses."""
        guard = self.program.guarding
        own = [] if guard is None else self.own[:, self.reduced[guard.what]].tolist()
        return [i for i, value in enumerate(own) if guard is not None and refuses(guard.op, value)]

    def total_at(self, what: Reduction) -> int:
        """Where a reduction over all tensors is kept."""
        return int(self.total.ctypes.data) + 8 * self.reduced[what]

    def total_of(self, what: Reduction) -> float:
        """A reduction over all tensors of this table."""
        return float(self.total[self.reduced[what]])
