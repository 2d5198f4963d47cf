"""Clock: counts steps on a GPU where the host does not; and what launches see of it that take turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..marked import Marked
from . import copies, device, ticks
from .uploads import UPLOADS

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..entries import Counts, Span
    from ..ledger import Ledger

CELL = 8
"""Bytes of each of a clock's numbers."""

FIRST_AHEAD, MOST_AHEAD = 8, 1024
"""Updates that are worked out before the host asks again how many calls were made: at first, and in the end."""

ROOM = 4 * 2**20
"""Bytes of their rows at most, if `FIRST_AHEAD` of them do not take more."""


class Due(NamedTuple):
    """What a launch sees of a clock if it is one of several: where its step's number is, and whether it is due."""

    step_at: int
    verdict_at: int
    columns: tuple[str, ...] = ()


class Clock:
    """Counts calls on a GPU, for steps that go on without the host; see `ticks` for what it is there.

    counts:  how. Where each call launches all kinds of steps, the clock lets one be done (`kinds`). In a row for each
             update, which the host has worked out ahead, are the kind of step, the columns, and what tensors have of
             their own.
    step_at: where kernels find the number of the present update, from 1; `verdict_at` where they find 0 if a guard has
             refused the present call, else 1.0.
    ahead:   for how many calls, whether they are skipped or not, there are such rows; of what, `known` says.
    horizon: how many next time.
    """

    MOST_KINDS = ticks.MOST_KINDS

    def __init__(self, index: int, calls: int, counts: Counts, compiler: str | None = None) -> None:
        self._index, self._compiler, self.counts = index, compiler, counts
        every, chooses, columns, width = counts
        self.ahead, self.known = 0, None
        self._most = max(FIRST_AHEAD, min(MOST_AHEAD, ROOM // (CELL * max(width, 1))))
        self.horizon = FIRST_AHEAD
        with device.use(index):
            self._ticks = {False: device.loaded(ticks.TICK, compiler, index)}
            self._memory = device.empty_bytes(ticks.VERDICTS + CELL * (ticks.CHOICES if chooses else 1))
            self._rows = device.empty_bytes(CELL * max(width, 1) * (self._most + 1 if columns else 1))
        self._at, self._rows_at = int(self._memory.data.ptr), int(self._rows.data.ptr)
        self.step_at, self.verdict_at = self._at + ticks.STEP, self._at + ticks.VERDICTS
        self._places: tuple[int, ...] = (self._at, every)
        self._places += (self._rows_at, CELL * width) if columns else ()
        self.set(calls)

    known: Any

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of its rows, as in `Due`."""
        return self.counts.columns

    def kinds(self, count: int) -> list[Due]:
        """What each kind of step sees, if it chooses: which opens a window, goes on with it, closes it in some way."""
        kinds = range(ticks.CLOSES + count)
        return [Due(self.step_at, self.verdict_at + CELL * kind, self.counts.columns) for kind in kinds]

    @property
    def done(self) -> Due:
        """What is seen of the call before by what follows it."""
        return Due(self._at + ticks.DONE_STEP, self._at + ticks.DONE, self.counts.columns)

    def set(self, calls: int, skipped: int = 0) -> None:
        """Let so many calls have been made, and skipped; at once, even during a capture. No rows are known then."""
        self._write(calls, skipped, 0)

    def write_ahead(self, calls: int, skipped: int, rows: npt.NDArray[np.float64], known: object) -> None:
        """What is worked out of the updates from the present one on, after so many calls; the last row is of none."""
        with device.use(self._index):
            UPLOADS.copy(self._rows[: rows.nbytes], rows.ravel())
        self._write(calls, skipped, int(rows[0, 0]))
        self.known = known
        self.ahead, self.horizon = len(rows) - 1, min(2 * self.horizon, self._most)

    def _write(self, calls: int, skipped: int, kind: int) -> None:
        self.ahead, self.known = 0, None
        verdicts = [1]
        if self.counts.chooses:
            place = calls % self.counts.every
            verdicts = [0] * ticks.CHOICES
            closes = place == self.counts.every - 1
            verdicts[ticks.CLOSES + kind if closes else ticks.GOES_ON if place else ticks.OPENS] = 1
        step = calls // self.counts.every + 1
        cells = np.array([calls, step, 0, skipped, step, 0, 0, 0, *verdicts], np.float64)
        cells.view(np.int64)[ticks.ROW // CELL] = self._rows_at
        with device.use(self._index):
            UPLOADS.copy(self._memory, cells)

    def tick(self, is_guarded: bool = False) -> None:
        """Count a call, or (while the stream is captured) record that it is counted; if guarded, by the verdict."""
        with device.use(self._index):
            if is_guarded and True not in self._ticks:
                source = ticks.ticking(self.counts.chooses, bool(self.counts.columns))
                self._ticks[True] = device.loaded(source, self._compiler, self._index)
            self._ticks[is_guarded](1, *(self._places if is_guarded else self._places[:2]))
        self.ahead -= 1

    def calls(self) -> int | None:
        """The calls made; waits for the GPU, whatever stream graphs were launched on. None during a capture."""
        if device.is_capturing():
            return None
        device.wait_for(self._index)
        return int(device.fetch(self._memory).view(np.float64)[0])

    def skipped(self) -> int:
        """The calls that were refused; waits for the GPU."""
        return int(device.fetch(self._memory).view(np.float64)[ticks.SKIPPED // CELL])

    def replace(self, ledger: Ledger, pairs: Sequence[tuple[Span, Span]], cell: int, expected: int) -> bool:
        """Copy arrays over others as the backend's `replace` does, but only if the call before was an update."""
        with Marked(ledger, None):
            is_there = bool(ledger.cells[cell] == expected)
            if is_there:
                for target, source in pairs:
                    copies.copy_where(self.done.verdict_at, target, source, self._compiler, self._index)
                ledger.cells[cell] = 0
        return is_there
