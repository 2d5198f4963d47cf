"""Clock: counts steps on a GPU where the host does not; and what launches see of it that take turns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import device, frame
from .uploads import UPLOADS

CELL = 8
"""Bytes of each of a clock's numbers."""


class Due(NamedTuple):
    """What a launch sees of a clock if it is one of several: where its step's number is, and whether it is due."""

    step_at: int
    verdict_at: int


class Clock:
    """Counts calls on a GPU, for steps that a graph repeats without the host.

    every:   calls of one update. `step_at` is where kernels find the number of the present update, from 1; `verdict_at`
             where they find 0 if a guard has refused the present call, else 1.0.
    chooses: whether each call launches all kinds of steps, of which the clock lets one be done: that which opens a
             window of gradient accumulation, one that goes on with it, and that which closes it (`kinds`).
    """

    def __init__(self, index: int, calls: int, every: int, compiler: str | None = None, chooses: bool = False) -> None:
        self._index, self._compiler = index, compiler
        self.every, self.chooses = every, chooses
        with device.use(index):
            self._ticks = {False: device.loaded(frame.TICK, compiler, index)}
            self._memory = device.empty_bytes(6 * CELL if chooses else 4 * CELL)
        self._at = int(self._memory.data.ptr)
        self.step_at, self.verdict_at = self._at + CELL, self._at + 3 * CELL
        self.set(calls)

    @property
    def kinds(self) -> list[Due]:
        """What each kind of step sees, if it chooses: which opens a window, goes on with it, closes it."""
        return [Due(self.step_at, self.verdict_at + CELL * kind) for kind in range(3)]

    def set(self, calls: int, skipped: int = 0) -> None:
        """Let so many calls have been made, and skipped; at once, even during a capture."""
        verdicts = [1]
        if self.chooses:
            place = calls % self.every
            verdicts = [0, 0, 0]
            verdicts[2 if place == self.every - 1 else 0 if place == 0 else 1] = 1
        with device.use(self._index):
            numbers = [calls, calls // self.every + 1, skipped, *verdicts]
            UPLOADS.copy(self._memory, np.array(numbers, np.float64))

    def tick(self, is_guarded: bool = False) -> None:
        """Count a call, or (while the stream is captured) record that it is counted; if guarded, by the verdict."""
        with device.use(self._index):
            if is_guarded and True not in self._ticks:
                kernel = frame.TICK_CHOSEN if self.chooses else frame.TICK_GUARDED
                self._ticks[True] = device.loaded(kernel, self._compiler, self._index)
            self._ticks[is_guarded](1, self._at, self.every)

    def calls(self) -> int | None:
        """The calls made; waits for the GPU, whatever stream graphs were launched on. None during a capture."""
        if device.is_capturing():
            return None
        device.wait_for(self._index)
        return int(device.fetch(self._memory).view(np.float64)[0])

    def skipped(self) -> int:
        """The calls that were refused; waits for the GPU."""
        return int(device.fetch(self._memory).view(np.float64)[2])
