"""Launch: a step over tables as one compiled call, and what a call brings to it."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...errors import non_finite
from ...expr import Reduction
from ...memory import begin_of
from ...schedule import Turn, schedule
from ..contract import GRADIENT
from ..entries import Marks
from ..hypers import among_all, count_together, parts_of
from ..ledger import Ledger
from . import driver, guards, jit, pool
from .cells import LAUNCH_SIZE, RECORD_SIZE, GuardCell, JoinCell, LaunchCell
from .frame import fold_code
from .moments import HERE, Moments, bits_of, can_make
from .tables import Table

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import Numbers

    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]

SHORT = 16_384
"""Steps of at most this many elements keep Python's lock: to release it costs more than a tiny step."""

_NAMES = itertools.count(1)
"""Names of what calls bring; no two are the same, so that a plan knows what its tables hold."""


class Record:
    """What one call brings; never changed once it is made. What is not given is taken from `like`.

    It is a block of integers (see `RecordCell`), with the addresses of gradients behind them.

    hypers: what the numbers were computed from; `given`: that of it which tables read, where a moment may be told.
    moment: the rate and the update that its numbers are of, where they are other than those.
    """

    __slots__ = ("_block", "at", "given", "gradients", "hypers", "moment", "numbers")

    def __init__(
        self,
        gradients: Int64 | None,
        numbers: Float64 | None,
        like: Record | None = None,
        hypers: Numbers | Sequence[Numbers] | None = None,
        given: Float64 | None = None,
    ) -> None:
        block = np.empty(RECORD_SIZE + (0 if gradients is None else gradients.size), np.int64)
        self.at = begin_of(block)
        if numbers is not None or like is None:
            self.hypers, self.given, self.moment = hypers, given, HERE
        else:
            self.hypers, self.moment = like.hypers, like.moment
            self.given = like.given if given is None else given
        if gradients is not None:
            block[RECORD_SIZE:] = gradients.ravel()
            self.gradients = next(_NAMES), self.at + 8 * RECORD_SIZE, block
        else:
            self.gradients = like.gradients if like is not None else (0, 0, block)
        if numbers is not None:
            self.numbers = next(_NAMES), begin_of(numbers), numbers
        else:
            self.numbers = like.numbers if like is not None else (0, 0, NO_NUMBERS)
        given_at = 0 if self.given is None else begin_of(self.given)
        block[:RECORD_SIZE] = (*self.gradients[:2], *self.numbers[:2], given_at)
        self._block = block

    def dated(self, rate: float, update: int) -> Record:
        """The same call of another update."""
        other = object.__new__(Record)
        other.at, other._block, other.gradients, other.numbers = self.at, self._block, self.gradients, self.numbers
        other.hypers, other.given, other.moment = self.hypers, self.given, (bits_of(rate), update)
        return other


NO_NUMBERS = np.zeros(0)
NOTHING = Record(None, None)


class Launch:
    """A step over several tables that belong together: reductions over all tensors run over all of them.

    brought: the names of the arrays that calls bring, in the order of their rows of addresses.
    """

    # What does a step, and how many arguments it takes; the second is told the update and its rate.
    _driver: ClassVar = (driver.UNDATED, 3)
    _dated_driver: ClassVar = (driver.DRIVE, 5)

    def __init__(
        self,
        tables: Sequence[Table],
        ledger: Ledger | None = None,
        marks: Marks | None = None,
        brought: Sequence[str] = GRADIENT,
    ) -> None:
        self.tables = list(tables)
        count_together(self.tables)
        self._ledger = ledger or Ledger(0)
        self._kept: dict[object, Any] = {}
        self._plan = np.zeros(LAUNCH_SIZE, np.int64)
        self._at = int(self._plan.ctypes.data)
        self._plan[LaunchCell.LEDGER_AT], self._plan[LaunchCell.YIELD_AT] = self._ledger.at, pool.yield_address()
        self.follow(schedule([table.program for table in tables]))
        self._lay_out_arguments(brought)
        self._lay_out_guards(marks)
        self._shared: Mapping[str, Any] = {}
        self._lay_out_marks(marks)
        self._helpers = max((table.helpers for table in tables), default=0)
        self._drive = self._entry(*self._driver)
        self._is_told: bool | None = None  # whether compiled code makes numbers; None as long as nobody has asked

    def _entry(self, source: str, arguments: int) -> Any:
        """Compiled code of the driver; a tiny step keeps Python's lock."""
        is_short = sum(table.elements for table in self.tables) <= SHORT
        kind = (ctypes.PYFUNCTYPE if is_short else ctypes.CFUNCTYPE)(*[ctypes.c_int64] * (1 + arguments))
        return kind(jit.fixed(source).address)

    def _keep(self, entry: LaunchCell, rows: Any) -> None:
        """Put an array's address into the plan, and keep it alive."""
        array = np.ascontiguousarray(rows, dtype=np.int64)
        self._kept[entry] = array
        self._plan[entry] = array.ctypes.data

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in these turns."""
        self._turns = turns
        self._plan[LaunchCell.PASSES] = len(turns)
        rows = [table.jobs() for table in self.tables]
        jobs = [[job for i, k in turn.kernels for job in rows[i][k]] for turn in turns]
        self._keep(LaunchCell.JOBS_AT, [job for each in jobs for job in each])
        self._keep(LaunchCell.PASS_JOBS_AT, np.cumsum([0, *map(len, jobs)]))
        joins = [list(self._joins(turn)) for turn in turns]
        self._keep(LaunchCell.JOINS_AT, [join for each in joins for join in each])
        self._keep(LaunchCell.PASS_JOINS_AT, np.cumsum([0, *map(len, joins)]))

    def _joins(self, turn: Turn) -> Iterator[list[int]]:
        """For each reduction that several tables share, the entries of a `JoinCell`."""
        for what in turn.joins:
            totals = np.array([table.total_at(what) for table in self._having(what)], np.int64)
            if len(totals) > 1:
                self._kept[what] = totals
                entries = {
                    JoinCell.FOLD: fold_code(what.op),
                    JoinCell.COUNT: len(totals),
                    JoinCell.TOTALS_AT: totals.ctypes.data,
                }
                yield [entries[entry] for entry in JoinCell]

    def _having(self, what: Reduction) -> list[Table]:
        return [table for table in self.tables if what in table.reduced]

    def _lay_out_arguments(self, brought: Sequence[str]) -> None:
        cells = [table.cells_of(array) for array in brought for table in self.tables]
        self._keep(LaunchCell.GRADIENT_CELLS_AT, np.concatenate([np.zeros(0, np.int64), *cells]))
        self._plan[LaunchCell.GRADIENTS] = sum(map(len, cells))
        self._keep(LaunchCell.NUMBERS_AT, [[table.numbers.ctypes.data, table.numbers.nbytes] for table in self.tables])
        self._plan[LaunchCell.TABLES] = len(self.tables)

    def _lay_out_marks(self, marks: Marks | None) -> None:
        if marks is None:
            return
        cells, values = marks.cells(len(self._ledger.windows))
        due = [self._ledger.due_cell(i) for i in marks.due]
        self._keep(LaunchCell.MARKS_AT, np.stack([self._ledger.at + 8 * cells, values], axis=1))
        self._keep(LaunchCell.DUE_AT, self._ledger.at + 8 * np.array(due, np.int64))
        self._plan[LaunchCell.MARKS] = len(cells)
        self._plan[LaunchCell.DUE], self._plan[LaunchCell.DUE_BY] = len(due), marks.by
        self._plan[LaunchCell.ENDS_DUE] = marks.ends_due
        self._shared = marks.shared
        self._keep(LaunchCell.SHARED_AT, [begin_of(array) for array in marks.shared.values()])
        self._plan[LaunchCell.SHARED] = len(marks.shared)
        self._plan[LaunchCell.SHARED_BEGIN] = sum(table.numbers.nbytes for table in self.tables)

    def _lay_out_guards(self, marks: Marks | None) -> None:
        """What says whether all is finite, and of which variable it does where it is not."""
        found = [row for table in self.tables for row in table.guards()]
        self._keep(LaunchCell.GUARDS_AT, found)
        self._plan[LaunchCell.GUARDS] = len(found)
        self._plan[LaunchCell.SKIPS] = is_skipped = marks is None or marks.skips
        if found and marks is not None and not is_skipped:
            order = iter(marks.order)
            own = [row for table in self.tables for row in table.guards([next(order) for _ in range(table.tensors)])]
            own.sort(key=lambda row: row[GuardCell.VARIABLE])
            self._keep(LaunchCell.GUARDED_AT, own)
            self._plan[LaunchCell.GUARDED] = len(own)

    def prepared(
        self, gradients: Int64 | None, hypers: Numbers | Sequence[Numbers] | None, like: Record | None = None
    ) -> Record:
        """What a call brings: addresses of each tensor's arrays, table by table, and numbers of all or of each table.

        Slots over all, which a call with marks has, need the step's.
        """
        numbers = None
        if hypers is not None:
            pieces = [table.numbers_of(own) for table, own in parts_of(hypers, self.tables)]
            whole = hypers if isinstance(hypers, Mapping) else {}
            for new in ("", "'") if self._shared else ():
                pieces.append(np.array([whole[f"s.{name}{new}"] for name in self._shared], np.float64))
            numbers = pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0), *pieces])
        return Record(gradients, numbers, like, hypers)

    def dated(self, like: Record, rate: float, update: int) -> Record | None:
        """The same call of another update, and its rate; None where its numbers have to be prepared."""
        if like.given is None:
            if like.hypers is None or not self._makes_numbers():
                return None
            parts = parts_of(like.hypers, self.tables)
            given = [own[name] for table, own in parts for name in table.program.hypers]
            like = Record(None, None, like, given=np.array(given, np.float64))
        return like.dated(rate, update)

    def _makes_numbers(self) -> bool:
        """Whether compiled code can make the numbers of calls; it is made when that is first asked.

        That it can is said last: an interrupt, and another thread, find all of the plan's cells or go without them.
        """
        if self._is_told is None:
            able = can_make([table.program for table in self.tables], self._shared)
            made = Moments(self._at, self.tables, self._shared) if able else None
            kept: Moments | None = self._kept.setdefault(Moments, made)
            self._drive_dated = self._entry(*self._dated_driver)
            for cell, value in () if kept is None else kept.cells.items():
                self._plan[cell] = value  # the same, whichever thread
            self._is_told = kept is not None
        return self._is_told

    def __call__(self, prepared: Record | None = None, expected: int | None = None) -> bool:
        """Do the step, in one compiled call, and count it if the ledger stands at `expected`; else False."""
        if self._helpers:
            self._plan[LaunchCell.BOARD_AT] = pool.pool().ready(self._helpers)
        record = prepared or NOTHING
        moment, expected = record.moment, -1 if expected is None else expected
        if moment is HERE:
            answer = self._drive(self._at, record.at, expected)
        else:
            answer = self._drive_dated(self._at, record.at, expected, *moment)
        return answer == driver.DONE or self._answered(answer)

    def _answered(self, answer: int) -> bool:
        """Whether a call that was not done is over, and counted as skipped. Raises what else the driver answers."""
        if answer == driver.TORN:
            self._ledger.refuse_torn()
        if answer < 0:
            raise non_finite(-1 - answer)
        return bool(answer == guards.SKIPPED)

    def send(self, hypers: Numbers) -> None:
        """Numbers for the next step without a record."""
        for table, own in parts_of(hypers, self.tables):
            table.set(own)

    def run(self, turn: int, prepared: Record | None = None) -> None:
        """One turn, as a part of a step over several places."""
        if self._helpers:
            self._plan[LaunchCell.BOARD_AT] = pool.pool().ready(self._helpers)
        self._entry(driver.PASS, 3)(self._at, (prepared or NOTHING).at, turn)

    def take(self, turn: int) -> None:
        """Call the functions outside that a turn has stored elements for."""
        for i, k in self._turns[turn].detours([table.program for table in self.tables]):
            self.tables[i].take(k)

    @property
    def turns(self) -> int:
        """How many turns a step takes."""
        return len(self._turns)

    def refused(self) -> list[int]:
        """The tensors that a guard refuses, when the first turn is over."""
        return among_all([table.tensors for table in self.tables], [table.refused() for table in self.tables])

    def totals(self, turn: int) -> Mapping[Reduction, float]:
        """What is reduced over all tensors of these tables when a turn is over."""
        found = {what: self._having(what) for what in self._turns[turn].joins}
        return {what: tables[0].total_of(what) for what, tables in found.items() if tables}

    def join(self, what: Reduction, everyone: float, others: float) -> None:
        """Take over a reduction over the tensors of all places."""
        for table in self._having(what):
            table.total[table.reduced[what]] = everyone
