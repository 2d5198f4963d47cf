"""Ledger: what has happened to an optimizer, in memory that compiled code reads and writes.

A call takes the ledger's word, works, counts itself and gives the word back, all in compiled code: a signal finds it
done or not begun, and another thread's call comes before or after it. Where Python must run between parts that write
(arrays on a GPU, several devices), the call leaves a mark while it works; one that never came to its end is torn, and
nothing runs on what it left until a state is loaded.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from .. import locks
from ..errors import BackendError

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]


class Cell(IntEnum):
    """The ledger's integers, in units of 8 bytes."""

    WORD = 0  # 1 while compiled code is at work on the optimizer's arrays
    CALLS = 1  # calls made
    TORN = 2  # the number of the call, from 1, that is under way outside compiled code, or that was torn; 0 for none
    WINDOWS = 8  # for each variable, 1 while gradients are being added up


LOOK_AGAIN = 1e-4
"""Seconds between looks at a call of another thread that is under way."""

_CLAIM = locks.new()
"""Held while a call takes its mark or gives it back, never while it works."""


class Clock(Protocol):
    """What counts the calls of an optimizer in a graph, which runs without the host."""

    def calls(self) -> int | None:
        """Calls made; waits for the device. None while a graph is being captured: then none of it has run."""

    def set(self, calls: int) -> None:
        """Let so many calls have been made."""

    def tick(self) -> None:
        """Count a call; during a capture, record that it is counted."""


class Span(NamedTuple):
    """An array, of whatever library, and where it lies."""

    array: Any
    address: int


Pairs = Sequence[tuple[Span, Any]]
"""Arrays, and the NumPy arrays that are copied into them."""


@dataclass(frozen=True)
class Marks:
    """What a call changes in the ledger beside its count: the windows of variables, by position, become `value`."""

    positions: Sequence[int]
    value: bool


class Ledger:
    """The calls and windows of one optimizer over so many variables.

    cells: int64, shared with compiled code; see `Cell`.
    clock: what counts in place of this ledger, if anything does; None otherwise.
    """

    def __init__(self, variables: int) -> None:
        self.cells = np.zeros(Cell.WINDOWS + variables, np.int64)
        self.at = int(self.cells.ctypes.data)
        self._worker = 0  # the thread whose call is under way outside compiled code
        self.clock: Clock | None = None
        self._every, self._opens = 1, np.ones(variables, bool)
        _LEDGERS.add(self)

    def __getstate__(self) -> dict[str, object]:
        return {"calls": self.calls, "torn": self.torn, "windows": self.windows.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(len(state["windows"]))  # type: ignore[misc]
        self.cells[Cell.CALLS], self.cells[Cell.TORN] = state["calls"], state["torn"]
        self.windows[:] = state["windows"]

    @property
    def calls(self) -> int:
        """Calls made; from the clock, where one counts."""
        if self.clock is not None:
            self._ask(self.clock)
        return int(self.cells[Cell.CALLS])

    @property
    def windows(self) -> Int64:
        """For each variable, 1 while gradients are being added up; shared with compiled code."""
        if self.clock is not None:
            self._ask(self.clock)
        return self.cells[Cell.WINDOWS :]

    def _ask(self, clock: Clock) -> None:
        """Take over what a clock has counted; of windows it knows no more than the number of calls says."""
        counted = clock.calls()
        if counted is not None and counted != self.cells[Cell.CALLS]:
            self.cells[Cell.CALLS] = counted
            self.cells[Cell.WINDOWS :] = self._opens & (counted % self._every != 0)

    def count(self, calls: int) -> None:
        """Let so many calls have been made."""
        self.cells[Cell.CALLS] = calls
        if self.clock is not None:
            self.clock.set(calls)

    def captured(self) -> None:
        """A call became part of a graph; whether and when it runs, the clock will know."""
        self.cells[Cell.CALLS] += 1

    def follow(self, clock: Clock, every: int, opens: Sequence[bool]) -> None:
        """From now on a clock counts, `every` calls an update; the ledger tells it what happens outside its graphs.

        opens: for each variable, whether gradients are added up for it at all.
        """
        self.clock, self._every, self._opens = clock, every, np.array(opens, bool)

    @property
    def torn(self) -> int:
        """The number of the call, from 1, that did not come to its end; 0 if there is none."""
        return int(self.cells[Cell.TORN])

    @property
    def _is_under_way(self) -> bool:
        """Whether a call is at work outside compiled code, on a thread that can bring it to its end."""
        return bool(self._worker) and any(thread.ident == self._worker for thread in threading.enumerate())

    def refuse_torn(self) -> None:
        """Raise BackendError if a call was torn, or is under way outside compiled code."""
        if not self.torn:
            return
        if self._is_under_way:
            raise BackendError(
                f"call {self.torn} of this optimizer is under way. Received: another one at the same time. "
                "On a GPU, or over several devices, let one thread call it."
            )
        raise BackendError(
            f"step {self.torn} was torn; load a state. Received: a call on variables and slots of which some are "
            "updated and some are not. Use load_state_dict(...), after restoring the variables."
        )

    def wait_for_marked(self) -> None:
        """Wait until another thread's call outside compiled code is over. Raises BackendError if a call was torn."""
        while self.torn and self._worker != threading.get_ident() and self._is_under_way:
            time.sleep(LOOK_AGAIN)
        self.refuse_torn()

    @contextmanager
    def marked(self, expected: int | None) -> Iterator[bool]:
        """Around a call that runs in Python, the `expected`th: whether the ledger still stands there.

        The call is counted, and the mark cleared, at the end of the block; an exception leaves the mark. Without
        `expected` the call is marked but not counted. Raises BackendError if a call was torn or is under way.
        """
        calls = self.calls
        with _CLAIM:
            self.refuse_torn()
            self._worker, self.cells[Cell.TORN] = threading.get_ident(), calls + 1
        try:
            is_there = expected is None or bool(self.cells[Cell.CALLS] == expected)
            yield is_there
            if is_there and expected is not None:
                self.count(expected + 1)
            self.cells[Cell.TORN] = 0
        finally:
            self._worker = 0

    @contextmanager
    def rewritten(self, calls: int, windows: Sequence[int]) -> Iterator[None]:
        """Around a replacement of the arrays by Python; at its end calls and windows are set, and no call is torn.

        Raises BackendError if a call is under way.
        """
        with _CLAIM:
            if self._is_under_way:
                self.refuse_torn()
            self._worker, self.cells[Cell.TORN] = threading.get_ident(), calls + 1
        try:
            yield
            self.count(calls)
            self.cells[Cell.WINDOWS :] = windows
            self.cells[Cell.TORN] = 0
        finally:
            self._worker = 0

    def set_windows(self, marks: Marks | None) -> None:
        """What `Marks` say."""
        if marks is not None:
            self.cells[Cell.WINDOWS + np.array(marks.positions, np.intp)] = marks.value


_LEDGERS: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child no other thread is left to finish a call: what it was in the middle of is torn here."""
    for ledger in _LEDGERS:
        ledger._worker = 0
        if ledger.cells[Cell.WORD]:
            ledger.cells[Cell.TORN], ledger.cells[Cell.WORD] = ledger.calls + 1, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
