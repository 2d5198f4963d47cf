"""Entries: what a ledger keeps and what calls enter in it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..errors import ArrayError

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

NO_ARRAYS: Mapping[str, Any] = {}


class Cell(IntEnum):
    """The ledger's integers, in units of 8 bytes."""

    WORD = 0  # 1 while compiled code is at work on the optimizer's arrays
    CALLS = 1  # calls made
    TORN = 2  # the number of the call, from 1, that is under way outside compiled code, or that was torn; 0 for none
    DUE = 3  # the number of the call whose rest is due; 0 for none; below 0, the name of who holds the ledger
    DUE_BY = 4  # the number of the plan that knows what is due
    CHANGES = 5  # how often arrays of host memory have changed: a call in two parts must find them as it left them
    MOVED = 6  # who converts the slots, or has put others in their place: no call is done; 0 for nobody
    SKIPPED = 8  # calls that were not done, because a gradient held inf or nan
    PROGRESS = 9  # for each variable, 1 while gradients are being added up; then for each, 1 once it has been updated
    # and behind them, for each the call whose rest is due


class Counts(NamedTuple):
    """How a clock counts.

    every:   calls of one update. `chooses`: whether it lets one kind of step be done of several.
    columns: the numbers that it finds in a row for each update. `width`: of all numbers of a row, the kind among them.
    """

    every: int
    chooses: bool = False
    columns: tuple[str, ...] = ()
    width: int = 0


class Clock(Protocol):
    """What counts the calls of an optimizer in a graph, which runs without the host.

    counts:  how. If it chooses, each kind of step has one of `kinds` as its clock: that which opens a window of
             gradient accumulation, one that goes on with it, those that close it, of which there can be `MOST_KINDS`.
    ahead:   for how many calls there are such rows, which `known` has told; its `give` is told how many calls were made
             where the clock has counted some. `horizon`: for how many next time.
    """

    MOST_KINDS: int
    counts: Counts
    ahead: int
    horizon: int
    known: Any

    def write_ahead(self, calls: int, skipped: int, rows: npt.NDArray[np.float64], known: object) -> None:
        """What is known of the updates from the present one on, after so many calls; the last row is of none yet.

        A row: which of the kinds that close a window, then `columns`, then numbers that tensors have of their own.
        """

    def kinds(self, count: int) -> Sequence[Any]:
        """What each kind of step sees of it, of so many that close a window."""

    @property
    def done(self) -> Any:
        """What launches see of the call before, that do what is due of it."""

    def replace(self, ledger: Any, pairs: Sequence[tuple[Span, Span]], cell: int, expected: int) -> bool:
        """As `Backend.replace`, clearing the cell; copies nothing unless the call before was done as an update."""

    def calls(self) -> int | None:
        """Calls made; waits for the device. None while a graph is being captured: then none of it has run."""

    def skipped(self) -> int:
        """Calls that a guard has refused; waits for the device."""

    def set(self, calls: int, skipped: int = 0) -> None:
        """Let so many calls have been made, and skipped."""

    def tick(self, is_guarded: bool = False) -> None:
        """Count a call, unless its guard has refused it; during a capture, record that it is counted."""


class Span(NamedTuple):
    """An array, of whatever library, and where it lies."""

    array: Any
    address: int


def refuse_unlike(pairs: Iterable[tuple[Span, Any]]) -> None:
    """Raise ArrayError unless each source has the dtype and the size of its target: bytes are copied as they are."""
    for (target, _), source in pairs:
        if source.dtype != target.dtype or source.size != target.size:
            raise ArrayError(
                f"what is written has {target.size} elements of {target.dtype}. "
                f"Received: {source.size} of {source.dtype}. Convert it first."
            )


class Marks(NamedTuple):
    """What a call changes in the ledger beside its count.

    positions: the variables whose windows become `value`.
    started:   the variables that have been updated then.
    due:       the variables for which something is due when the call is counted; the plan called `by` knows what.
    ends_due:  it is not counted; it is the end of what is due.
    shared:    slots over all, by name: arrays of one number in host memory, which become what the call brings as
               "s.x'". It is done only where they are what it brings as "s.x": its numbers were made of those.
    order:     which variable each tensor of the launch is of, where a guard may find that one holds inf or nan.
    skips:     whether a call that its guard refuses is counted as skipped; else it raises NonFiniteError.
    """

    positions: Sequence[int] = ()
    value: bool = False
    started: Sequence[int] = ()
    due: Sequence[int] = ()
    by: int = 0
    ends_due: bool = False
    shared: Mapping[str, Any] = NO_ARRAYS
    order: Sequence[int] = ()
    skips: bool = True

    def cells(self, variables: int) -> tuple[Int64, Int64]:
        """Which cells of the ledger of so many variables change when a call is counted, and what they become."""
        windows, started = np.array(self.positions, np.int64), np.array(self.started, np.int64)
        cells = Cell.PROGRESS + np.concatenate([windows, variables + started])
        return cells, np.repeat([int(self.value), 1], [len(windows), len(started)])

    def are_shared(self, numbers: Mapping[str, Any]) -> bool:
        """Whether slots over all are what a call's numbers were made of, bit for bit."""
        if not self.shared:
            return True  # of nearly every rule
        return all(array.tobytes() == struct.pack("=d", numbers[f"s.{name}"]) for name, array in self.shared.items())

    def share(self, numbers: Mapping[str, Any]) -> None:
        """Let slots over all become what a call has made of them."""
        for name, array in self.shared.items():
            array[...] = numbers[f"s.{name}'"]
