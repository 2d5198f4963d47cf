"""Ledger: what has happened to an optimizer, in memory that compiled code reads and writes.

A call takes the ledger's word, works, counts itself and gives the word back, all in compiled code: a signal finds it
done or not begun, and another thread's call comes before or after it. Where Python must run between parts that write
(arrays on a GPU, several devices), the call leaves a mark while it works; one that never came to its end is torn, and
nothing runs on what it left until a state is loaded.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

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


class Clock(Protocol):
    """What counts the calls of an optimizer in a graph, which runs without the host."""

    def calls(self) -> int | None:
        """Calls made; waits for the device. None while a graph is being captured: then none of it has run."""

    def set(self, calls: int) -> None:
        """Let so many calls have been made."""

    def tick(self) -> None:
        """Count a call; during a capture, record that it is counted."""


@dataclass(frozen=True)
class Marks:
    """What a call changes in the ledger beside its count: the windows of variables, by position, become `value`."""

    positions: Sequence[int]
    value: bool


class Ledger:
    """The calls and windows of one optimizer over so many variables.

    windows: int64, one a variable, shared with compiled code.
    """

    def __init__(self, variables: int) -> None:
        self.cells = np.zeros(Cell.WINDOWS + variables, np.int64)
        self.at = int(self.cells.ctypes.data)
        self.windows: Int64 = self.cells[Cell.WINDOWS :]
        self._worker = 0
        self._clock: Clock | None = None
        self._every = 1
        _LEDGERS.add(self)

    def __getstate__(self) -> dict[str, object]:
        return {"calls": self.calls, "windows": self.windows.copy()}

    def __setstate__(self, state: dict[str, Int64]) -> None:
        self.__init__(len(state["windows"]))  # type: ignore[misc]
        self.cells[Cell.CALLS], self.windows[:] = state["calls"], state["windows"]

    @property
    def calls(self) -> int:
        """Calls made; from the clock, where one counts."""
        counted = None if self._clock is None else self._clock.calls()
        if counted is not None and counted != self.cells[Cell.CALLS]:
            self.cells[Cell.CALLS] = counted
            self.guess_windows(self._every)
        return int(self.cells[Cell.CALLS])

    def count(self, calls: int) -> None:
        """Let so many calls have been made."""
        self.cells[Cell.CALLS] = calls
        if self._clock is not None:
            self._clock.set(calls)

    def captured(self) -> None:
        """A call became part of a graph; whether and when it runs, the clock will know."""
        self.cells[Cell.CALLS] += 1

    def follow(self, clock: Clock, every: int) -> None:
        """From now on a clock counts, `every` calls an update; the ledger tells it what happens outside its graphs."""
        self._clock, self._every = clock, every

    @property
    def clock(self) -> Clock | None:
        """What counts in place of this ledger."""
        return self._clock

    def guess_windows(self, every: int) -> None:
        """Say of every variable whether gradients have been added up, from the number of calls alone."""
        self.windows[:] = self.cells[Cell.CALLS] % every != 0

    @property
    def torn(self) -> int:
        """The number of the call, from 1, that did not come to its end; 0 if there is none."""
        return int(self.cells[Cell.TORN])

    def refuse_torn(self) -> None:
        """Raise BackendError if a call was torn, or is under way on another thread."""
        if not self.torn:
            return
        if self._worker not in (0, threading.get_ident()) and any(
            thread.ident == self._worker for thread in threading.enumerate()
        ):
            raise BackendError(
                f"another thread is in call {self.torn} of this optimizer. Received: a call at the same time. "
                "On a GPU, or over several devices, let one thread call it."
            )
        raise BackendError(
            f"step {self.torn} was torn; load a state. Received: a call on variables and slots of which some are "
            "updated and some are not. Use load_state_dict(...), after restoring the variables."
        )

    @contextmanager
    def marked(self, expected: int) -> Iterator[bool]:
        """Around a call that runs in Python, the `expected`th: whether the ledger still stands there.

        The call is counted, and the mark cleared, at the end of the block; an exception leaves the mark.
        """
        self.refuse_torn()
        if self.calls != expected:
            yield False
            return
        self._worker = threading.get_ident()
        self.cells[Cell.TORN] = expected + 1
        yield True
        self.count(expected + 1)
        self.cells[Cell.TORN] = 0

    @contextmanager
    def rewritten(self, calls: int, windows: Sequence[int]) -> Iterator[None]:
        """Around a replacement of the arrays by Python; at its end calls and windows are set, and no call is torn."""
        self._worker = threading.get_ident()
        self.cells[Cell.TORN] = calls + 1
        yield
        self.windows[:] = windows
        self.count(calls)
        self.cells[Cell.TORN] = 0

    def set_windows(self, marks: Marks | None) -> None:
        """What `Marks` say."""
        if marks is not None:
            self.windows[list(marks.positions)] = marks.value


_LEDGERS: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child no other thread is left to finish a call: what it was in the middle of is torn here."""
    for ledger in _LEDGERS:
        if ledger.cells[Cell.WORD]:
            ledger.cells[Cell.TORN], ledger.cells[Cell.WORD] = ledger.calls + 1, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
