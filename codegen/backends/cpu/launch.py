"""Launch: a step over tables as one compiled call, and what a call brings to it."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...program import Reduce, Space
from ..ledger import Cell, Ledger, Marks
from . import driver, jit, pool
from .driver import Join, Plan
from .tables import FOLD_CODES, Table

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import Numbers

    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]

Drive = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
ShortDrive = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
"""The same call without releasing Python's lock, which costs more than a tiny step."""

SHORT = 16_384
"""Steps of at most this many elements keep Python's lock."""

_NAMES = itertools.count(1)
"""Names of what calls bring; no two are the same, so that a plan knows what its tables hold."""


class Record:
    """What one call brings; never changed once it is made."""

    def __init__(self, gradients: Int64 | None, numbers: Float64 | None, like: Record | None) -> None:
        self.gradients, self.gradients_name = (
            (gradients, next(_NAMES))
            if gradients is not None
            else (like.gradients, like.gradients_name)
            if like is not None
            else (None, 0)
        )
        self.numbers, self.numbers_name = (
            (numbers, next(_NAMES))
            if numbers is not None
            else (like.numbers, like.numbers_name)
            if like is not None
            else (None, 0)
        )
        places = [0 if array is None else array.ctypes.data for array in (self.gradients, self.numbers)]
        self._block = np.array([self.gradients_name, places[0], self.numbers_name, places[1]], np.int64)
        self.at = int(self._block.ctypes.data)


NOTHING = Record(None, None, None)


class Launch:
    """A step over several tables that belong together: reductions over all tensors run over all of them."""

    def __init__(self, tables: Sequence[Table], ledger: Ledger | None = None, marks: Marks | None = None) -> None:
        self.tables = list(tables)
        self.depth = max((len(table.program.kernels) for table in tables), default=0)
        self._ledger = ledger or Ledger(0)
        self._kept: list[Any] = []
        self._plan = np.zeros(driver.PLAN_SIZE, np.int64)
        self._at = int(self._plan.ctypes.data)
        self._plan[Plan.LEDGER_AT], self._plan[Plan.PASSES] = self._ledger.at, self.depth
        self._plan[Plan.YIELD_AT] = pool.yield_address()
        self._lay_out_passes()
        self._lay_out_arguments()
        self._lay_out_marks(marks)
        self._helpers = max((table.helpers for table in tables), default=0)
        self._drive = self._entry(driver.DRIVE)

    def _entry(self, source: str) -> Any:
        """Compiled code of the driver; a tiny step keeps Python's lock."""
        kind = ShortDrive if sum(table.elements for table in self.tables) <= SHORT else Drive
        return kind(jit.fixed(source).address)

    def _keep(self, entry: Plan, rows: Any) -> None:
        """Put an array's address into the plan, and keep it alive."""
        array = np.ascontiguousarray(rows, dtype=np.int64)
        self._kept.append(array)
        self._plan[entry] = array.ctypes.data

    def _lay_out_passes(self) -> None:
        jobs = [[of[k] for of in (t.jobs() for t in self.tables) if k < len(of)] for k in range(self.depth)]
        self._keep(Plan.JOBS_AT, [job for each in jobs for job in each])
        self._keep(Plan.PASS_JOBS_AT, np.cumsum([0, *map(len, jobs)]))
        joins = [list(self._joins(k)) for k in range(self.depth)]
        self._keep(Plan.JOINS_AT, [join for each in joins for join in each])
        self._keep(Plan.PASS_JOINS_AT, np.cumsum([0, *map(len, joins)]))

    def _joins(self, k: int) -> Iterator[list[int]]:
        """The reductions of pass k over all tensors that several tables share."""
        for what, (reduce, cells) in self._shared(k).items():
            if len(cells) > 1:
                totals = np.array([table.total.ctypes.data + 8 * j for table, j in cells], np.int64)
                self._kept.append((what, totals))
                row = {Join.FOLD: FOLD_CODES[reduce.op.join], Join.COUNT: len(cells), Join.TOTALS_AT: totals.ctypes.data}
                yield [row[entry] for entry in Join]

    def _shared(self, k: int) -> dict[Any, tuple[Reduce, list[tuple[Table, int]]]]:
        """What pass k reduces over all tensors: how, and where each table has it."""
        found: dict[Any, tuple[Reduce, list[tuple[Table, int]]]] = {}
        for table in self.tables:
            kernels = table.program.kernels
            for reduce in kernels[k].reductions if k < len(kernels) else ():
                if reduce.over is Space.ALL:
                    found.setdefault(reduce.what, (reduce, []))[1].append((table, table.reductions.index(reduce)))
        return found

    def _lay_out_arguments(self) -> None:
        cells = [table.gradient_cells() for table in self.tables]
        self._keep(Plan.GRADIENT_CELLS_AT, np.concatenate([np.zeros(0, np.int64), *cells]))
        self._plan[Plan.GRADIENTS] = sum(map(len, cells))
        self._keep(Plan.NUMBERS_AT, [[table.numbers.ctypes.data, table.numbers.nbytes] for table in self.tables])
        self._plan[Plan.TABLES] = len(self.tables)

    def _lay_out_marks(self, marks: Marks | None) -> None:
        if marks is not None:
            positions = np.array(marks.positions, np.int64)
            self._keep(Plan.MARKS_AT, self._ledger.at + 8 * (Cell.WINDOWS + positions))
            self._plan[Plan.MARKS], self._plan[Plan.MARK] = len(positions), marks.value

    def prepared(self, gradients: Int64 | None, hypers: Numbers | None, like: Record | None = None) -> Record:
        """What a call brings: an address for each tensor of each table, and the step's numbers."""
        if hypers is None:
            numbers = None
        elif len(self.tables) == 1:
            numbers = self.tables[0].numbers_of(hypers)
        else:
            numbers = np.concatenate([np.zeros(0), *(table.numbers_of(hypers) for table in self.tables)])
        return Record(gradients, numbers, like)

    def __call__(self, prepared: Record | None = None, expected: int | None = None) -> bool:
        """Do the step, in one compiled call, and count it if the ledger stands at `expected`; else False."""
        if self._helpers:
            self._plan[Plan.BOARD_AT] = pool.pool().ready(self._helpers)
        answer = self._drive(self._at, (prepared or NOTHING).at, -1 if expected is None else expected)
        if answer == driver.TORN:
            self._ledger.refuse_torn()
        return bool(answer == driver.DONE)

    def run(self, k: int, prepared: Record | None = None) -> None:
        """One pass, as a part of a step over several places."""
        if k < self.depth:
            if self._helpers:
                self._plan[Plan.BOARD_AT] = pool.pool().ready(self._helpers)
            self._entry(driver.PASS)(self._at, (prepared or NOTHING).at, k)

    def totals(self, k: int) -> Mapping[Any, float]:
        """What pass k has reduced over all tensors, by what it reduces."""
        return {what: float(table.total[j]) for what, (_, [(table, j), *_]) in self._shared(k).items()}

    def join(self, k: int, what: Any, everyone: float, others: float) -> None:
        """Take over a reduction over the tensors of all places."""
        _, cells = self._shared(k).get(what, (None, []))
        for table, j in cells:
            table.total[j] = everyone
