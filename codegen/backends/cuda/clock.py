"""Clock: counts steps on a GPU where the host does not; and what launches see of it that take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import device, ticks
from .uploads import UPLOADS

if TYPE_CHECKING:
    import numpy.typing as npt

CELL = 8
"""Bytes of each of a clock's numbers."""

FIRST_AHEAD, MOST_AHEAD = 8, 1024
"""Calls for which rates are there before the host asks again how many were made: at first, and in the end."""


class Due(NamedTuple):
    """What a launch sees of a clock if it is one of several: where its step's number is, and whether it is due."""

    step_at: int
    verdict_at: int
    is_scheduled: bool


class Clock:
    """Counts calls on a GPU, for steps that a graph repeats without the host; see `ticks` for what it is there.

    every:   calls of one update. `step_at` is where kernels find the number of the present update, from 1; `verdict_at`
             where they find 0 if a guard has refused the present call, else 1.0.
    chooses: whether each call launches all kinds of steps, of which the clock lets one be done: that which opens a
             window of gradient accumulation, one that goes on with it, and that which closes it (`kinds`).
    is_scheduled: whether each update has a learning rate of its own, which the host has asked `schedule` for.
    ahead:   for how many calls, whether they are skipped or not, there are such rates. `horizon`: how many next time.
    """

    def __init__(
        self,
        index: int,
        calls: int,
        every: int,
        compiler: str | None = None,
        chooses: bool = False,
        is_scheduled: bool = False,
    ) -> None:
        self._index, self._compiler = index, compiler
        self.every, self.chooses, self.is_scheduled, self.ahead = every, chooses, is_scheduled, 0
        self.horizon = FIRST_AHEAD
        self.schedule: object = None
        with device.use(index):
            self._ticks = {False: device.loaded(ticks.TICK, compiler, index)}
            self._memory = device.empty_bytes(ticks.VERDICTS + CELL * (3 if chooses else 1))
            self._rates = device.empty_bytes(CELL * (MOST_AHEAD + 1) if is_scheduled else CELL)
        self._at = int(self._memory.data.ptr)
        self.step_at, self.verdict_at = self._at + ticks.STEP, self._at + ticks.VERDICTS
        self._places: tuple[int, ...] = (self._at, every)
        self._places += (int(self._rates.data.ptr),) if is_scheduled else ()
        self.set(calls)

    @property
    def kinds(self) -> list[Due]:
        """What each kind of step sees, if it chooses: which opens a window, goes on with it, closes it."""
        return [Due(self.step_at, self.verdict_at + CELL * kind, self.is_scheduled) for kind in range(3)]

    def set(self, calls: int, skipped: int = 0) -> None:
        """Let so many calls have been made, and skipped; at once, even during a capture. No rates are known then."""
        self._write(calls, skipped, 0.0)

    def write_rates(self, calls: int, skipped: int, rates: npt.NDArray[np.float64], schedule: object) -> None:
        """The learning rates of the updates from the present one on, after so many calls; the last is of none yet."""
        with device.use(self._index):
            UPLOADS.copy(self._rates[: rates.nbytes], rates)
        self._write(calls, skipped, float(rates[0]))
        self.schedule = schedule
        self.ahead, self.horizon = len(rates) - 1, min(2 * self.horizon, MOST_AHEAD)

    def _write(self, calls: int, skipped: int, rate: float) -> None:
        self.ahead = 0
        verdicts = [1]
        if self.chooses:
            place = calls % self.every
            verdicts = [0, 0, 0]
            verdicts[2 if place == self.every - 1 else 0 if place == 0 else 1] = 1
        step = calls // self.every + 1
        with device.use(self._index):
            UPLOADS.copy(self._memory, np.array([calls, step, skipped, rate, step, *verdicts], np.float64))

    def tick(self, is_guarded: bool = False) -> None:
        """Count a call, or (while the stream is captured) record that it is counted; if guarded, by the verdict."""
        with device.use(self._index):
            if is_guarded and True not in self._ticks:
                self._ticks[True] = self._guarded_tick()
            self._ticks[is_guarded](1, *(self._places if is_guarded else self._places[:2]))
        self.ahead -= 1

    def _guarded_tick(self) -> Any:
        kernel = ticks.TICK_CHOSEN if self.chooses else ticks.TICK_GUARDED
        return device.loaded(ticks.scheduled(kernel) if self.is_scheduled else kernel, self._compiler, self._index)

    def calls(self) -> int | None:
        """The calls made; waits for the GPU, whatever stream graphs were launched on. None during a capture."""
        if device.is_capturing():
            return None
        device.wait_for(self._index)
        return int(device.fetch(self._memory).view(np.float64)[0])

    def skipped(self) -> int:
        """The calls that were refused; waits for the GPU."""
        return int(device.fetch(self._memory).view(np.float64)[2])
