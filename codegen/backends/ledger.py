"""Ledger: what has happened to an optimizer, in memory that compiled code reads and writes.

A call takes the ledger's word, works, counts itself and gives the word back, all in compiled code: a signal finds it
done or not begun, and another thread's call comes before or after it. Where Python must run between parts that write
(arrays on a GPU, several devices), the call leaves a mark while it works; one that never came to its end is torn, and
nothing runs on what it left until a state is loaded.

What the caller's own Python does after a call (constraints) follows when the call is counted. Until it is done it is
due: the ledger says of which call and for which variables, and the next call does it first.

Who has put other values into the variables for a while holds the ledger: nothing runs or is written until it is
released.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import locks
from ..errors import BackendError, held, torn
from .entries import Cell, Clock, Marks

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

LOOK_AGAIN = 1e-4
"""Seconds between looks at a call of another thread that is under way."""

MOST_RESTS = 16
"""What calls leave behind that expected to be counted and were not (another thread was faster, or a signal came)."""

_CLAIM = locks.new()
"""Held while a call takes its mark or gives it back, never while it works."""


class Ledger:
    """The calls and windows of one optimizer over so many variables.

    cells:        int64, shared with compiled code; see `Cell`.
    clock:        what counts in place of this ledger, if anything does; None otherwise.
    opening:      which variables have windows while any is open, a byte of 1 for each, where a clock chooses; or None.
    is_in_graphs: whether calls are part of graphs, which the clock counts whether the host is there or not.
    owed:         how many calls of a clock had something due.
    """

    def __init__(self, variables: int) -> None:
        self.cells = np.zeros(Cell.PROGRESS + 3 * variables, np.int64)
        self._words = self.cells.data  # the same memory: one of its integers is read in a third of the time
        self._variables = variables
        self._rests: dict[tuple[int, int], Callable[[int], None]] = {}
        self.at = int(self.cells.ctypes.data)
        self.counted = ctypes.c_int64.from_address(self.at + 8 * Cell.CALLS)  # a fifth of the time that `cells` take
        self._worker = 0  # the thread whose call is under way outside compiled code
        self.lent = locks.new()  # held by a call that functions outside are part of: one at a time may use their arrays
        self.clock: Clock | None = None
        self._every, self._opens = 1, np.ones(variables, bool)
        self.opening: bytes | None = None
        self.is_in_graphs, self.owed = False, 0
        _LEDGERS.add(self)

    def __getstate__(self) -> dict[str, object]:
        return {"calls": self.calls, "torn": self.torn, "progress": self.progress.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(len(state["progress"]) // 2)  # type: ignore[misc]
        self.cells[Cell.CALLS], self.cells[Cell.TORN] = state["calls"], state["torn"]
        self.progress[:] = state["progress"]

    @property
    def calls(self) -> int:
        """Calls made; from the clock, where one counts."""
        if self.clock is not None:
            self._ask(self.clock)
        return self._words[Cell.CALLS]

    @property
    def windows(self) -> Int64:
        """For each variable, 1 while gradients are being added up; shared with compiled code."""
        return self.progress[1 : 1 + self._variables]

    @property
    def started(self) -> Int64:
        """For each variable, 1 once it has been updated, if its rule asks for that; shared with compiled code.

        No clock is asked: one counts calls of such variables only.
        """
        return self.cells[Cell.PROGRESS + self._variables : Cell.PROGRESS + 2 * self._variables]

    @property
    def skipped(self) -> int:
        """Calls that were not done, because a gradient held inf or nan."""
        return int(self.progress[0])

    @property
    def progress(self) -> Int64:
        """How many calls were skipped, then windows, then what has started."""
        if self.clock is not None:
            self._ask(self.clock)
        return self.cells[Cell.SKIPPED : Cell.PROGRESS + 2 * self._variables]

    def _ask(self, clock: Clock) -> None:
        """Take over what a clock has counted; of windows it knows no more than the number of calls says."""
        if (counted := clock.calls()) is None:
            return
        self.cells[Cell.SKIPPED] = clock.skipped()
        if counted != self.cells[Cell.CALLS]:
            self.cells[Cell.CALLS] = counted
            self.cells[Cell.PROGRESS : Cell.PROGRESS + self._variables] = self._opens & (counted % self._every != 0)
            if clock.known:
                clock.known.give(counted)

    def count(self, calls: int) -> None:
        """Let so many calls have been made."""
        self.cells[Cell.CALLS] = calls
        if self.clock is not None:
            self.clock.set(calls, int(self.cells[Cell.SKIPPED]))

    def skip(self) -> None:
        """Count a call as skipped."""
        self._words[Cell.SKIPPED] += 1
        self.count(self._words[Cell.CALLS])

    def captured(self) -> None:
        """A call became part of a graph; whether and when it runs, the clock will know."""
        self.cells[Cell.CALLS] += 1
        self.is_in_graphs = True

    def follow(self, clock: Clock, every: int, opens: Sequence[bool]) -> None:
        """From now on a clock counts, `every` calls an update; the ledger tells it what happens outside its graphs.

        opens: for each variable, whether gradients are added up for it at all.
        """
        self.clock, self._every, self._opens = clock, every, np.array(opens, bool)

    def leave(self) -> None:
        """Count here again, from where the clock stands, unless graphs go on with it."""
        if self.clock is not None and not self.is_in_graphs:
            self._ask(self.clock)
            self.clock, self.opening = None, None

    @property
    def due(self) -> int:
        """The number of the call, from 1, whose rest is due; 0 if there is none, below 0 while the ledger is held."""
        return self._words[Cell.DUE]

    def due_cell(self, position: int) -> int:
        """Which cell says for a variable of which call something is due."""
        return Cell.PROGRESS + 2 * self._variables + position

    def expect(self, call: int, by: int, rest: Callable[[int], None]) -> None:
        """Before the call of this number: `rest` does what is due, if it is counted and its plan is called `by`."""
        if len(self._rests) > MOST_RESTS:
            for key in [key for key in tuple(self._rests) if key[1] < call - 1]:
                self._rests.pop(key, None)
        self._rests[by, call] = rest

    def owe(self, marks: Marks | None) -> None:
        """What `marks` say is due of a call that a clock has counted, if it was done as an update: the clock knows."""
        self.owed += 1
        if marks is not None:
            self._let_be_due(marks, self.owed)

    def _let_be_due(self, marks: Marks, call: int) -> None:
        if marks.due:
            self.cells[[self.due_cell(position) for position in marks.due]] = call
            self.cells[Cell.DUE_BY], self.cells[Cell.DUE] = marks.by, call

    def is_moved(self) -> bool:
        """Whether slots are being converted, or others have taken their place; waits a moment if so."""
        if not self._words[Cell.MOVED]:
            return False
        time.sleep(LOOK_AGAIN)
        return True

    def refuse_held(self) -> None:
        """Raise OptionError if the variables have other values for a while."""
        if self.due < 0:
            raise held()

    def settle(self) -> None:
        """Do what is due. Raises what the caller's own Python raises; then it stays due.

        Of several threads here at once, one does each part (see `replace` of the backends). BackendError inside of it;
        OptionError while the ledger is held.
        """
        self.refuse_held()
        if self.due and locks.is_running(Ledger.settle.__code__):
            raise BackendError(
                f"a constraint called the optimizer whose call {self.due} it belongs to. Received: a call that comes "
                "after it. Let the constraint work on its argument alone."
            )
        while (call := self.due) > 0:
            rest = self._rests.get((by := int(self.cells[Cell.DUE_BY]), call))
            if rest is not None:  # else another thread has just done it
                rest(call)
                self._rests.pop((by, call), None)

    @property
    def torn(self) -> int:
        """The number of the call, from 1, that did not come to its end; 0 if there is none."""
        return self._words[Cell.TORN]

    @property
    def _is_under_way(self) -> bool:
        """Whether a call is at work outside compiled code, on a thread that lives."""
        return bool(self._worker) and any(thread.ident == self._worker for thread in threading.enumerate())

    def refuse_torn(self) -> None:
        """Raise BackendError if a call was torn, or is under way outside compiled code."""
        if self.torn:
            raise torn(self.torn, self._is_under_way)

    def wait_for_marked(self) -> None:
        """Wait until another thread's call outside compiled code is over. Raises BackendError if a call was torn."""
        while self.torn and self._worker != threading.get_ident() and self._is_under_way:
            time.sleep(LOOK_AGAIN)
        self.refuse_torn()

    def refuse_marked(self) -> None:
        """As `refuse_torn`, and not while a call takes its mark."""
        with _CLAIM:
            self.refuse_torn()

    def mark(self) -> None:
        """A call begins that runs in Python. Raises BackendError if one was torn or is under way."""
        with _CLAIM:  # without a question to the clock, for which a call would wait
            self.refuse_torn()
            self._worker, self._words[Cell.TORN] = threading.get_ident(), self._words[Cell.CALLS] + 1

    def unmark(self, is_over: bool) -> None:
        """It ends; unless it is over, it is torn."""
        if is_over:
            self._words[Cell.TORN] = 0
        self._worker = 0

    def stands_at(self, expected: int, marks: Marks | None, numbers: Mapping[str, Any]) -> bool:
        """Whether a call finds what it expects: so many calls before it, or what is due of that one."""
        if marks is not None and marks.ends_due:
            return self.due == expected
        is_there = self._words[Cell.CALLS] == expected and not self.due and not self._words[Cell.MOVED]
        return is_there and (marks is None or marks.are_shared(numbers))

    def advance(self, expected: int, marks: Marks | None, numbers: Mapping[str, Any]) -> None:
        """Count a call, as the driver does where compiled code runs the whole of it."""
        if marks is not None and marks.ends_due:
            self.cells[Cell.DUE] = 0
            return
        if marks is not None:
            self.set_progress(marks)
            marks.share(numbers)
            self._let_be_due(marks, expected + 1)
        self.count(expected + 1)

    @contextmanager
    def rewritten(self, calls: int, progress: Sequence[int]) -> Iterator[None]:
        """Around a replacement of the arrays by Python; at its end calls and progress are set, and no call is torn.

        Raises BackendError if a call is under way, OptionError while the ledger is held.
        """
        with _CLAIM:
            self.refuse_held()
            if self._is_under_way:
                self.refuse_torn()
            self._worker, self.cells[Cell.TORN] = threading.get_ident(), calls + 1
        try:
            yield
            self.cells[Cell.SKIPPED : Cell.SKIPPED + len(progress)] = progress
            self.opening = None
            self.count(calls)
            self.cells[Cell.TORN] = self.cells[Cell.DUE] = 0
        finally:
            self._worker = 0

    def set_progress(self, marks: Marks | None) -> None:
        """What `Marks` say; mostly nothing, which takes no time."""
        if marks is not None and (marks.positions or marks.started):
            cells, values = marks.cells(self._variables)
            self.cells[cells] = values


_LEDGERS: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child no other thread is left to finish a call: what it was in the middle of is torn here."""
    for ledger in _LEDGERS:
        ledger._worker = ledger.cells[Cell.MOVED] = 0  # nor one that converts slots
        if ledger.cells[Cell.WORD]:
            ledger.cells[Cell.TORN], ledger.cells[Cell.WORD] = ledger.calls + 1, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
